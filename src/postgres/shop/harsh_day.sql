-- A day that touches one row in a hundred of every table, at random.
UPDATE customers SET note = pg_temp.sentence(id, 6000 + :day), updated_at = updated_at + interval '1 day'
    WHERE pg_temp.h(id, 1000 + :day, 100) = 0;
UPDATE products SET price = price + 1, updated_at = updated_at + interval '1 day' WHERE pg_temp.h(id, 2000 + :day, 100) = 0;
UPDATE stock SET quantity = quantity + 1 WHERE pg_temp.h(product_id * 4 + warehouse, 3000 + :day, 100) = 0;
UPDATE orders SET status = 'delivered', updated_at = updated_at + interval '1 day' WHERE pg_temp.h(id, 4000 + :day, 100) = 0;
UPDATE order_lines SET quantity = quantity + 1 WHERE pg_temp.h(order_id * 8 + line, 5000 + :day, 100) = 0;
UPDATE payments SET method = 'transfer', amount = amount + 1 WHERE pg_temp.h(order_id, 6000 + :day, 100) = 0;
UPDATE visits SET path = path || '#' WHERE pg_temp.h(id, 7000 + :day, 100) = 0;
UPDATE "Weird. name/%" SET "odd ""column""" = "odd ""column""" || '!' WHERE pg_temp.h(id, 8000 + :day, 100) = 0;
