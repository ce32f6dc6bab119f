-- Helpers of one session. Everything is a function of a row's number and the seed, so a shop is
-- the same wherever it is made.
SET client_min_messages = warning;
SET timezone = 'UTC';
SET synchronous_commit = off;
SET max_parallel_workers_per_gather = 0;

-- A number below n.
CREATE FUNCTION pg_temp.h(i bigint, salt bigint, n bigint) RETURNS bigint LANGUAGE sql IMMUTABLE
    AS 'SELECT (hashint8extended($1, $2 * 7919 + :seed) & 9223372036854775807) % $3';
-- One of some words.
CREATE FUNCTION pg_temp.pick(words text[], i bigint, salt bigint) RETURNS text LANGUAGE sql IMMUTABLE
    AS 'SELECT $1[1 + pg_temp.h($2, $3, array_length($1, 1)::bigint)]';
CREATE FUNCTION pg_temp.uuid(i bigint, salt bigint) RETURNS uuid LANGUAGE sql IMMUTABLE
    AS 'SELECT md5($1::text || ''/'' || $2::text || ''/'' || :seed::text)::uuid';
CREATE FUNCTION pg_temp.first_name(i bigint, salt bigint) RETURNS text LANGUAGE sql IMMUTABLE
    AS $$SELECT pg_temp.pick('{Amani,Wanjiru,Otieno,Achieng,Kamau,Njeri,Mwangi,Fatuma,Juma,Zawadi,Baraka,Imani,
Neema,Rehema,Salim,Halima,Anna,Lukas,Marie,Jonas,Léa,Hugo,Emma,Noah,Sofia,Mateo,Lucía,Pablo,Giulia,Marco,Aiko,
Haruto,Priya,Arjun,Olivia,George,Amelia,Harry,Grace,Peter,Ruth,Daniel,Esther,Samuel}'::text[], $1, $2)$$;
CREATE FUNCTION pg_temp.last_name(i bigint, salt bigint) RETURNS text LANGUAGE sql IMMUTABLE
    AS $$SELECT pg_temp.pick('{Odhiambo,Mutua,Kiptoo,Wambui,Ochieng,Kariuki,Chebet,Nyambura,Hassan,Abdalla,Müller,
Schmidt,Fischer,Weber,Becker,Dubois,Moreau,Laurent,García,Fernández,López,Rossi,Bianchi,Romano,Tanaka,Suzuki,
Sharma,Patel,Khan,Smith,Jones,Taylor,Brown,O''Brien,Murphy,Kelly,Nowak,Kowalska,Novák,Jansen,de Vries,Andersson,
Hansen,Korhonen,Okafor,Adeyemi,Mensah,Dlamini}'::text[], $1, $2)$$;
CREATE FUNCTION pg_temp.city(i bigint, salt bigint) RETURNS text LANGUAGE sql IMMUTABLE
    AS $$SELECT pg_temp.pick('{Nairobi,Mombasa,Kisumu,Nakuru,Eldoret,Kampala,Arusha,Dar es Salaam,Kigali,Berlin,
Hamburg,München,Köln,Paris,Lyon,Madrid,Sevilla,Milano,Torino,Amsterdam,Wien,Zürich,Praha,London,Leeds,Dublin,
Lagos,Accra,Cape Town,Durban}'::text[], $1, $2)$$;
CREATE FUNCTION pg_temp.country(i bigint, salt bigint) RETURNS text LANGUAGE sql IMMUTABLE
    AS $$SELECT pg_temp.pick('{KE,KE,KE,KE,KE,UG,TZ,TZ,RW,DE,DE,DE,FR,FR,ES,IT,NL,AT,CH,CZ,GB,GB,IE,NG,GH,ZA}'::text[], $1, $2)$$;
CREATE FUNCTION pg_temp.street(i bigint, salt bigint) RETURNS text LANGUAGE sql IMMUTABLE
    AS $$SELECT pg_temp.pick('{Moi Avenue,Kenyatta Road,Ngong Road,Uhuru Highway,Lake Street,River Lane,Station Road,
Market Street,Church Street,Mill Lane,Hauptstraße,Bahnhofstraße,Gartenweg,Lindenallee,Rue de la Paix,
Rue Victor Hugo,Calle Mayor,Via Roma,Corso Italia,Keizersgracht,High Street,Park View,Victoria Road,Queensway}'::text[], $1, $2)$$;
CREATE FUNCTION pg_temp.sentence(i bigint, salt bigint) RETURNS text LANGUAGE sql IMMUTABLE
    AS $$SELECT pg_temp.pick(ARRAY[
    'Made by hand in small series from materials that last.', 'Washable at thirty degrees, do not tumble dry.',
    'The handle is oiled oak, the blade is stainless steel.', 'Delivered flat, put together in ten minutes.',
    'Please read the instructions before the first use.', 'Two years of warranty and spare parts for ten.',
    'Holds one and a half litres and fits every fridge door.', 'Soft, warm, and light enough for a long journey.',
    'The colours may differ a little from the picture.', 'Batteries are not included; it takes two of size AA.',
    'A gift for people who have everything already.', 'Tested by our own team for a whole winter.',
    'Not suitable for children under three years.', 'Best kept dry and away from direct sunlight.',
    'Every piece is different, as it should be.', 'Comes in a box of recycled cardboard without plastic.',
    'The zip is on the inside, where rain never gets.', 'It folds to the size of a paperback.',
    'Dishwasher safe, but it will thank you for a brush.', 'Grown without pesticides on the slopes of Mount Kenya.'],
    $1, $2)$$;
