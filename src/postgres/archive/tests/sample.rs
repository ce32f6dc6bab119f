//! Archives made as pg_dump makes them, with every freedom that the format leaves.

use std::convert::Infallible;
use std::io::Cursor;

use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof};

use crate::postgres::archive::ints::IntLayout;
use crate::postgres::archive::join::{JoinError, join};
use crate::postgres::archive::recipe::COPY_END;
use crate::postgres::archive::reframe::Filter;
use crate::postgres::archive::split::{ObjectEnd, ObjectKey, Sink, SplitError, Splitter, Summary};

/// So many cases, and no file of failures beside the sources: a case that failed becomes a test.
pub fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// How a table's data is cut into frames.
#[derive(Clone, Debug)]
pub enum Framing {
    /// One row each, then the end marker: pg_dump up to 18.
    Rows,
    /// So many bytes each, whatever they hold: pg_dump after 18.
    Fixed(usize),
    /// The given lengths, again and again.
    Lengths(Vec<usize>),
}

#[derive(Clone, Debug)]
pub struct Table {
    pub schema: String,
    pub name: String,
    /// COPY rows without their newlines; or, for INSERT, pieces of statements.
    pub rows: Vec<Vec<u8>>,
    pub is_copy: bool,
    pub framing: Framing,
}

#[derive(Clone, Debug)]
pub struct Archive {
    pub minor: u8,
    pub int_size: u8,
    pub offset_size: u8,
    pub first_id: u32,
    pub tables: Vec<Table>,
    /// Oid, bytes, and length of a frame.
    pub large_objects: Vec<(u32, Vec<u8>, usize)>,
}

/// An entry of the table of contents.
#[derive(Clone, Debug, Default)]
pub struct Line {
    pub id: u32,
    pub has_data: bool,
    pub desc: &'static str,
    pub schema: String,
    pub tag: String,
    pub defn: String,
    pub copy: String,
    pub deps: Vec<u32>,
}

pub struct Writer {
    pub out: Vec<u8>,
    ints: IntLayout,
    minor: u8,
    offset_size: u8,
}

impl Writer {
    pub fn new(minor: u8, int_size: u8, offset_size: u8) -> Self {
        let ints = IntLayout::new(int_size).unwrap();
        let mut writer = Writer { out: Vec::new(), ints, minor, offset_size };
        writer.out.extend_from_slice(b"PGDMP\x01");
        writer.out.extend_from_slice(&[minor, 0, int_size, offset_size, 1]);
        if minor >= 15 {
            writer.out.push(0)
        } else {
            writer.int(0)
        }
        for field in [59, 30, 3, 22, 10, 126, 0] {
            writer.int(field);
        }
        writer.text(Some(b"shop"));
        writer.text(Some(b"15.18"));
        writer.text(Some(b"15.18"));
        writer
    }

    pub fn int(&mut self, value: u32) {
        self.ints.write(&mut self.out, value);
    }

    /// As C writes an unsigned number through a signed int.
    fn oid(&mut self, oid: u32) {
        let signed = oid as i32;
        let at = self.out.len();
        self.int(signed.unsigned_abs() & 0x7fff_ffff);
        if signed < 0 {
            self.out[at] = 1;
            self.out[at + 1..at + 5].copy_from_slice(&signed.unsigned_abs().to_le_bytes());
        }
    }

    fn text(&mut self, text: Option<&[u8]>) {
        match text {
            Some(text) => {
                self.int(text.len() as u32);
                self.out.extend_from_slice(text);
            }
            None => {
                let at = self.out.len();
                self.int(1);
                self.out[at] = 1;
            }
        }
    }

    /// Adds an entry and returns where its offset field stands.
    pub fn entry(&mut self, line: &Line) -> usize {
        self.int(line.id);
        self.int(u32::from(line.has_data));
        self.text(Some(b"1259"));
        self.text(Some(b"16384"));
        self.text(Some(line.tag.as_bytes()));
        self.text(Some(line.desc.as_bytes()));
        self.int(if line.desc == "TABLE DATA" || line.desc == "BLOBS" { 3 } else { 2 });
        self.text(Some(line.defn.as_bytes()));
        self.text(Some(b""));
        self.text((!line.copy.is_empty()).then_some(line.copy.as_bytes()));
        self.text(Some(line.schema.as_bytes()));
        self.text(None);
        if self.minor >= 14 {
            self.text(None);
        }
        if self.minor >= 16 {
            self.int(0);
        }
        self.text(Some(b"postgres"));
        self.text(Some(b"false"));
        for id in &line.deps {
            self.text(Some(id.to_string().as_bytes()));
        }
        self.text(None);
        let at = self.out.len();
        self.out.push(if line.has_data { 1 } else { 3 });
        self.out.extend(std::iter::repeat_n(0, usize::from(self.offset_size)));
        at
    }

    fn frame(&mut self, bytes: &[u8]) {
        self.int(bytes.len() as u32);
        self.out.extend_from_slice(bytes);
    }

    fn data(&mut self, table: &Table) {
        if table.is_copy && matches!(table.framing, Framing::Rows) {
            for row in &table.rows {
                self.frame(&[row.as_slice(), b"\n"].concat());
            }
            self.frame(COPY_END);
        } else if matches!(table.framing, Framing::Rows) {
            table.rows.iter().filter(|piece| !piece.is_empty()).for_each(|piece| self.frame(piece));
        } else {
            let mut left = &table.stream()[..];
            let lengths = match &table.framing {
                Framing::Fixed(n) => vec![*n],
                Framing::Lengths(lengths) => lengths.clone(),
                Framing::Rows => unreachable!(),
            };
            for len in lengths.iter().cycle() {
                if left.is_empty() {
                    break;
                }
                let (now, later) = left.split_at((*len).min(left.len()));
                self.frame(now);
                left = later;
            }
        }
        self.int(0);
    }
}

impl Table {
    /// What the object of this table must hold.
    pub fn object(&self) -> Vec<u8> {
        let newline: &[u8] = if self.is_copy { b"\n" } else { b"" };
        self.rows.iter().flat_map(|row| [row.as_slice(), newline].concat()).collect()
    }

    /// The data as it stands in the archive, without frames.
    fn stream(&self) -> Vec<u8> {
        let mut bytes = self.object();
        if self.is_copy {
            bytes.extend_from_slice(COPY_END);
        }
        bytes
    }
}

impl Archive {
    fn data_lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        for (i, table) in self.tables.iter().enumerate() {
            let id = self.first_id + 2 * i as u32;
            let (schema, tag) = (table.schema.clone(), table.name.clone());
            let defn = format!("CREATE TABLE {schema}.{tag} ();\n");
            lines.push(Line {
                id,
                desc: "TABLE",
                schema: schema.clone(),
                tag: tag.clone(),
                defn,
                ..Line::default()
            });
            let copy =
                if table.is_copy { format!("COPY {schema}.{tag} FROM stdin;\n") } else { String::new() };
            let (id, deps) = (id + 1, vec![id]);
            lines.push(Line {
                id,
                has_data: true,
                desc: "TABLE DATA",
                schema,
                tag,
                copy,
                deps,
                ..Line::default()
            });
        }
        if !self.large_objects.is_empty() {
            let id = self.first_id + 2 * self.tables.len() as u32;
            lines.push(Line { id, has_data: true, desc: "BLOBS", tag: "BLOBS".into(), ..Line::default() });
        }
        lines
    }

    /// The archive's bytes, without the data blocks that `keep` refuses. With `with_offsets`,
    /// as `pg_dump --file` writes it.
    pub fn bytes_with(&self, with_offsets: bool, keep: &dyn Fn(u32) -> bool) -> Vec<u8> {
        let mut w = Writer::new(self.minor, self.int_size, self.offset_size);
        let lines = self.data_lines();
        w.int(lines.len() as u32);
        let places: Vec<usize> = lines.iter().map(|line| w.entry(line)).collect();
        for (line, place) in lines.iter().zip(places).filter(|(line, _)| line.has_data && keep(line.id)) {
            if with_offsets {
                let offset = (w.out.len() as u64).to_le_bytes();
                let field = &mut w.out[place..place + 1 + usize::from(self.offset_size)];
                field[0] = 2;
                field[1..].copy_from_slice(&offset[..usize::from(self.offset_size)]);
            }
            let is_table = line.desc == "TABLE DATA";
            w.out.push(if is_table { 1 } else { 3 });
            w.int(line.id);
            if is_table {
                let table = &self.tables[((line.id - self.first_id) / 2) as usize];
                w.data(table);
            } else {
                for (oid, bytes, frame) in &self.large_objects {
                    w.oid(*oid);
                    bytes.chunks(*frame).for_each(|piece| w.frame(piece));
                    w.int(0);
                }
                w.int(0);
            }
        }
        w.out
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.bytes_with(false, &|_| true)
    }
}

fn arb_framing() -> impl Strategy<Value = Framing> {
    prop_oneof![
        4 => Just(Framing::Rows),
        1 => (1usize..40).prop_map(Framing::Fixed),
        1 => vec(1usize..12, 1..6).prop_map(Framing::Lengths),
    ]
}

fn arb_row() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => "[a-z0-9\t\\\\]{0,40}".prop_map(String::into_bytes),
        // What looks like the end marker, or like a part of it.
        1 => Just(b"\\.".to_vec()),
        1 => Just(Vec::new()),
        1 => vec(any::<u8>().prop_filter("newline", |b| *b != b'\n'), 0..20),
    ]
}

fn arb_piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[A-Z0-9, ();\n]{1,12}".prop_map(String::into_bytes),
        1 => Just(COPY_END.to_vec()),
        1 => Just(b"\n".to_vec()),
    ]
}

fn arb_table() -> impl Strategy<Value = (bool, Framing, Vec<Vec<u8>>)> {
    prop_oneof![
        3 => (Just(true), arb_framing(), vec(arb_row(), 0..60)),
        1 => (Just(false), arb_framing(), vec(arb_piece(), 0..60)),
    ]
}

/// Any archive, small.
pub fn arb_archive() -> impl Strategy<Value = Archive> {
    let tables = vec(arb_table(), 0..5);
    let large_objects = vec((any::<u32>(), vec(any::<u8>(), 0..60), 1usize..20), 0..5);
    (12u8..=16, 4u8..=8, 4u8..=8, 1u32..3000, tables, large_objects).prop_map(
        |(minor, int_size, offset_size, first_id, tables, mut large_objects)| {
            large_objects.sort_by_key(|l| l.0);
            large_objects.dedup_by_key(|l| l.0);
            large_objects.retain(|l| l.0 != 0);
            let named = |(i, (is_copy, framing, rows))| Table {
                schema: if i % 2 == 0 { "public".into() } else { "Weird. name/%".into() },
                name: format!("t{i}"),
                rows,
                is_copy,
                framing,
            };
            let tables = tables.into_iter().enumerate().map(named).collect();
            Archive { minor, int_size, offset_size, first_id, tables, large_objects }
        },
    )
}

/// Keeps what a split gives, and checks the order of its events.
#[derive(Debug, Default, PartialEq)]
pub struct Recorder {
    pub objects: Vec<(ObjectKey, Vec<u8>)>,
    pub ends: Vec<ObjectEnd>,
    pub recipe: Vec<u8>,
}

impl Recorder {
    pub fn object(&self, key: &ObjectKey) -> Option<&[u8]> {
        self.objects.iter().find(|(k, _)| k == key).map(|(_, bytes)| bytes.as_slice())
    }
}

impl Sink for Recorder {
    type Error = Infallible;

    fn object_begin(&mut self, key: &ObjectKey) -> Result<(), Infallible> {
        assert_eq!(self.objects.len(), self.ends.len(), "objects do not overlap");
        assert!(self.object(key).is_none(), "{key:?} occurs twice");
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

/// Splits `bytes`, in portions of the given lengths (again and again), gathering `batch` bytes.
pub fn split(
    bytes: &[u8],
    portions: &[usize],
    batch: usize,
) -> Result<(Recorder, Summary), SplitError<Infallible>> {
    let mut recorder = Recorder::default();
    let summary = split_into(bytes, portions, batch, &mut recorder)?;
    Ok((recorder, summary))
}

pub fn split_into<S: Sink<Error: std::fmt::Debug>>(
    bytes: &[u8],
    portions: &[usize],
    batch: usize,
    sink: &mut S,
) -> Result<Summary, SplitError<S::Error>> {
    let mut splitter = Splitter::with_batch(batch);
    let mut left = bytes;
    for len in portions.iter().cycle() {
        if left.is_empty() {
            break;
        }
        let (now, later) = left.split_at((*len).min(left.len()));
        splitter.push(now, sink).unwrap();
        left = later;
    }
    splitter.finish(sink)
}

/// Joins what a recorder kept.
pub fn rejoin(recorder: &Recorder, filter: Option<Filter<'_>>) -> Result<Vec<u8>, JoinError> {
    let mut out = Vec::new();
    let open = |i: usize| match recorder.objects.get(i) {
        Some((_, bytes)) => Ok(Box::new(Cursor::new(bytes)) as Box<dyn std::io::Read>),
        None => Err(std::io::ErrorKind::NotFound.into()),
    };
    let joined = join(Cursor::new(&recorder.recipe), open, filter, &mut out)?;
    assert_eq!(joined.bytes, out.len() as u64);
    Ok(out)
}
