INSERT INTO order_lines SELECT
    i, line, 1 + pg_temp.h(i * 8 + line, 61, :products::bigint), 1 + pg_temp.h(i * 8 + line, 62, 3),
    (pg_temp.h(i * 8 + line, 63, 20000) + 199) / 100.0
FROM generate_series(:first::bigint, :last::bigint) AS i,
    LATERAL generate_series(1, 1 + pg_temp.h(i, 64, 4)) AS line;
