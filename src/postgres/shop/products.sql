INSERT INTO products SELECT
    i,
    'KV-' || upper(to_hex(100000 + pg_temp.h(i, 21, 900000))) || '-' || i,
    pg_temp.pick('{Small,Large,Red,Blue,Green,Foldable,Wooden,Woven,Cast-iron,Linen,Classic,Travel}'::text[], i, 22) || ' '
        || pg_temp.pick('{kettle,basket,lamp,chair,blanket,knife,backpack,radio,teapot,stool,mirror,rug,bowl}'::text[], i, 23),
    pg_temp.sentence(i, 24) || E'\n' || pg_temp.sentence(i, 25) || ' ' || pg_temp.sentence(i, 26) || E'\n\n'
        || pg_temp.sentence(i, 27) || ' ' || pg_temp.sentence(i, 28),
    (pg_temp.h(i, 29, 20000) + 199) / 100.0,
    50 + pg_temp.h(i, 30, 5000),
    decode(md5(i::text) || md5((i + 1)::text) || '0a0d00' || md5((i + 2)::text), 'hex'),
    timestamptz '2025-01-01 08:00+00' + pg_temp.h(i, 31, 30000000) * interval '1 second'
FROM generate_series(:first::bigint, :last::bigint) AS i;

INSERT INTO stock SELECT
    i, warehouse, pg_temp.h(i * 4 + warehouse, 32, 500),
    timestamptz '2026-01-01 08:00+00' + pg_temp.h(i * 4 + warehouse, 33, 7000000) * interval '1 second'
FROM generate_series(:first::bigint, :last::bigint) AS i, generate_series(1, 3) AS warehouse;

INSERT INTO "Weird. name/%" SELECT i, E'tab\there, backslash \\ and ' || pg_temp.sentence(i, 34)
FROM generate_series(:first::bigint, :last::bigint) AS i WHERE i % 10 = 0;
