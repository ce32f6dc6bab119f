//! Takes a custom-format archive apart while it streams by: the head, each table's rows, each
//! large object, and a recipe by which the exact bytes come back (see `recipe`). Where the bytes
//! make no sense, the rest of the stream becomes one object as it is, so a split never fails;
//! but a stream of a known version that ends too early does, for it is no dump (I-3).
//!
//! Portions of any size give the same events, but for where `object_bytes` and `recipe` are cut.

use std::collections::{HashMap, HashSet};

use crate::postgres::archive::frames::{BATCH, Frames, Stop};
use crate::postgres::archive::ints::{INT_LEN_MAX, Int, IntLayout};
use crate::postgres::archive::recipe::{Op, RECIPE_VERSION};
use crate::postgres::archive::toc::{Entry, Head, HeadParser, Progress};

/// Block types (`BLK_DATA` and `BLK_BLOBS` in PostgreSQL's `pg_backup_custom.c`).
const BLOCK_DATA: u8 = 1;
const BLOCK_LARGE_OBJECTS: u8 = 3;

/// Longest piece of the stream that must be whole to be understood: a block's type and id.
const PIECE_MAX: usize = 1 + INT_LEN_MAX;

/// What an object of the split is. No key occurs twice in one split.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ObjectKey {
    /// Header and table of contents.
    Head,
    /// The rows of a table: COPY lines, or INSERT statements if the dump was made with them.
    Table {
        /// Its schema, in the dump's encoding.
        schema: Box<[u8]>,
        /// Its name, likewise.
        name: Box<[u8]>,
    },
    /// The bytes of a large object.
    LargeObject {
        /// Its oid.
        oid: u32,
    },
    /// What could not be taken apart, as it was.
    Rest,
}

/// What is known of an object at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjectEnd {
    /// Length in bytes.
    pub bytes: u64,
    /// Rows, if it is COPY data.
    pub rows: Option<u64>,
}

/// Receives the split. Calls for an object stand between its begin and its end, and objects do
/// not overlap. An operation of the recipe comes before the bytes that it covers.
pub trait Sink {
    /// Why the sink can fail.
    type Error;
    /// An object begins.
    fn object_begin(&mut self, key: &ObjectKey) -> Result<(), Self::Error>;
    /// More of the object's bytes; never empty.
    fn object_bytes(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;
    /// The object is whole.
    fn object_end(&mut self, end: &ObjectEnd) -> Result<(), Self::Error>;
    /// More of the recipe, whole operations.
    fn recipe(&mut self, operations: &[u8]) -> Result<(), Self::Error>;
}

/// Where a data block begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The entry it belongs to.
    pub dump_id: u32,
    /// Offset of the block's type byte in the stream.
    pub offset: u64,
}

/// A table whose rows the archive holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRows {
    /// Its schema, in the dump's encoding.
    pub schema: Box<[u8]>,
    /// Its name, likewise.
    pub name: Box<[u8]>,
    /// Rows, if they are COPY data.
    pub rows: Option<u64>,
    /// Bytes of its object.
    pub bytes: u64,
}

impl TableRows {
    fn key(&self) -> ObjectKey {
        ObjectKey::Table { schema: self.schema.clone(), name: self.name.clone() }
    }
}

/// What a whole stream was.
#[derive(Debug, Default)]
pub struct Summary {
    /// Header and table of contents, unless the stream was not understood from its beginning.
    pub head: Option<Box<Head>>,
    /// Length of the stream.
    pub bytes: u64,
    /// Data blocks, in order.
    pub blocks: Vec<Block>,
    /// Tables, in order.
    pub tables: Vec<TableRows>,
    /// Large objects.
    pub large_objects: u64,
    /// Their bytes.
    pub large_object_bytes: u64,
    /// Why some or all of the stream was stored as it is.
    pub fallback: Option<String>,
}

/// Why a split fails.
#[derive(Debug, thiserror::Error)]
pub enum SplitError<E> {
    /// The sink failed.
    #[error(transparent)]
    Sink(E),
    /// The stream ended before the archive did.
    #[error("the dump ends early: after {bytes} bytes, {place}")]
    EndsEarly {
        /// Bytes that came.
        bytes: u64,
        /// What was expected or under way.
        place: String,
    },
}

enum State {
    Head(HeadParser),
    /// A block may begin, or the stream end.
    Boundary,
    /// A large object's oid may begin, or the block end.
    Oid,
    Table,
    LargeObject,
    Rest,
}

/// Splits one archive.
pub struct Splitter {
    state: State,
    ints: IntLayout,
    frames: Frames,
    /// The first bytes of a piece that the last portion did not have whole.
    carry: Vec<u8>,
    offset: u64,
    oids: OidSet,
    tables: HashSet<ObjectKey>,
    blocks: HashSet<u32>,
    blocks_expected: usize,
    summary: Summary,
    rest_bytes: u64,
}

impl Default for Splitter {
    fn default() -> Self {
        Self::new()
    }
}

impl Splitter {
    /// A splitter at the start of a stream.
    pub fn new() -> Self {
        Self::with_batch(BATCH)
    }

    /// A splitter that gathers at most `batch` bytes of short frames before it hands them on.
    pub(super) fn with_batch(batch: usize) -> Self {
        Splitter {
            state: State::Head(HeadParser::new()),
            ints: IntLayout::default(),
            frames: Frames::new(IntLayout::default(), batch),
            carry: Vec::new(),
            offset: 0,
            oids: OidSet::default(),
            tables: HashSet::new(),
            blocks: HashSet::new(),
            blocks_expected: 0,
            summary: Summary::default(),
            rest_bytes: 0,
        }
    }

    /// The head, once it is whole.
    pub fn head(&self) -> Option<&Head> {
        self.summary.head.as_deref()
    }

    /// Takes the next portion of the stream.
    pub fn push<S: Sink>(&mut self, portion: &[u8], sink: &mut S) -> Result<(), S::Error> {
        self.summary.bytes += portion.len() as u64;
        let mut input = portion;
        if let State::Head(parser) = &mut self.state {
            match parser.feed(input) {
                Progress::NeedMore => return Ok(()),
                Progress::Head { head, left } => {
                    self.begin_archive(head, sink)?;
                    input = &input[input.len() - left..];
                }
                Progress::Unknown(reason) => {
                    let bytes = std::mem::take(parser).into_bytes();
                    sink.recipe(&[RECIPE_VERSION, self.ints.size()])?;
                    self.begin_rest(reason, sink)?;
                    return self.step(&bytes, sink).map(drop);
                }
            }
        }
        while !self.carry.is_empty() && !input.is_empty() {
            let more = input.len().min(PIECE_MAX.saturating_sub(self.carry.len()).max(1));
            let mut piece = std::mem::take(&mut self.carry);
            piece.extend_from_slice(&input[..more]);
            input = &input[more..];
            let taken = self.step(&piece, sink)?;
            piece.drain(..taken);
            self.carry = piece;
        }
        let taken = self.step(input, sink)?;
        self.carry.extend_from_slice(&input[taken..]);
        Ok(())
    }

    /// The stream is over. Fails if the archive is not.
    pub fn finish<S: Sink>(mut self, sink: &mut S) -> Result<Summary, SplitError<S::Error>> {
        if let Some(place) = self.missing() {
            return Err(SplitError::EndsEarly { bytes: self.summary.bytes, place });
        }
        self.frames.hand_on_ops(sink).map_err(SplitError::Sink)?;
        if matches!(self.state, State::Rest) {
            let end = ObjectEnd { bytes: self.rest_bytes, rows: None };
            sink.object_end(&end).map_err(SplitError::Sink)?;
        }
        Ok(self.summary)
    }

    /// What the stream lacks, if it may not end here.
    fn missing(&self) -> Option<String> {
        match &self.state {
            State::Rest => None,
            State::Head(_) => Some("in the table of contents".to_owned()),
            State::Oid | State::LargeObject => Some("in the large objects".to_owned()),
            State::Table => {
                let table = self.summary.tables.last()?;
                Some(format!("in the rows of {}", display_table(&table.schema, &table.name)))
            }
            State::Boundary => {
                let waiting = |e: &Entry<'_>| e.had_dumper() && !self.blocks.contains(&e.dump_id());
                let entry = self.summary.head.as_ref()?.entries().find(waiting);
                entry.map(|e| format!("before the data of {}", display_table(e.namespace(), e.tag())))
            }
        }
    }

    fn begin_archive<S: Sink>(&mut self, head: Box<Head>, sink: &mut S) -> Result<(), S::Error> {
        self.ints = head.header().ints;
        self.frames.set_layout(self.ints);
        sink.recipe(&[RECIPE_VERSION, self.ints.size()])?;
        sink.object_begin(&ObjectKey::Head)?;
        self.add_ops(&[Op::Object, Op::All]);
        self.frames.hand_on_ops(sink)?;
        sink.object_bytes(head.bytes())?;
        sink.object_end(&ObjectEnd { bytes: head.len() as u64, rows: None })?;
        self.offset = head.len() as u64;
        self.blocks_expected = head.entries().filter(Entry::had_dumper).count();
        self.summary.head = Some(head);
        self.state = State::Boundary;
        Ok(())
    }

    fn begin_rest<S: Sink>(&mut self, reason: String, sink: &mut S) -> Result<(), S::Error> {
        self.summary.fallback = Some(reason);
        sink.object_begin(&ObjectKey::Rest)?;
        self.add_ops(&[Op::Object, Op::All]);
        self.frames.hand_on_ops(sink)?;
        self.state = State::Rest;
        Ok(())
    }

    fn add_ops(&mut self, ops: &[Op]) {
        for op in ops {
            op.encode(&mut self.frames.ops);
        }
    }

    fn add_literal(&mut self, op: Op, bytes: &[u8]) {
        op.encode(&mut self.frames.ops);
        self.frames.ops.extend_from_slice(bytes);
    }

    /// Takes from `input` what is whole. What is left is the beginning of a short piece.
    fn step<S: Sink>(&mut self, input: &[u8], sink: &mut S) -> Result<usize, S::Error> {
        let mut at = 0;
        while at < input.len() {
            let taken = match self.state {
                State::Boundary => self.block(&input[at..], sink)?,
                State::Oid => self.large_object(&input[at..], sink)?,
                State::Table | State::LargeObject => {
                    let (taken, stop) = self.frames.feed(&input[at..], sink)?;
                    self.offset += taken as u64;
                    at += taken;
                    match stop {
                        Stop::More => return Ok(at),
                        Stop::End => self.end_object(sink)?,
                        Stop::Odd => self.abandon(sink)?,
                    }
                    continue;
                }
                State::Rest => {
                    sink.object_bytes(&input[at..])?;
                    self.rest_bytes += (input.len() - at) as u64;
                    Some(input.len() - at)
                }
                // `push` leaves the head before it comes here.
                State::Head(_) => None,
            };
            let Some(taken) = taken else { return Ok(at) };
            self.offset += taken as u64;
            at += taken;
        }
        Ok(at)
    }

    /// A block's type and dump id. `None` if they are not whole.
    fn block<S: Sink>(&mut self, input: &[u8], sink: &mut S) -> Result<Option<usize>, S::Error> {
        let dump_id = match self.ints.read(&input[1..]) {
            // Nothing follows the last block, so nothing is worth waiting for.
            _ if self.blocks.len() == self.blocks_expected => 0,
            Int::NeedMore => return Ok(None),
            Int::Value(id @ 1..) => id as u32,
            Int::Value(_) | Int::Odd => 0,
        };
        let Some(kind) = self.block_kind(input[0], dump_id) else {
            let reason = format!("what stands at offset {} begins no known data block", self.offset);
            self.begin_rest(reason, sink)?;
            return Ok(Some(0));
        };
        let len = 1 + self.ints.width();
        self.blocks.insert(dump_id);
        self.summary.blocks.push(Block { dump_id, offset: self.offset });
        self.add_literal(Op::Block(len as u64), &input[..len]);
        match kind {
            BlockKind::LargeObjects => self.state = State::Oid,
            BlockKind::Table { table, is_copy } => {
                self.add_ops(&[if is_copy { Op::Rows } else { Op::Object }]);
                let key = table.key();
                sink.object_begin(&key)?;
                self.tables.insert(key);
                self.summary.tables.push(table);
                self.frames.begin(is_copy);
                self.state = State::Table;
            }
        }
        Ok(Some(len))
    }

    /// What a block of this type for this entry is; `None` if it makes no sense.
    fn block_kind(&self, block_type: u8, dump_id: u32) -> Option<BlockKind> {
        let entry = self.summary.head.as_ref()?.entry(dump_id)?;
        if !entry.had_dumper() || self.blocks.contains(&dump_id) {
            return None;
        }
        match (block_type, entry.desc()) {
            (BLOCK_LARGE_OBJECTS, b"BLOBS") => Some(BlockKind::LargeObjects),
            (BLOCK_DATA, b"TABLE DATA") => {
                let (schema, name) = (Box::from(entry.namespace()), Box::from(entry.tag()));
                let table = TableRows { schema, name, rows: None, bytes: 0 };
                let is_copy = !entry.copy_stmt().is_empty();
                let is_new = !self.tables.contains(&table.key());
                is_new.then_some(BlockKind::Table { table, is_copy })
            }
            _ => None,
        }
    }

    /// A large object's oid, or the zero that ends their block. `None` if it is not whole.
    fn large_object<S: Sink>(&mut self, input: &[u8], sink: &mut S) -> Result<Option<usize>, S::Error> {
        let width = self.ints.width();
        let oid = match self.ints.read(input) {
            Int::NeedMore => return Ok(None),
            Int::Value(0) => {
                self.add_ops(&[Op::End]);
                self.state = State::Boundary;
                return Ok(Some(width));
            }
            // Written as a signed int: oids beyond 2^31 come as negative numbers.
            Int::Value(value) => Some(value as i32 as u32),
            Int::Odd => None,
        };
        let Some(oid) = oid.filter(|oid| self.oids.insert(*oid)) else {
            let reason = format!("what stands at offset {} begins no large object", self.offset);
            self.begin_rest(reason, sink)?;
            return Ok(Some(0));
        };
        self.add_literal(Op::Literal(width as u64), &input[..width]);
        self.add_ops(&[Op::Object]);
        sink.object_begin(&ObjectKey::LargeObject { oid })?;
        self.frames.begin(false);
        self.state = State::LargeObject;
        Ok(Some(width))
    }

    fn end_object<S: Sink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        let end = self.frames.end(sink)?;
        self.count(&end);
        self.state = if matches!(self.state, State::Table) { State::Boundary } else { State::Oid };
        sink.object_end(&end)
    }

    fn abandon<S: Sink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        let end = self.frames.abandon(sink)?;
        // The rest of it is elsewhere, so these are no rows of a table that anybody could count.
        self.count(&ObjectEnd { rows: None, ..end });
        sink.object_end(&end)?;
        let reason = format!("what stands at offset {} is no length", self.offset);
        self.begin_rest(reason, sink)
    }

    fn count(&mut self, end: &ObjectEnd) {
        if matches!(self.state, State::LargeObject) {
            self.summary.large_objects += 1;
            self.summary.large_object_bytes += end.bytes;
        } else if let Some(table) = self.summary.tables.last_mut() {
            table.rows = end.rows;
            table.bytes = end.bytes;
        }
    }
}

enum BlockKind {
    LargeObjects,
    Table { table: TableRows, is_copy: bool },
}

/// `schema.name` for messages.
fn display_table(schema: &[u8], name: &[u8]) -> String {
    format!("{}.{}", String::from_utf8_lossy(schema), String::from_utf8_lossy(name))
}

/// The oids seen so far. They come from one counter, so a bit for each in pages of 1,024 takes
/// far less than a hash set would.
#[derive(Default)]
struct OidSet {
    pages: HashMap<u32, Box<[u64; 16]>>,
}

impl OidSet {
    /// Adds an oid; false if it was there.
    fn insert(&mut self, oid: u32) -> bool {
        let word = &mut self.pages.entry(oid >> 10).or_default()[(oid >> 6) as usize & 15];
        let bit = 1u64 << (oid & 63);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}
