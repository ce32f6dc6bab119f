//! Rows of a COPY as CSV: what `COPY … TO … WITH (FORMAT csv, HEADER)` would have written, byte for byte
//! (`CopyAttributeOutCSV` in PostgreSQL's `copyto.c`), made of the text format that a dump holds. Bytes
//! in, bytes out.

use crate::postgres::sql::quoted_len;

/// Bytes of a field that are held back until it is known whether it needs quotes.
const HELD_MAX: usize = 1 << 20;

/// The names of the columns that a dump's COPY statement lists; `None` if it is no such statement.
pub fn columns(copy_stmt: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = copy_stmt.strip_prefix(b"COPY ")?.strip_suffix(b" FROM stdin;\n")?;
    loop {
        match rest.first() {
            // A table without columns has no list.
            None => return Some(Vec::new()),
            Some(b'"') => rest = &rest[quoted_len(rest, 0)?..],
            Some(b'(') => break,
            Some(_) => rest = &rest[1..],
        }
    }
    let mut columns = Vec::new();
    rest = rest.get(1..)?;
    loop {
        let len = match rest.first()? {
            b'"' => name_len(rest)?,
            _ => rest.iter().position(|b| matches!(b, b',' | b')'))?,
        };
        columns.push(identifier(&rest[..len]));
        rest = match &rest[len..] {
            b")" => return Some(columns),
            [b',', b' ', more @ ..] => more,
            _ => return None,
        };
    }
}

/// Length of the quoted identifier at the start of `sql`: a doubled quote does not end it.
fn name_len(sql: &[u8]) -> Option<usize> {
    let mut len = quoted_len(sql, 0)?;
    while sql.get(len) == Some(&b'"') {
        len += quoted_len(sql, len)?;
    }
    Some(len)
}

/// An identifier without its quotes.
fn identifier(written: &[u8]) -> Vec<u8> {
    let Some(inner) = written.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\"")) else {
        return written.to_vec();
    };
    let mut name = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        name.push(*byte);
        if *byte == b'"' {
            bytes.next();
        }
    }
    name
}

/// The first line: the columns' names.
pub fn header(columns: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, name) in columns.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        let lone = name == b"\\." && columns.len() == 1;
        if name.is_empty() || lone || name.iter().any(|b| needs_quotes(*b)) {
            out.push(b'"');
            put_quoted(name, &mut out);
            out.push(b'"');
        } else {
            out.extend_from_slice(name);
        }
    }
    out.push(b'\n');
    out
}

fn needs_quotes(byte: u8) -> bool {
    matches!(byte, b',' | b'"' | b'\n' | b'\r')
}

fn put_quoted(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
}

/// Why a converter stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// All bytes were taken.
    More,
    /// A field is long, and nothing so far tells whether it needs quotes: see [`FieldScan`].
    Long,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    /// Not known yet: what came of the field is held back.
    Unknown,
    No,
    Yes,
}

/// Makes CSV of rows.
#[derive(Clone)]
pub struct Converter {
    columns: usize,
    /// What came of the current field.
    field: Vec<u8>,
    quotes: Quotes,
    /// A backslash came last.
    is_escaped: bool,
    /// The field is `\N` so far.
    is_null: bool,
    at_row_start: bool,
}

impl Converter {
    /// A converter of the rows of a table with so many columns.
    pub fn new(columns: usize) -> Self {
        Converter {
            columns,
            field: Vec::new(),
            quotes: Quotes::Unknown,
            is_escaped: false,
            is_null: false,
            at_row_start: true,
        }
    }

    /// Whether it stands before a row, where another converter could go on.
    pub fn at_row_start(&self) -> bool {
        self.at_row_start
    }

    /// Converts `input`, of which it cuts off what it took.
    pub fn push(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Stop {
        while let Some(&byte) = input.first() {
            if self.quotes == Quotes::Unknown && self.field.len() >= HELD_MAX {
                return Stop::Long;
            }
            if self.is_escaped {
                self.escaped(byte, out);
                *input = &input[1..];
                continue;
            }
            match byte {
                b'\t' | b'\n' => {
                    self.end_field(out);
                    self.at_row_start = byte == b'\n';
                    out.push(if byte == b'\n' { b'\n' } else { b',' });
                    *input = &input[1..];
                }
                b'\\' => {
                    self.no_null(out);
                    self.is_escaped = true;
                    self.at_row_start = false;
                    *input = &input[1..];
                }
                _ => {
                    self.no_null(out);
                    self.at_row_start = false;
                    let plain = input.iter().position(|b| matches!(b, b'\t' | b'\n' | b'\\'));
                    let most = plain.unwrap_or(input.len()).min(HELD_MAX);
                    let (now, later) = input.split_at(most);
                    self.put(now, out);
                    *input = later;
                }
            }
        }
        Stop::More
    }

    /// Settles the question of a long field.
    pub fn decide(&mut self, needs_quotes: bool, out: &mut Vec<u8>) {
        if self.quotes == Quotes::Unknown {
            self.quotes = if needs_quotes { Quotes::Yes } else { Quotes::No };
            self.release(out);
        }
    }

    /// The rows are over. Whether the last one was whole.
    pub fn finish(&self) -> bool {
        self.at_row_start
    }

    fn escaped(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.is_escaped = false;
        let meant = match byte {
            b'N' if self.field.is_empty() && self.quotes == Quotes::Unknown => {
                self.is_null = true;
                return;
            }
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0b,
            other => other,
        };
        self.put(&[meant], out);
    }

    /// What began like a NULL goes on: it is none.
    fn no_null(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.is_null) {
            self.put(b"N", out);
        }
    }

    fn put(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self.quotes {
            Quotes::No => out.extend_from_slice(bytes),
            Quotes::Yes => put_quoted(bytes, out),
            Quotes::Unknown => {
                self.field.extend_from_slice(bytes);
                if bytes.iter().any(|b| needs_quotes(*b)) {
                    self.decide(true, out);
                }
            }
        }
    }

    /// Hands out what was held back.
    fn release(&mut self, out: &mut Vec<u8>) {
        let mut field = std::mem::take(&mut self.field);
        match self.quotes {
            Quotes::Yes => {
                out.push(b'"');
                put_quoted(&field, out);
            }
            Quotes::No | Quotes::Unknown => out.extend_from_slice(&field),
        }
        field.clear();
        self.field = field;
    }

    fn end_field(&mut self, out: &mut Vec<u8>) {
        if self.quotes == Quotes::Unknown {
            // Without columns a row is an empty line; an empty field is no NULL, so it gets quotes.
            let lone = self.columns == 1 && self.field == b"\\.";
            let empty = self.field.is_empty() && !self.is_null && self.columns > 0;
            self.decide(lone || empty, out);
        }
        if self.quotes == Quotes::Yes {
            out.push(b'"');
        }
        self.quotes = Quotes::Unknown;
        self.is_null = false;
    }
}

/// Looks ahead in a field that is too long to be held back: whether it needs quotes.
#[derive(Default)]
pub struct FieldScan {
    is_escaped: bool,
}

impl FieldScan {
    /// Goes on where `converter` stopped.
    pub fn new(converter: &Converter) -> Self {
        FieldScan { is_escaped: converter.is_escaped }
    }

    /// Looks at the next bytes of the rows. `Some` once it is known.
    pub fn look(&mut self, bytes: &[u8]) -> Option<bool> {
        for byte in bytes {
            match (std::mem::take(&mut self.is_escaped), byte) {
                (true, b'n' | b'r' | b',' | b'"' | b'\n' | b'\r') => return Some(true),
                (true, _) => {}
                (false, b'\\') => self.is_escaped = true,
                (false, b'\t' | b'\n') => return Some(false),
                (false, b',' | b'"' | b'\r') => return Some(true),
                (false, _) => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::collection::vec;
    use proptest::prelude::{
        Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
    };

    use super::{Converter, FieldScan, HELD_MAX, Stop, columns, header};

    fn convert(columns: usize, rows: &[u8], portion: usize) -> Vec<u8> {
        let mut converter = Converter::new(columns);
        let mut out = Vec::new();
        let mut done = 0;
        for piece in rows.chunks(portion.max(1)) {
            let mut input = piece;
            while converter.push(&mut input, &mut out) == Stop::Long {
                let at = done + piece.len() - input.len();
                let quotes = FieldScan::new(&converter).look(&rows[at..]).unwrap_or(false);
                converter.decide(quotes, &mut out);
            }
            done += piece.len();
        }
        assert!(converter.finish());
        out
    }

    #[test]
    fn fields_are_written_as_postgresql_does() {
        let cases: [(usize, &str, &str); 12] = [
            (2, "1\ta\n2\t\\N\n", "1,a\n2,\n"),
            (2, "\t\\N\n", "\"\",\n"),
            (1, "\n\\N\n", "\"\"\n\n"),
            (0, "\n\n", "\n\n"),
            (1, "\\\\.\n", "\"\\.\"\n"),
            (2, "\\\\.\t\\\\.\n", "\\.,\\.\n"),
            (1, "a,b\na\"b\na\\nb\na\\rb\na\\tb\n", "\"a,b\"\n\"a\"\"b\"\n\"a\nb\"\n\"a\rb\"\na\tb\n"),
            (1, "\\\\N\n", "\\N\n"),
            (1, "\\Nx\n\\N\\N\n", "Nx\nNN\n"),
            (1, "{1,2}\n\\\\x00ff\n", "\"{1,2}\"\n\\x00ff\n"),
            (1, " a \n#\n", " a \n#\n"),
            (1, "\\b\\f\\v\n", "\u{8}\u{c}\u{b}\n"),
        ];
        for (columns, rows, csv) in cases {
            for portion in [1, 2, 1000] {
                let got = convert(columns, rows.as_bytes(), portion);
                assert_eq!(String::from_utf8(got).unwrap(), csv, "{rows:?}");
            }
        }
    }

    #[test]
    fn columns_are_read_from_the_statement() {
        let of = |sql: &str| columns(sql.as_bytes());
        let names = |names: &[&str]| Some(names.iter().map(|n| n.as_bytes().to_vec()).collect::<Vec<_>>());
        assert_eq!(of("COPY public.a (n, text) FROM stdin;\n"), names(&["n", "text"]));
        let odd = "COPY \"a (b\".\"c\"\"d\" (\"x, \"\"y\"\"\", \"(\", z) FROM stdin;\n";
        assert_eq!(of(odd), names(&["x, \"y\"", "(", "z"]));
        assert_eq!(of("COPY public.none  FROM stdin;\n"), names(&[]));
        for bad in
            ["", "COPY a (b FROM stdin;\n", "COPY a (b) FROM stdin", "COPY a (b) WITH OIDS FROM stdin;\n"]
        {
            assert_eq!(of(bad), None, "{bad}");
        }
        let odd = [b"x, \"y\"".to_vec(), b"".to_vec(), b"z".to_vec()];
        assert_eq!(header(&odd), b"\"x, \"\"y\"\"\",\"\",z\n");
        assert_eq!(header(&[b"\\.".to_vec()]), b"\"\\.\"\n");
        assert_eq!(header(&[]), b"\n");
    }

    #[test]
    fn a_field_too_long_to_hold_gets_quotes_only_if_it_needs_them() {
        for (end, quoted) in [("", false), (",", true), ("\\n", true), ("\\t", false), ("\"", true)] {
            let long = "x".repeat(HELD_MAX * 2);
            let got = convert(2, format!("{long}{end}\t,\n").as_bytes(), 70_000);
            assert_eq!(got.starts_with(b"\"x"), quoted, "{end}");
            assert!(got.len() > HELD_MAX * 2 && got.ends_with(b",\",\"\n"), "{end}");
        }
    }

    /// What PostgreSQL writes for a value in the text format.
    fn as_text(value: &Option<Vec<u8>>) -> Vec<u8> {
        let Some(value) = value else { return b"\\N".to_vec() };
        let mut out = Vec::new();
        for byte in value {
            match byte {
                8 => out.extend(b"\\b"),
                9 => out.extend(b"\\t"),
                10 => out.extend(b"\\n"),
                11 => out.extend(b"\\v"),
                12 => out.extend(b"\\f"),
                13 => out.extend(b"\\r"),
                b'\\' => out.extend(b"\\\\"),
                other => out.push(*other),
            }
        }
        out
    }

    /// The same in CSV, as `CopyAttributeOutCSV` is written.
    fn as_csv(value: &Option<Vec<u8>>, single: bool) -> Vec<u8> {
        let Some(value) = value else { return Vec::new() };
        let special = value.iter().any(|b| b",\"\n\r".contains(b));
        if !value.is_empty() && !special && !(single && value == b"\\.") {
            return value.clone();
        }
        let text: Vec<u8> =
            value.iter().flat_map(|b| if *b == b'"' { vec![b'"', b'"'] } else { vec![*b] }).collect();
        [b"\"".as_slice(), &text, b"\""].concat()
    }

    fn value() -> impl Strategy<Value = Option<Vec<u8>>> {
        let byte =
            prop_oneof![Just(b','), Just(b'"'), Just(b'\\'), Just(b'N'), Just(b'.'), 8..14_u8, any::<u8>()];
        proptest::option::of(vec(byte, 0..6))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_rows_are_written_as_postgresql_does(
            (width, rows) in (1..4_usize).prop_flat_map(|w| (Just(w), vec(vec(value(), w), 0..6))),
            portion in 1..20_usize,
        ) {
            let write = |field: &dyn Fn(&Option<Vec<u8>>) -> Vec<u8>, between: &[u8]| -> Vec<u8> {
                let line = |row: &Vec<Option<Vec<u8>>>| {
                    let fields: Vec<Vec<u8>> = row.iter().map(field).collect();
                    [fields.join(between), b"\n".to_vec()].concat()
                };
                rows.iter().flat_map(line).collect()
            };
            let text = write(&as_text, b"\t");
            let csv = write(&|value| as_csv(value, width == 1), b",");
            prop_assert_eq!(convert(width, &text, portion), csv);
        }

        #[test]
        fn anything_is_converted_whatever_its_portions(rows in vec(any::<u8>(), 0..200), portion in 1..20_usize) {
            let rows = [rows, b"\n\n".to_vec()].concat();
            let whole = convert(2, &rows, rows.len());
            prop_assert!(whole.len() <= rows.len() * 3);
            prop_assert_eq!(convert(2, &rows, portion), whole);
        }
    }
}
