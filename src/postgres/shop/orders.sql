INSERT INTO orders SELECT
    i,
    pg_temp.uuid(i, 41),
    1 + pg_temp.h(i, 42, :customers::bigint),
    pg_temp.pick('{placed,paid,packed,shipped,delivered,delivered,delivered,delivered,returned}'::text[], i, 43)::order_status,
    jsonb_build_object(
        'name', pg_temp.first_name(i, 44) || ' ' || pg_temp.last_name(i, 45),
        'street', pg_temp.street(i, 46) || ' ' || 1 + pg_temp.h(i, 47, 200),
        'city', pg_temp.city(i, 48), 'country', pg_temp.country(i, 48)),
    (pg_temp.h(i, 49, 60000) + 499) / 100.0,
    at, at + pg_temp.h(i, 51, 700000) * interval '1 second'
FROM (
    SELECT i, timestamptz '2026-01-01 06:00+00' + i * interval '40 seconds'
        + pg_temp.h(i, 50, 39000000) * interval '1 microsecond' AS at
    FROM generate_series(:first::bigint, :last::bigint) AS i
) AS numbered;
