//! The beginning of a custom-format archive: its header and its table of contents, versions 1.12
//! (PostgreSQL 9.0) to 1.16 (PostgreSQL 18). Source: `WriteHead`, `WriteToc` and `ReadToc` in
//! PostgreSQL's `pg_backup_archiver.c`, `_WriteExtraToc` in `pg_backup_custom.c`.
//!
//! The parser takes bytes in any portions and does no I/O. What it does not know is `Unknown`,
//! never an error: such a stream is stored as it is. It keeps I-9: every length is compared with
//! a limit, and memory grows only with bytes that have arrived.

use std::collections::HashMap;
use std::ops::Range;

use crate::base::limits::{
    ARCHIVE_DEPENDENCIES_MAX, ARCHIVE_ENTRIES_MAX, ARCHIVE_HEAD_MAX, ARCHIVE_STRING_MAX,
};
use crate::postgres::archive::ints::{INT_SIZES, Int, IntLayout};

/// The first bytes of every custom-format archive.
pub const MAGIC: &[u8; 5] = b"PGDMP";

/// The format byte of the custom format (`archCustom`).
const FORMAT_CUSTOM: u8 = 1;

/// Minor versions of major version 1 that are understood.
const MINORS: std::ops::RangeInclusive<u8> = 12..=16;

/// Sizes that an archive may declare for its file offsets. Every pg_dump of today writes 8.
const OFFSET_SIZES: std::ops::RangeInclusive<u8> = 4..=8;

/// Where a string stands in the head's bytes; `None` is the archive's NULL.
type Text = Option<(u32, u32)>;

/// The archive's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Minor and revision of the archive version 1.x.
    pub minor: u8,
    /// Revision of the version.
    pub revision: u8,
    /// How integers are laid out.
    pub ints: IntLayout,
    /// Bytes of a file offset.
    pub offset_size: u8,
    /// Second, minute, hour, day, month (0 = January), year - 1900, daylight saving: local time
    /// of the machine that ran pg_dump, in no stated time zone.
    pub created: [i32; 7],
    database: Text,
    server_version: Text,
    dump_version: Text,
}

/// When an entry is restored (`teSection`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Comments, privileges and the like, restored with what they belong to.
    None,
    /// Definitions needed before the data.
    PreData,
    /// Rows, large objects, sequence values.
    Data,
    /// Indexes, constraints, triggers.
    PostData,
}

/// One entry of the table of contents, its strings being places in the head.
#[derive(Clone, Debug)]
struct RawEntry {
    dump_id: u32,
    had_dumper: bool,
    section: Section,
    relkind: i32,
    tag: Text,
    desc: Text,
    defn: Text,
    drop_stmt: Text,
    copy_stmt: Text,
    namespace: Text,
    tablespace: Text,
    table_am: Text,
    owner: Text,
    dependencies: Box<[u32]>,
    offset_at: u32,
}

/// Header and table of contents of one archive, with the bytes they were read from.
#[derive(Clone, Debug)]
pub struct Head {
    bytes: Vec<u8>,
    header: Header,
    entries: Vec<RawEntry>,
    by_id: HashMap<u32, u32>,
}

/// One entry of the table of contents.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    head: &'a Head,
    raw: &'a RawEntry,
}

/// What one look at the start of a stream gave.
#[derive(Debug)]
pub enum Parsed {
    /// The bytes end inside the head.
    NeedMore,
    /// The whole head. Its length is `head.len()`.
    Head(Box<Head>),
    /// Not an archive that is understood; why, for people.
    Unknown(String),
}

/// Parses the head of an archive from the first bytes of a stream.
pub fn parse_head(bytes: &[u8]) -> Parsed {
    let mut parser = HeadParser::new();
    match parser.feed(bytes) {
        Progress::NeedMore => Parsed::NeedMore,
        Progress::Unknown(reason) => Parsed::Unknown(reason),
        Progress::Head { head, .. } => Parsed::Head(head),
    }
}

impl Head {
    /// The exact bytes of header and table of contents. Alone they satisfy `pg_restore --list`
    /// and `pg_restore --section=pre-data`.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Length of the head in bytes: the stream offset of the first data block.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never true: a head has at least its magic.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Name of the dumped database, in the dump's encoding.
    pub fn database(&self) -> &[u8] {
        self.text(self.header.database)
    }

    /// The server's version as it describes itself: `15.20 (Debian 15.20-0+deb12u1)`.
    pub fn server_version(&self) -> &[u8] {
        self.text(self.header.server_version)
    }

    /// The version of the pg_dump that wrote the archive.
    pub fn dump_version(&self) -> &[u8] {
        self.text(self.header.dump_version)
    }

    /// The entries, in the archive's order.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> + Clone {
        self.entries.iter().map(|raw| Entry { head: self, raw })
    }

    /// Number of entries.
    pub fn entry_count(&self) -> usize {
        self.entries.len()
    }

    /// The entry with this dump id.
    pub fn entry(&self, dump_id: u32) -> Option<Entry<'_>> {
        let at = *self.by_id.get(&dump_id)?;
        self.entries.get(at as usize).map(|raw| Entry { head: self, raw })
    }

    fn text(&self, text: Text) -> &[u8] {
        // A NULL and an empty string mean the same wherever pg_restore reads them, but for
        // `tablespace`, which asks `text_or_null`.
        self.text_or_null(text).unwrap_or_default()
    }

    fn text_or_null(&self, text: Text) -> Option<&[u8]> {
        let (at, len) = text?;
        self.bytes.get(at as usize..)?.get(..len as usize)
    }
}

impl<'a> Entry<'a> {
    /// The id that data blocks and dependencies use. It changes from dump to dump.
    pub fn dump_id(&self) -> u32 {
        self.raw.dump_id
    }
    /// Whether the archive has a data block for this entry.
    pub fn had_dumper(&self) -> bool {
        self.raw.had_dumper
    }
    /// When the entry is restored.
    pub fn section(&self) -> Section {
        self.raw.section
    }
    /// `pg_class.relkind` since version 1.16, else 0.
    pub fn relkind(&self) -> i32 {
        self.raw.relkind
    }
    /// The object's name, or name and argument types, or `table constraint`.
    pub fn tag(&self) -> &'a [u8] {
        self.head.text(self.raw.tag)
    }
    /// Where in the head the name stands, if there is one.
    pub fn tag_at(&self) -> Option<Range<usize>> {
        range(self.raw.tag)
    }
    /// The kind of object: `TABLE`, `TABLE DATA`, `FK CONSTRAINT`, …
    pub fn desc(&self) -> &'a [u8] {
        self.head.text(self.raw.desc)
    }
    /// The statement that creates the object.
    pub fn defn(&self) -> &'a [u8] {
        self.head.text(self.raw.defn)
    }
    /// Where in the head that statement stands, if there is one.
    pub fn defn_at(&self) -> Option<Range<usize>> {
        range(self.raw.defn)
    }
    /// The statement that drops it.
    pub fn drop_stmt(&self) -> &'a [u8] {
        self.head.text(self.raw.drop_stmt)
    }
    /// Where in the head that statement stands, if there is one.
    pub fn drop_stmt_at(&self) -> Option<Range<usize>> {
        range(self.raw.drop_stmt)
    }
    /// The `COPY … FROM stdin;` statement; empty when rows are INSERT statements.
    pub fn copy_stmt(&self) -> &'a [u8] {
        self.head.text(self.raw.copy_stmt)
    }
    /// The schema, empty if the object is in none.
    pub fn namespace(&self) -> &'a [u8] {
        self.head.text(self.raw.namespace)
    }
    /// The tablespace: `None` for objects without storage, empty for the default.
    pub fn tablespace(&self) -> Option<&'a [u8]> {
        self.head.text_or_null(self.raw.tablespace)
    }
    /// The table access method, if the entry names one.
    pub fn table_am(&self) -> &'a [u8] {
        self.head.text(self.raw.table_am)
    }
    /// The owner.
    pub fn owner(&self) -> &'a [u8] {
        self.head.text(self.raw.owner)
    }
    /// Dump ids of what must be restored before.
    pub fn dependencies(&self) -> &'a [u32] {
        &self.raw.dependencies
    }
    /// Where in the head the offset field stands: a flag byte, then `offset_size` bytes.
    pub fn offset_at(&self) -> usize {
        self.raw.offset_at as usize
    }
}

fn range(text: Text) -> Option<Range<usize>> {
    let (at, len) = text?;
    Some(at as usize..at as usize + len as usize)
}

/// What a parser made of the bytes so far.
#[derive(Debug)]
pub enum Progress {
    /// All bytes were taken; the head goes on.
    NeedMore,
    /// The head is whole. The last `left` bytes of the portion belong to what follows it.
    Head {
        /// The head.
        head: Box<Head>,
        /// Bytes of the last portion that do not belong to the head.
        left: usize,
    },
    /// Not understood. `into_bytes` gives back everything that was fed.
    Unknown(String),
}

/// Parses a head that arrives in portions, without starting again at each of them.
#[derive(Debug, Default)]
pub struct HeadParser {
    buf: Vec<u8>,
    at: usize,
    header: Option<Header>,
    expected: u32,
    entries: Vec<RawEntry>,
    by_id: HashMap<u32, u32>,
}

/// Why reading stopped.
enum Stop {
    More,
    Unknown(String),
}

impl From<&str> for Stop {
    fn from(reason: &str) -> Self {
        Stop::Unknown(reason.to_owned())
    }
}

impl HeadParser {
    /// A parser at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next portion of the stream.
    pub fn feed(&mut self, portion: &[u8]) -> Progress {
        self.buf.extend_from_slice(portion);
        match self.advance() {
            Ok(header) => {
                let left = self.buf.len() - self.at;
                self.buf.truncate(self.at);
                let head = Box::new(Head {
                    bytes: std::mem::take(&mut self.buf),
                    header,
                    entries: std::mem::take(&mut self.entries),
                    by_id: std::mem::take(&mut self.by_id),
                });
                Progress::Head { head, left }
            }
            Err(Stop::More) if self.buf.len() > ARCHIVE_HEAD_MAX => {
                Progress::Unknown(format!("a table of contents of more than {ARCHIVE_HEAD_MAX} bytes"))
            }
            Err(Stop::More) => Progress::NeedMore,
            Err(Stop::Unknown(reason)) => Progress::Unknown(reason),
        }
    }

    /// Everything that was fed, for a stream that is not understood.
    pub fn into_bytes(self) -> Vec<u8> {
        self.buf
    }

    /// Reads as far as whole entries go. What was read stays read when more bytes are needed.
    fn advance(&mut self) -> Result<Header, Stop> {
        let header = match &self.header {
            Some(header) => header.clone(),
            None => {
                let mut cursor = Cursor::new(&self.buf, 0);
                let header = cursor.header()?;
                let expected = cursor.entry_count()?;
                self.at = cursor.at;
                self.expected = expected;
                self.header = Some(header.clone());
                header
            }
        };
        while self.entries.len() < self.expected as usize {
            let mut cursor = Cursor::new(&self.buf, self.at);
            cursor.ints = header.ints;
            let entry = cursor.entry(&header)?;
            self.at = cursor.at;
            let place = self.entries.len() as u32;
            if self.by_id.insert(entry.dump_id, place).is_some() {
                return Err("a dump id that occurs twice".into());
            }
            self.entries.push(entry);
        }
        Ok(header)
    }
}

/// Reads fields one after another.
struct Cursor<'a> {
    buf: &'a [u8],
    at: usize,
    ints: IntLayout,
}

impl<'a> Cursor<'a> {
    fn new(buf: &'a [u8], at: usize) -> Self {
        // Only a placeholder until the header has named the size.
        Cursor { buf, at, ints: IntLayout::default() }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Stop> {
        let rest = self.buf.get(self.at..).ok_or(Stop::More)?;
        let field = rest.get(..n).ok_or(Stop::More)?;
        self.at += n;
        Ok(field)
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        Ok(self.take(1)?[0])
    }

    fn int(&mut self) -> Result<i64, Stop> {
        match self.ints.read(self.buf.get(self.at..).unwrap_or_default()) {
            Int::NeedMore => Err(Stop::More),
            Int::Odd => Err("an integer that PostgreSQL does not write".into()),
            Int::Value(value) => {
                self.at += self.ints.width();
                Ok(value)
            }
        }
    }

    fn int32(&mut self) -> Result<i32, Stop> {
        i32::try_from(self.int()?).map_err(|_| "an integer out of range".into())
    }

    /// A string: its length, -1 for NULL, and its bytes.
    fn text(&mut self) -> Result<Text, Stop> {
        let len = match self.int()? {
            -1 => return Ok(None),
            len => usize::try_from(len).map_err(|_| Stop::from("a negative length"))?,
        };
        // I-9: before anything waits for that many bytes.
        if len > ARCHIVE_STRING_MAX {
            return Err("a string that is too long".into());
        }
        let at = u32::try_from(self.at).map_err(|_| Stop::from("a table of contents that is too long"))?;
        self.take(len)?;
        Ok(Some((at, len as u32)))
    }

    fn bytes_of(&self, text: Text) -> &'a [u8] {
        text.and_then(|(at, len)| self.buf.get(at as usize..)?.get(..len as usize)).unwrap_or_default()
    }

    fn header(&mut self) -> Result<Header, Stop> {
        let known = MAGIC.len().min(self.buf.len());
        if self.buf[..known] != MAGIC[..known] {
            return Err("no custom-format archive".into());
        }
        self.take(MAGIC.len())?;
        let (major, minor, revision) = (self.byte()?, self.byte()?, self.byte()?);
        if major != 1 || !MINORS.contains(&minor) {
            return Err(Stop::Unknown(format!("archive version {major}.{minor}")));
        }
        let (int_size, offset_size) = (self.byte()?, self.byte()?);
        if !INT_SIZES.contains(&int_size) || !OFFSET_SIZES.contains(&offset_size) {
            return Err("integers or offsets of an unusual size".into());
        }
        self.ints = IntLayout::new(int_size).ok_or(Stop::from("integers of an unusual size"))?;
        if self.byte()? != FORMAT_CUSTOM {
            return Err("an archive in another format than custom".into());
        }
        // An int up to 1.14, where it was the level; since 1.15 one byte for the algorithm.
        let compression = if minor >= 15 { i64::from(self.byte()?) } else { self.int()? };
        if compression != 0 {
            return Err("a compressed archive".into());
        }
        let mut created = [0i32; 7];
        for field in &mut created {
            *field = self.int32()?;
        }
        Ok(Header {
            minor,
            revision,
            ints: self.ints,
            offset_size,
            created,
            database: self.text()?,
            server_version: self.text()?,
            dump_version: self.text()?,
        })
    }

    fn entry_count(&mut self) -> Result<u32, Stop> {
        let count = self.int()?;
        match u32::try_from(count) {
            Ok(count) if count as usize <= ARCHIVE_ENTRIES_MAX => Ok(count),
            _ => Err(Stop::Unknown(format!("a table of contents with {count} entries"))),
        }
    }

    fn entry(&mut self, header: &Header) -> Result<RawEntry, Stop> {
        let dump_id = match self.int()? {
            id @ 1.. => id as u32,
            _ => return Err("a dump id out of range".into()),
        };
        let had_dumper = match self.int()? {
            0 => false,
            1 => true,
            _ => return Err("an unknown kind of dumper".into()),
        };
        let (_table_oid, _oid) = (self.text()?, self.text()?);
        let (tag, desc) = (self.text()?, self.text()?);
        let section = match self.int()? {
            1 => Section::None,
            2 => Section::PreData,
            3 => Section::Data,
            4 => Section::PostData,
            _ => return Err("an unknown section".into()),
        };
        let (defn, drop_stmt, copy_stmt) = (self.text()?, self.text()?, self.text()?);
        let (namespace, tablespace) = (self.text()?, self.text()?);
        let table_am = if header.minor >= 14 { self.text()? } else { None };
        let relkind = if header.minor >= 16 { self.int32()? } else { 0 };
        let owner = self.text()?;
        let _with_oids = self.text()?;
        let dependencies = self.dependencies()?;
        let offset_at =
            u32::try_from(self.at).map_err(|_| Stop::from("a table of contents that is too long"))?;
        let flag = self.byte()?;
        if !(1..=3).contains(&flag) {
            return Err("an unknown state of an offset".into());
        }
        self.take(usize::from(header.offset_size))?;
        Ok(RawEntry {
            dump_id,
            had_dumper,
            section,
            relkind,
            tag,
            desc,
            defn,
            drop_stmt,
            copy_stmt,
            namespace,
            tablespace,
            table_am,
            owner,
            dependencies,
            offset_at,
        })
    }

    /// Decimal dump ids as strings, until a NULL.
    fn dependencies(&mut self) -> Result<Box<[u32]>, Stop> {
        let mut ids = Vec::new();
        loop {
            let text = self.text()?;
            if text.is_none() {
                return Ok(ids.into_boxed_slice());
            }
            if ids.len() == ARCHIVE_DEPENDENCIES_MAX {
                return Err("an entry with too many dependencies".into());
            }
            let id = std::str::from_utf8(self.bytes_of(text)).ok().and_then(|t| t.parse().ok());
            ids.push(id.ok_or(Stop::from("a dependency that is no number"))?);
        }
    }
}
