INSERT INTO payments SELECT
    pg_temp.uuid(i, 71), i,
    pg_temp.pick('{mpesa,mpesa,card,card,transfer,voucher}'::text[], i, 72),
    (pg_temp.h(i, 49, 60000) + 499) / 100.0,
    upper(substr(md5(i::text || 'reference'), 1, 10)),
    timestamptz '2026-01-01 06:05+00' + i * interval '40 seconds'
FROM generate_series(:first::bigint, :last::bigint) AS i WHERE pg_temp.h(i, 73, 20) > 0;

INSERT INTO visits SELECT
    i, timestamptz '2026-01-01 06:00+00' + i * interval '40 seconds',
    inet '10.0.0.0' + pg_temp.h(i, 81, 16777216),
    '/product/' || pg_temp.h(i, 82, :products::bigint) || '?from='
        || pg_temp.pick('{search,newsletter,start,friend}'::text[], i, 83),
    pg_temp.pick(ARRAY['Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0',
        'Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 Safari/604.1',
        'Mozilla/5.0 (Linux; Android 16) AppleWebKit/537.36 Chrome/140.0 Mobile Safari/537.36'], i, 84)
FROM generate_series(:first::bigint, :last::bigint) AS i WHERE i % 3 = 0;

INSERT INTO invoices SELECT i, lo_from_bytea((:first_document + i)::oid, document)
FROM generate_series(:first::bigint, :last::bigint) AS i, LATERAL (
    SELECT convert_to('%PDF-1.7 invoice ' || i || E'\n', 'UTF8')
        || decode(string_agg(md5(i::text || '.' || part), ''), 'hex') AS document
    FROM generate_series(1, 100 + pg_temp.h(i, 85, 3000)) AS part
) AS made
WHERE i % 4000 = 0;
