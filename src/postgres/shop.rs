//! A made-up shop in a database, for the demo, tests and benchmarks: customers, products, orders,
//! payments, with the look of real data and everything that a dump can hold. It is the same
//! wherever it is made from the same seed.

use crate::postgres::error::Error;
use crate::postgres::server::Server;

/// Rows at scale 1.0, where a dump has about 100 MB.
const ORDERS: f64 = 200_000.0;
const CUSTOMERS: f64 = 60_000.0;
const PRODUCTS: f64 = 8_000.0;

/// Oid of the first large object, less the number of its order: above what a new cluster uses.
const FIRST_DOCUMENT: u32 = 1_000_000;

const PRELUDE: &str = include_str!("shop/prelude.sql");
const SCHEMA: &str = include_str!("shop/schema.sql");
const CUSTOMERS_SQL: &str = include_str!("shop/customers.sql");
const PRODUCTS_SQL: &str = include_str!("shop/products.sql");
const ORDERS_SQL: &str = include_str!("shop/orders.sql");
const LINES_SQL: &str = include_str!("shop/lines.sql");
const PAYMENTS_SQL: &str = include_str!("shop/payments.sql");
const FINISH: &str = include_str!("shop/finish.sql");
const DAY: &str = include_str!("shop/day.sql");
const HARSH_DAY: &str = include_str!("shop/harsh_day.sql");

/// A shop in the database that a server's settings name.
#[derive(Clone, Debug)]
pub struct Shop {
    server: Server,
    seed: u32,
    customers: u64,
    products: u64,
    orders: u64,
}

impl Shop {
    /// Creates the tables and fills them. Scale 1.0 is a dump of about 100 MB.
    pub fn create(server: &Server, scale: f64, seed: u32) -> Result<Self, Error> {
        let rows = |at_one: f64| ((at_one * scale) as u64).max(10);
        let shop = Shop {
            server: server.clone(),
            seed,
            customers: rows(CUSTOMERS),
            products: rows(PRODUCTS),
            orders: rows(ORDERS),
        };
        server.run(SCHEMA.as_bytes())?;
        // Each table by a session of its own: rows depend on their numbers alone.
        let fill = |sql: &str, rows: u64| shop.run(0, &[&range(1, rows), sql]);
        std::thread::scope(|scope| {
            let tables = [
                scope.spawn(|| fill(ORDERS_SQL, shop.orders)),
                scope.spawn(|| fill(LINES_SQL, shop.orders)),
                scope.spawn(|| fill(PAYMENTS_SQL, shop.orders)),
                scope.spawn(|| fill(CUSTOMERS_SQL, shop.customers)),
                scope.spawn(|| fill(PRODUCTS_SQL, shop.products)),
            ];
            tables.into_iter().try_for_each(|table| table.join().unwrap_or(Err(Error::Answer("the shop"))))
        })?;
        shop.run(0, &[FINISH])?;
        Ok(shop)
    }

    /// Lets a day pass: 0.5 % of the orders, 2 % of the customers and 1 % of the stock change at
    /// random; 0.5 % of orders come in with their lines and payments.
    pub fn a_day(&mut self, day: u32) -> Result<(), Error> {
        let last = self.orders + share(self.orders);
        let new = range(self.orders + 1, last);
        self.run(day, &[DAY, &new, ORDERS_SQL, LINES_SQL, PAYMENTS_SQL])?;
        self.orders = last;
        Ok(())
    }

    /// Lets a worse day pass: 1 % of the rows of every table change at random, and 0.5 % come in.
    pub fn harsh_day(&mut self, day: u32) -> Result<(), Error> {
        let customers = self.customers + share(self.customers);
        let products = self.products + share(self.products);
        let orders = self.orders + share(self.orders);
        self.run(
            day,
            &[
                HARSH_DAY,
                &range(self.customers + 1, customers),
                CUSTOMERS_SQL,
                &range(self.products + 1, products),
                PRODUCTS_SQL,
                &range(self.orders + 1, orders),
                ORDERS_SQL,
                LINES_SQL,
                PAYMENTS_SQL,
            ],
        )?;
        (self.customers, self.products, self.orders) = (customers, products, orders);
        Ok(())
    }

    /// Orders so far.
    pub fn orders(&self) -> u64 {
        self.orders
    }

    fn run(&self, day: u32, parts: &[&str]) -> Result<(), Error> {
        let mut script = format!(
            "\\set seed {}\n\\set day {day}\n\\set customers {}\n\\set products {}\n\\set first_document {FIRST_DOCUMENT}\n",
            self.seed, self.customers, self.products
        );
        // psql puts no variables into quoted function bodies.
        script.push_str(&PRELUDE.replace(":seed", &self.seed.to_string()));
        parts.iter().for_each(|part| script.push_str(part));
        self.server.run(script.as_bytes())
    }
}

/// The numbers of the rows to insert.
fn range(first: u64, last: u64) -> String {
    format!("\\set first {first}\n\\set last {last}\n")
}

/// What half a percent comes to.
fn share(rows: u64) -> u64 {
    (rows / 200).max(1)
}
