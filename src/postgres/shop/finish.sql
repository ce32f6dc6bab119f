ALTER TABLE customers ADD PRIMARY KEY (id), ADD UNIQUE (email);
ALTER TABLE products ADD PRIMARY KEY (id), ADD UNIQUE (sku), ADD CHECK (price > 0);
ALTER TABLE stock ADD PRIMARY KEY (product_id, warehouse), ADD FOREIGN KEY (product_id) REFERENCES products;
ALTER TABLE orders ADD PRIMARY KEY (id), ADD FOREIGN KEY (customer_id) REFERENCES customers;
ALTER TABLE order_lines ADD PRIMARY KEY (order_id, line), ADD FOREIGN KEY (order_id) REFERENCES orders,
    ADD FOREIGN KEY (product_id) REFERENCES products;
ALTER TABLE payments ADD PRIMARY KEY (id), ADD FOREIGN KEY (order_id) REFERENCES orders;
ALTER TABLE visits ADD PRIMARY KEY (id, at);
ALTER TABLE invoices ADD PRIMARY KEY (order_id), ADD FOREIGN KEY (order_id) REFERENCES orders;
ALTER TABLE "Weird. name/%" ADD PRIMARY KEY (id);
CREATE INDEX orders_placed_at ON orders (placed_at);
CREATE INDEX orders_customer_id ON orders (customer_id);
CREATE INDEX visits_path ON visits (path);

CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.updated_at = OLD.updated_at THEN
        NEW.updated_at := now();
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER customers_touch BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION touch();
CREATE VIEW open_orders AS SELECT o.*, c.name FROM orders o JOIN customers c ON c.id = o.customer_id
    WHERE o.status IN ('placed', 'paid', 'packed');

SELECT setval('customers_id_seq', (SELECT max(id) FROM customers)), setval('products_id_seq', (SELECT max(id) FROM products)),
    setval('orders_id_seq', (SELECT max(id) FROM orders)) \g /dev/null
ANALYZE;
