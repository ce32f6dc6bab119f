-- One day: some orders move on, some customers change, stock is counted, new orders come in.
UPDATE orders SET status = 'delivered', updated_at = updated_at + interval '1 day'
    WHERE pg_temp.h(id, 1000 + :day, 1000) < 5;
UPDATE customers SET phone = '+254 7' || lpad(pg_temp.h(id, 2000 + :day, 100000000)::text, 8, '0'),
    updated_at = updated_at + interval '1 day'
    WHERE pg_temp.h(id, 3000 + :day, 100) < 2;
UPDATE stock SET quantity = pg_temp.h(product_id * 4 + warehouse, 4000 + :day, 500), updated_at = updated_at + interval '1 day'
    WHERE pg_temp.h(product_id * 4 + warehouse, 5000 + :day, 100) < 1;
