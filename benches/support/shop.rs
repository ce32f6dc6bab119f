//! A shop's dump as `pg_dump` prints it in plain text, and the next one after a day of business.
//! Every field is a hash of its table, row and name, so the same bytes come out everywhere. They
//! shrink under zstd -3 about as much as real shops' dumps do, to a bit more than a quarter.

use std::io::{self, Write};

use crate::support::heap::{Heap, Row};

/// Bytes of the dump for each order, with its share of all tables.
const BYTES_PER_ORDER: u64 = 407;
/// Rows of text are gathered to about this many bytes before they are written.
const BUFFER: usize = 1 << 20;

const FIRST_NAMES: &[&str] = &[
    "Wanjiru", "Otieno", "Achieng", "Kamau", "Njeri", "Mutua", "Amina", "Hassan", "Grace", "Brian", "Mercy",
    "Kevin", "Faith", "Dennis", "Esther", "Collins", "Zainab", "Peter", "Lucy", "Samuel", "Ruth", "Victor",
    "Joyce", "Moses", "Agnes", "Daniel", "Lilian", "Abdi", "Naomi", "Felix", "Tabitha", "Simon", "José",
    "Zoë", "Søren", "Ayşe", "Irène", "Łukasz", "Björn", "Chloé",
];
const LAST_NAMES: &[&str] = &[
    "Mwangi",
    "Odhiambo",
    "Wafula",
    "Kiptoo",
    "Njoroge",
    "Mutiso",
    "Cheruiyot",
    "Omondi",
    "Karanja",
    "Barasa",
    "Kilonzo",
    "Auma",
    "Gitau",
    "Rotich",
    "Musyoka",
    "Wekesa",
    "Ndungu",
    "Chebet",
    "Onyango",
    "Muthoni",
    "Maina",
    "Abdullahi",
    "Kariuki",
    "Were",
    "Simiyu",
    "Langat",
    "Nyambura",
    "Ouma",
    "Kimani",
    "Atieno",
];
const STREETS: &[&str] = &[
    "Moi Avenue",
    "Kenyatta Avenue",
    "Ngong Road",
    "Thika Road",
    "Biashara Street",
    "Market Lane",
    "Kimathi Street",
    "Station Road",
    "Oginga Odinga Street",
    "River Road",
    "Limuru Road",
    "Mombasa Road",
    "Tom Mboya Street",
    "Haile Selassie Avenue",
    "Uganda Road",
    "Nkrumah Road",
    "Kaunda Street",
    "Parklands Drive",
    "Lake View",
    "Hill Close",
];
const CITIES: &[(&str, &str)] = &[
    ("Nairobi", "KE"),
    ("Mombasa", "KE"),
    ("Kisumu", "KE"),
    ("Nakuru", "KE"),
    ("Eldoret", "KE"),
    ("Thika", "KE"),
    ("Kampala", "UG"),
    ("Entebbe", "UG"),
    ("Arusha", "TZ"),
    ("Dar es Salaam", "TZ"),
    ("Kigali", "RW"),
    ("Addis Ababa", "ET"),
];
const MAIL: &[&str] = &["gmail.com", "yahoo.com", "outlook.com", "example.org", "mail.example.net"];
const STATUS: &[&str] =
    &["placed", "paid", "packed", "shipped", "delivered", "delivered", "delivered", "delivered", "returned"];
const PAYMENT: &[&str] = &["mpesa", "mpesa", "card", "card", "transfer", "voucher"];
const ADJECTIVES: &[&str] = &[
    "Small",
    "Large",
    "Red",
    "Blue",
    "Green",
    "Foldable",
    "Wooden",
    "Woven",
    "Cast-iron",
    "Linen",
    "Classic",
    "Travel",
];
const NOUNS: &[&str] = &[
    "kettle", "basket", "lamp", "chair", "blanket", "knife", "backpack", "radio", "teapot", "stool",
    "mirror", "rug",
];
const WORDS: &[&str] = &[
    "please",
    "leave",
    "the",
    "parcel",
    "at",
    "gate",
    "call",
    "before",
    "delivery",
    "with",
    "neighbour",
    "after",
    "six",
    "fragile",
    "gift",
    "wrap",
    "second",
    "floor",
    "ring",
    "twice",
    "and",
    "ask",
    "for",
    "guard",
    "next",
    "to",
    "pharmacy",
    "blue",
    "door",
    "not",
    "on",
    "sunday",
    "invoice",
    "by",
    "mail",
    "change",
    "address",
];

/// The tables, from 1.
const HEADINGS: [&str; 4] = [
    "customers (id, email, name, street, postal_code, city, country, phone, newsletter, note, updated_at)",
    "order_lines (order_id, line, product_id, title, quantity, price, vat, discount)",
    "orders (id, number, customer_id, status, ship_to, total, currency, paid_by, note, placed_at, updated_at)",
    "stock (product_id, warehouse, quantity, updated_at)",
];

/// What happens in a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Business {
    /// A shop's day: 0.5 % of the orders, 2 % of the customers and 1 % of the stock change, here and
    /// there, and 0.5 % of the orders are new.
    Usual,
    /// 1 % of the rows of every table change, and 0.5 % are new.
    Everywhere,
}

/// A shop.
#[derive(Clone, Debug)]
pub struct Shop {
    sizes: Sizes,
    tables: Vec<Table>,
    /// Days since it was made.
    day: u64,
}

/// How many there were of each when the shop was made.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    customers: u64,
    stock: u64,
}

/// One of its tables.
#[derive(Clone, Debug)]
struct Table {
    number: u64,
    heading: &'static str,
    heap: Heap,
}

impl Shop {
    /// The shop whose first dump has about `bytes`.
    pub fn of_size(bytes: u64, business: Business) -> Self {
        let orders = (bytes / BYTES_PER_ORDER).max(10);
        let sizes = Sizes { customers: orders * 3 / 10, stock: orders * 12 / 100 };
        let rows = [sizes.customers, orders, orders, sizes.stock];
        let per_mille = match business {
            Business::Usual => [(20, 0), (0, 5), (5, 5), (10, 0)],
            Business::Everywhere => [(10, 5); 4],
        };
        let tables = (1..).zip(HEADINGS).zip(rows.into_iter().zip(per_mille));
        let tables = tables.map(|((number, heading), (rows, (changes, added)))| {
            let heap = Heap::new(rows, changes, added);
            Table { number, heading, heap }
        });
        Shop { sizes, tables: tables.collect(), day: 0 }
    }

    /// A day passes.
    pub fn pass_day(&mut self) {
        self.day += 1;
        for table in &mut self.tables {
            let (number, day) = (table.number, self.day);
            table.heap.day(|id| hash(number, id, day << 32));
        }
    }

    /// Writes its dump; returns the length in bytes.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<u64> {
        let mut out = Text { out, buffer: Vec::with_capacity(BUFFER + 4096), written: 0 };
        out.line("--\n-- PostgreSQL database dump\n--\n\nSET client_encoding = 'UTF8';\n")?;
        for table in &self.tables {
            out.line(&format!("COPY public.{} FROM stdin;\n", table.heading))?;
            for Row { id, version } in table.heap.rows() {
                out.row(|row| self.row(table.number, row, id.into(), version.into()))?;
            }
            out.line("\\.\n\n\n")?;
        }
        out.line("--\n-- PostgreSQL database dump complete\n--\n")?;
        out.flush()?;
        Ok(out.written)
    }

    fn row(&self, table: u64, row: &mut Vec<u8>, id: u64, version: u64) -> io::Result<()> {
        match table {
            1 => customer(row, id, version),
            2 => order_lines(row, &self.sizes, id, version),
            3 => order(row, &self.sizes, id, version),
            _ => stock(row, id, version),
        }
    }
}

fn customer(row: &mut Vec<u8>, id: u64, version: u64) -> io::Result<()> {
    let h = |field| hash(1, id, field);
    let (first, last) = (pick(FIRST_NAMES, h(1)), pick(LAST_NAMES, h(2)));
    let (city, country) = CITIES[(h(3) % CITIES.len() as u64) as usize];
    let (street, house, mail) = (pick(STREETS, h(4)), 1 + h(5) % 200, pick(MAIL, h(6)));
    write!(row, "{id}\t{last}.{id}@{mail}\t{first} {last}\t{street} {house}\t")?;
    write!(row, "{:05}\t{city}\t{country}\t", h(7) % 100_000)?;
    match h(8) % 4 {
        0 if version == 0 => row.extend_from_slice(b"\\N"),
        _ => write!(row, "+254 7{:08}", h(9 + version * 32) % 100_000_000)?,
    }
    row.extend_from_slice(if h(10) % 3 == 0 { b"\tt\t" } else { b"\tf\t" });
    note(row, h(11))?;
    row.push(b'\t');
    timestamp(row, id * 540 + version * 86_400, h(13))?;
    row.push(b'\n');
    Ok(())
}

fn order(row: &mut Vec<u8>, shop: &Sizes, id: u64, version: u64) -> io::Result<()> {
    let h = |field| hash(3, id, field);
    let (a, b) = (h(1), h(2));
    write!(row, "{id}\t{:08x}-{:04x}-4{:03x}-", a >> 32, a >> 16 & 0xffff, a & 0xfff)?;
    write!(row, "{:04x}-{:012x}\t", b >> 48 & 0x3fff | 0x8000, b & 0xffff_ffff_ffff)?;
    let status = if version > 0 { "delivered" } else { pick(STATUS, h(3)) };
    write!(row, "{}\t{status}\t", 1 + h(4) % shop.customers)?;
    let (city, country) = CITIES[(h(5) % CITIES.len() as u64) as usize];
    let (first, last) = (pick(FIRST_NAMES, h(6)), pick(LAST_NAMES, h(7)));
    let (street, house) = (pick(STREETS, h(8)), 1 + h(9) % 200);
    write!(row, "{{\"city\": \"{city}\", \"name\": \"{first} {last}\", \"street\": \"{street} {house}\", ")?;
    write!(row, "\"company\": null, \"country\": \"{country}\"}}\t")?;
    write!(row, "{}.{:02}\tKES\t{}\t", h(10) % 600 + 4, h(11) % 100, pick(PAYMENT, h(12)))?;
    note(row, h(13))?;
    row.push(b'\t');
    timestamp(row, id * 40, h(14))?;
    row.push(b'\t');
    let later = if version > 0 { version * 86_400 } else { h(15) % 700_000 };
    timestamp(row, id * 40 + later, h(14))?;
    row.push(b'\n');
    Ok(())
}

fn order_lines(row: &mut Vec<u8>, shop: &Sizes, order: u64, version: u64) -> io::Result<()> {
    for line in 1..=1 + hash(2, order, 1) % 4 {
        let h = |field| hash(2, order, line * 8 + field);
        let (product, cents) = (1 + h(2) % (shop.stock / 3).max(1), h(3) % 20_000 + 199);
        let (adjective, noun) = (pick(ADJECTIVES, hash(5, product, 1)), pick(NOUNS, hash(5, product, 2)));
        // A change is one of the first line's quantity.
        let quantity = if line == 1 { version } else { 0 } + 1 + h(4) % 3;
        write!(row, "{order}\t{line}\t{product}\t{adjective} {noun}\t{quantity}\t")?;
        writeln!(row, "{}.{:02}\t16.00\t{}.00", cents / 100, cents % 100, h(5) % 16 / 13 * 5)?;
    }
    Ok(())
}

fn stock(row: &mut Vec<u8>, id: u64, version: u64) -> io::Result<()> {
    let quantity = hash(4, id, 1 + version * 32) % 500;
    write!(row, "{}\t{}\t{quantity}\t", id / 3 + 1, id % 3 + 1)?;
    timestamp(row, hash(4, id, 3) % 7_000_000 + version * 86_400, 0)?;
    row.push(b'\n');
    Ok(())
}

/// One row in eight has a note of some words.
fn note(row: &mut Vec<u8>, random: u64) -> io::Result<()> {
    if !random.is_multiple_of(8) {
        return row.write_all(b"\\N");
    }
    for word in 0..5 + random / 8 % 9 {
        write!(row, "{}{}", if word > 0 { " " } else { "" }, pick(WORDS, hash(9, random, word)))?;
    }
    Ok(())
}

/// `seconds` after 2026-01-01 as PostgreSQL prints it, with microseconds if there are any.
fn timestamp(row: &mut Vec<u8>, seconds: u64, random: u64) -> io::Result<()> {
    // Days to a date by counting from 1 March 0000 ("chrono-Compatible Low-Level Date Algorithms",
    // Hinnant); 20,454 days lead from 1970 to 2026.
    let days = seconds / 86_400 + 20_454 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    write!(row, "{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")?;
    match random % 1_000_000 {
        0 => row.write_all(b"+00"),
        micros => write!(row, ".{micros:06}+00"),
    }
}

fn pick<'t>(texts: &[&'t str], random: u64) -> &'t str {
    texts[(random % texts.len() as u64) as usize]
}

/// The finaliser of SplitMix64 ("Fast Splittable Pseudorandom Number Generators", Steele et al., 2014).
fn hash(table: u64, row: u64, field: u64) -> u64 {
    let mut n = (table << 56 ^ row << 8 ^ field).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}

/// Text on its way out.
struct Text<'w> {
    out: &'w mut dyn Write,
    buffer: Vec<u8>,
    written: u64,
}

impl Text<'_> {
    fn line(&mut self, text: &str) -> io::Result<()> {
        self.row(|row| row.write_all(text.as_bytes()))
    }

    fn row(&mut self, fill: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
        fill(&mut self.buffer)?;
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
