INSERT INTO customers SELECT
    i,
    lower(translate(pg_temp.first_name(i, 1), 'éíü', 'eiu')) || '.' || i || '@'
        || pg_temp.pick('{gmail.com,yahoo.com,outlook.com,example.org,mail.example.net}'::text[], i, 3),
    pg_temp.first_name(i, 1) || ' ' || pg_temp.last_name(i, 2),
    pg_temp.street(i, 4) || ' ' || 1 + pg_temp.h(i, 5, 200),
    lpad(pg_temp.h(i, 6, 100000)::text, 5, '0'),
    pg_temp.city(i, 7),
    pg_temp.country(i, 7),
    CASE WHEN pg_temp.h(i, 8, 4) > 0 THEN '+254 7' || lpad(pg_temp.h(i, 9, 100000000)::text, 8, '0') END,
    pg_temp.h(i, 10, 3) = 0,
    CASE WHEN pg_temp.h(i, 11, 10) = 0 THEN E'Called on Monday.\n' || pg_temp.sentence(i, 12) END,
    at, at
FROM (
    SELECT i, timestamptz '2025-01-01 08:00+00' + i * interval '9 minutes'
        + pg_temp.h(i, 13, 500000000) * interval '1 microsecond' AS at
    FROM generate_series(:first::bigint, :last::bigint) AS i
) AS numbered;
