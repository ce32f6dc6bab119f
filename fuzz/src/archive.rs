//! Dumps as pg_dump writes them, made from nothing: seeds for the archive parser, and the database of
//! the small repository. And a split that is kept in memory.

use std::convert::Infallible;
use std::io::{self, Cursor, Read};

use kamba_vault::postgres::archive::ints::IntLayout;
use kamba_vault::postgres::archive::join::{JoinError, Joined, join};
use kamba_vault::postgres::archive::recipe::COPY_END;
use kamba_vault::postgres::archive::reframe::Filter;
use kamba_vault::postgres::archive::split::{ObjectEnd, ObjectKey, Sink};

/// How a dump is written.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Minor version of the archive format, 12 to 16.
    pub minor: u8,
    /// Magnitude bytes of an integer, 4 to 8.
    pub int_size: u8,
    /// Bytes of a frame of table data; zero for one row each.
    pub frame: usize,
}

/// A table: its name, and its rows or, without COPY, its statements.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether it has rows.
    pub is_copy: bool,
    /// Rows without their newlines.
    pub rows: &'a [&'a [u8]],
}

struct Writer {
    out: Vec<u8>,
    ints: IntLayout,
    minor: u8,
}

impl Writer {
    fn int(&mut self, value: u32) {
        self.ints.write(&mut self.out, value);
    }

    fn text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => {
                self.int(text.len() as u32);
                self.out.extend_from_slice(text.as_bytes());
            }
            None => {
                let at = self.out.len();
                self.int(1);
                self.out[at] = 1;
            }
        }
    }

    fn frame(&mut self, bytes: &[u8]) {
        self.int(bytes.len() as u32);
        self.out.extend_from_slice(bytes);
    }

    fn head(&mut self, int_size: u8) {
        self.out.extend_from_slice(b"PGDMP\x01");
        self.out.extend_from_slice(&[self.minor, 0, int_size, 8, 1]);
        if self.minor >= 15 {
            self.out.push(0)
        } else {
            self.int(0)
        }
        for field in [59, 30, 3, 22, 10, 126, 0] {
            self.int(field);
        }
        for text in ["shop", "15.18", "15.18"] {
            self.text(Some(text));
        }
    }

    fn entry(&mut self, id: u32, desc: &str, tag: &str, copy: &str, on: &[u32]) {
        let has_data = matches!(desc, "TABLE DATA" | "BLOBS");
        self.int(id);
        self.int(u32::from(has_data));
        for text in ["1259", "16384", tag, desc] {
            self.text(Some(text));
        }
        self.int(if has_data { 3 } else { 2 });
        self.text(Some("CREATE … ;\n"));
        self.text(Some("DROP … ;\n"));
        self.text((!copy.is_empty()).then_some(copy));
        self.text(Some("public"));
        self.text(Some(""));
        if self.minor >= 14 {
            self.text(Some("heap"));
        }
        if self.minor >= 16 {
            self.int(u32::from(b'r'));
        }
        self.text(Some("postgres"));
        self.text(Some("false"));
        for id in on {
            self.text(Some(&id.to_string()));
        }
        self.text(None);
        self.out.push(if has_data { 1 } else { 3 });
        self.out.extend_from_slice(&[0; 8]);
    }

    fn data(&mut self, table: &Table<'_>, frame: usize) {
        let mut rows: Vec<Vec<u8>> = table.rows.iter().map(|row| row.to_vec()).collect();
        if table.is_copy {
            rows.iter_mut().for_each(|row| row.push(b'\n'));
            rows.push(COPY_END.to_vec());
        }
        if frame == 0 {
            rows.iter().filter(|row| !row.is_empty()).for_each(|row| self.frame(row));
        } else {
            rows.concat().chunks(frame).for_each(|piece| self.frame(piece));
        }
        self.int(0);
    }
}

/// A dump of `tables` and of large objects, each an oid below 2^31 and its bytes.
pub fn dump(style: Style, tables: &[Table<'_>], large_objects: &[(u32, &[u8])]) -> Vec<u8> {
    let ints = IntLayout::new(style.int_size).unwrap();
    let mut w = Writer { out: Vec::new(), ints, minor: style.minor };
    w.head(style.int_size);
    w.int(tables.len() as u32 * 3 + u32::from(!large_objects.is_empty()));
    for (table, id) in tables.iter().zip((200..).step_by(3)) {
        let copy = format!("COPY public.{} FROM stdin;\n", table.name);
        w.entry(id, "TABLE", table.name, "", &[]);
        w.entry(id + 1, "TABLE DATA", table.name, if table.is_copy { &copy } else { "" }, &[id]);
        w.entry(id + 2, "CONSTRAINT", &format!("{} pkey", table.name), "", &[id]);
    }
    if !large_objects.is_empty() {
        w.entry(100, "BLOBS", "BLOBS", "", &[]);
    }
    for (table, id) in tables.iter().zip((201..).step_by(3)) {
        w.out.push(1);
        w.int(id);
        w.data(table, style.frame);
    }
    if !large_objects.is_empty() {
        w.out.push(3);
        w.int(100);
        for (oid, bytes) in large_objects {
            w.int(*oid);
            bytes.chunks(16).for_each(|piece| w.frame(piece));
            w.int(0);
        }
        w.int(0);
    }
    w.out
}

/// A split that is kept, with the order of its events checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parts {
    /// The objects in their order.
    pub objects: Vec<(ObjectKey, Vec<u8>)>,
    /// What was said of each at its end.
    pub ends: Vec<ObjectEnd>,
    /// The recipe.
    pub recipe: Vec<u8>,
}

impl Parts {
    /// Puts the dump together again, from these objects and `recipe`.
    pub fn join(&self, recipe: &[u8], filter: Option<Filter<'_>>) -> Result<(Vec<u8>, Joined), JoinError> {
        let mut out = Vec::new();
        let open = |number: usize| match self.objects.get(number) {
            Some((_, bytes)) => Ok(Box::new(Cursor::new(bytes)) as Box<dyn Read>),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        let joined = join(recipe, open, filter, &mut out)?;
        assert_eq!(joined.bytes, out.len() as u64);
        Ok((out, joined))
    }

    /// The most bytes that any recipe of `len` bytes can make of these objects: an integer has at most
    /// nine, and stands for an operation or for one byte of an object at least.
    pub fn most(&self, len: usize) -> usize {
        let objects: usize = self.objects.iter().map(|(_, bytes)| bytes.len() + COPY_END.len()).sum();
        objects * 10 + len * 9
    }
}

impl Sink for Parts {
    type Error = Infallible;

    fn object_begin(&mut self, key: &ObjectKey) -> Result<(), Infallible> {
        assert_eq!(self.objects.len(), self.ends.len(), "objects do not overlap");
        assert!(self.objects.iter().all(|(other, _)| other != key), "{key:?} occurs twice");
        self.objects.push((key.clone(), Vec::new()));
        Ok(())
    }

    fn object_bytes(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        assert_eq!(self.objects.len(), self.ends.len() + 1, "bytes stand inside an object");
        assert!(!bytes.is_empty());
        self.objects.last_mut().unwrap().1.extend_from_slice(bytes);
        Ok(())
    }

    fn object_end(&mut self, end: &ObjectEnd) -> Result<(), Infallible> {
        assert_eq!(self.objects.len(), self.ends.len() + 1);
        assert_eq!(self.objects.last().unwrap().1.len() as u64, end.bytes);
        self.ends.push(*end);
        Ok(())
    }

    fn recipe(&mut self, operations: &[u8]) -> Result<(), Infallible> {
        self.recipe.extend_from_slice(operations);
        Ok(())
    }
}
