//! A shop's dump as `pg_dump` prints it in plain text, and the next one after a day of business.
//! Every field is a hash of its table, row and name, so the same bytes come out everywhere. They
//! shrink under zstd -3 about as much as real shops' dumps do, to a bit more than a quarter.

use std::io::{self, Write};

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

/// Which of the two dumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Day {
    /// The shop as it was made.
    First,
    /// A day later: 0.5 % of the orders, 2 % of the customers and 1 % of the stock changed, here
    /// and there, and 0.5 % of the orders are new. As in PostgreSQL, the new version of a row
    /// stands at the end of its table.
    Next,
}

/// A shop, by its numbers of rows.
#[derive(Clone, Copy, Debug)]
pub struct Shop {
    orders: u64,
    customers: u64,
    stock: u64,
}

/// One table while it is written.
struct Table {
    number: u64,
    rows: u64,
    /// Rows of a thousand that change in a day.
    changes: u64,
    /// Rows that a day adds.
    added: u64,
}

impl Shop {
    /// The shop whose dump has about `bytes`.
    pub fn of_size(bytes: u64) -> Self {
        let orders = (bytes / BYTES_PER_ORDER).max(10);
        Shop { orders, customers: orders * 3 / 10, stock: orders * 12 / 100 }
    }

    /// Writes the dump of `day`; returns its length in bytes.
    pub fn write(&self, day: Day, out: &mut dyn Write) -> io::Result<u64> {
        let mut out = Text { out, buffer: Vec::with_capacity(BUFFER + 4096), written: 0 };
        out.line("--\n-- PostgreSQL database dump\n--\n\nSET client_encoding = 'UTF8';\n")?;
        let added = self.orders / 200;
        let tables = [
            Table { number: 1, rows: self.customers, changes: 20, added: 0 },
            Table { number: 2, rows: self.orders, changes: 0, added },
            Table { number: 3, rows: self.orders, changes: 5, added },
            Table { number: 4, rows: self.stock, changes: 10, added: 0 },
        ];
        for table in &tables {
            table.write(self, day, &mut out)?;
        }
        out.line("--\n-- PostgreSQL database dump complete\n--\n")?;
        out.flush()?;
        Ok(out.written)
    }
}

impl Table {
    fn write(&self, shop: &Shop, day: Day, out: &mut Text<'_>) -> io::Result<()> {
        let heading = match self.number {
            1 => {
                "customers (id, email, name, street, postal_code, city, country, phone, newsletter, note, updated_at)"
            }
            2 => "order_lines (order_id, line, product_id, title, quantity, price, vat, discount)",
            3 => {
                "orders (id, number, customer_id, status, ship_to, total, currency, paid_by, note, placed_at, updated_at)"
            }
            _ => "stock (product_id, warehouse, quantity, updated_at)",
        };
        out.line(&format!("COPY public.{heading} FROM stdin;\n"))?;
        let changed = |id: u64| day == Day::Next && hash(self.number, id, 0) % 1000 < self.changes;
        for id in (1..=self.rows).filter(|&id| !changed(id)) {
            out.row(|row| self.row(shop, row, id, false))?;
        }
        if day == Day::Next {
            for id in (1..=self.rows).filter(|&id| changed(id)) {
                out.row(|row| self.row(shop, row, id, true))?;
            }
            for id in self.rows + 1..=self.rows + self.added {
                out.row(|row| self.row(shop, row, id, false))?;
            }
        }
        out.line("\\.\n\n\n")
    }

    fn row(&self, shop: &Shop, row: &mut Vec<u8>, id: u64, changed: bool) -> io::Result<()> {
        match self.number {
            1 => customer(row, id, changed),
            2 => order_lines(row, shop, id),
            3 => order(row, shop, id, changed),
            _ => stock(row, id, changed),
        }
    }
}

fn customer(row: &mut Vec<u8>, id: u64, changed: bool) -> io::Result<()> {
    let h = |field| hash(1, id, field);
    let (first, last) = (pick(FIRST_NAMES, h(1)), pick(LAST_NAMES, h(2)));
    let (city, country) = CITIES[(h(3) % CITIES.len() as u64) as usize];
    let (street, house, mail) = (pick(STREETS, h(4)), 1 + h(5) % 200, pick(MAIL, h(6)));
    write!(row, "{id}\t{last}.{id}@{mail}\t{first} {last}\t{street} {house}\t")?;
    write!(row, "{:05}\t{city}\t{country}\t", h(7) % 100_000)?;
    match h(8) % 4 {
        0 if !changed => row.extend_from_slice(b"\\N"),
        _ => write!(row, "+254 7{:08}", h(if changed { 19 } else { 9 }) % 100_000_000)?,
    }
    row.extend_from_slice(if h(10) % 3 == 0 { b"\tt\t" } else { b"\tf\t" });
    note(row, h(11))?;
    row.push(b'\t');
    let day = if changed { 86_400 } else { 0 };
    timestamp(row, id * 540 + day, h(13))?;
    row.push(b'\n');
    Ok(())
}

fn order(row: &mut Vec<u8>, shop: &Shop, id: u64, changed: bool) -> io::Result<()> {
    let h = |field| hash(3, id, field);
    let (a, b) = (h(1), h(2));
    write!(row, "{id}\t{:08x}-{:04x}-4{:03x}-", a >> 32, a >> 16 & 0xffff, a & 0xfff)?;
    write!(row, "{:04x}-{:012x}\t", b >> 48 & 0x3fff | 0x8000, b & 0xffff_ffff_ffff)?;
    let status = if changed { "delivered" } else { pick(STATUS, h(3)) };
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
    let later = if changed { 86_400 } else { h(15) % 700_000 };
    timestamp(row, id * 40 + later, h(14))?;
    row.push(b'\n');
    Ok(())
}

fn order_lines(row: &mut Vec<u8>, shop: &Shop, order: u64) -> io::Result<()> {
    for line in 1..=1 + hash(2, order, 1) % 4 {
        let h = |field| hash(2, order, line * 8 + field);
        let (product, cents) = (1 + h(2) % (shop.stock / 3).max(1), h(3) % 20_000 + 199);
        let (adjective, noun) = (pick(ADJECTIVES, hash(5, product, 1)), pick(NOUNS, hash(5, product, 2)));
        write!(row, "{order}\t{line}\t{product}\t{adjective} {noun}\t{}\t", 1 + h(4) % 3)?;
        writeln!(row, "{}.{:02}\t16.00\t{}.00", cents / 100, cents % 100, h(5) % 16 / 13 * 5)?;
    }
    Ok(())
}

fn stock(row: &mut Vec<u8>, id: u64, changed: bool) -> io::Result<()> {
    let (quantity, day) = if changed { (2, 86_400) } else { (1, 0) };
    write!(row, "{}\t{}\t{}\t", id / 3 + 1, id % 3 + 1, hash(4, id, quantity) % 500)?;
    timestamp(row, hash(4, id, 3) % 7_000_000 + day, 0)?;
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
