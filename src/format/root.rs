//! The bodies of what may stand at a session's name: a snapshot, or the tombstone of a session that
//! was fenced.

use std::fmt;

use crate::base::clock::Timestamp;
use crate::base::id::{ObjectHash, RepositoryId, SessionId, SignerId};
use crate::format::attrs::{Attribute, RecordReader, RecordWriter, Text, Unknown, check_items};
use crate::format::base_backup::BaseBackup;
use crate::format::error::{Error, Reason};
use crate::format::node::{Node, NodeType};

const WHAT: &str = "snapshot";

/// What was snapshotted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SnapshotKind {
    /// File trees.
    Files,
    /// PostgreSQL databases, dumped.
    Database,
    /// A stream.
    Stream,
    /// A physical copy of a PostgreSQL cluster.
    BaseBackup,
    /// Something that a later version knows.
    Other(u64),
}

impl SnapshotKind {
    /// The number that stands for it.
    pub fn to_u64(self) -> u64 {
        match self {
            SnapshotKind::Files => 1,
            SnapshotKind::Database => 2,
            SnapshotKind::Stream => 3,
            SnapshotKind::BaseBackup => 4,
            SnapshotKind::Other(number) => number,
        }
    }

    /// The reverse of `to_u64`.
    pub fn from_u64(number: u64) -> Self {
        match number {
            1 => SnapshotKind::Files,
            2 => SnapshotKind::Database,
            3 => SnapshotKind::Stream,
            4 => SnapshotKind::BaseBackup,
            other => SnapshotKind::Other(other),
        }
    }
}

/// A kind's name in listings, in JSON and after `--kind`.
impl fmt::Display for SnapshotKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnapshotKind::Files => f.write_str("files"),
            SnapshotKind::Database => f.write_str("db"),
            SnapshotKind::Stream => f.write_str("stream"),
            SnapshotKind::BaseBackup => f.write_str("base"),
            SnapshotKind::Other(number) => write!(f, "kind-{number}"),
        }
    }
}

/// What a snapshot cost, and how much it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of the source.
    pub source_bytes: u64,
    /// Plaintext bytes of chunks that were not known before.
    pub new_bytes: u64,
    /// Bytes of the packs and index parts that were written.
    pub stored_bytes: u64,
    /// Chunks of the source.
    pub chunks: u64,
    /// Chunks that were not known before.
    pub new_chunks: u64,
    /// Files, tables, streams.
    pub items: u64,
    /// Bytes that `new_bytes` were coded in, before seals and padding. This and what follows is 0 in
    /// snapshots of programs that did not record it.
    pub coded_bytes: u64,
    /// Of `new_bytes`, those that were coded against bases.
    pub delta_bytes: u64,
    /// Of `coded_bytes`, those that these were coded in.
    pub delta_coded_bytes: u64,
    /// Plaintext bytes of bases that were read for them, and for deltas that were not worth it.
    pub base_bytes: u64,
    /// Attributes that this version does not know.
    pub unknown: Unknown,
}

impl Stats {
    /// Whether it says what became of the new bytes. Programs of before 2026-11-27 did not record it.
    pub fn says_coding(&self) -> bool {
        self.coded_bytes > 0 || self.new_bytes == 0
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        RecordWriter::new(&mut out, &self.unknown)
            .nonzero(2, self.source_bytes)
            .nonzero(4, self.new_bytes)
            .nonzero(6, self.stored_bytes)
            .nonzero(8, self.chunks)
            .nonzero(10, self.new_chunks)
            .nonzero(12, self.items)
            .nonzero(14, self.coded_bytes)
            .nonzero(16, self.delta_bytes)
            .nonzero(18, self.delta_coded_bytes)
            .nonzero(20, self.base_bytes)
            .finish();
        out
    }

    fn read(attribute: &Attribute<'_>) -> Result<Self, Error> {
        let mut stats = Stats::default();
        let mut record = RecordReader::from_reader(attribute.reader());
        if attribute.value.is_empty() {
            return Err(attribute.inconsistent("empty statistics should be absent"));
        }
        while let Some(attribute) = record.next_attribute()? {
            match attribute.tag {
                2 => stats.source_bytes = attribute.nonzero()?,
                4 => stats.new_bytes = attribute.nonzero()?,
                6 => stats.stored_bytes = attribute.nonzero()?,
                8 => stats.chunks = attribute.nonzero()?,
                10 => stats.new_chunks = attribute.nonzero()?,
                12 => stats.items = attribute.nonzero()?,
                14 => stats.coded_bytes = attribute.nonzero()?,
                16 => stats.delta_bytes = attribute.nonzero()?,
                18 => stats.delta_coded_bytes = attribute.nonzero()?,
                20 => stats.base_bytes = attribute.nonzero()?,
                _ => stats.unknown.keep(&attribute)?,
            }
        }
        Ok(stats)
    }
}

/// The end of the source could not be verified: standard input just ended.
pub const FLAG_END_UNVERIFIED: u64 = 1;
/// Some of the source could not be read.
pub const FLAG_INCOMPLETE: u64 = 2;

/// The body of a snapshot's root object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootBody {
    /// The session that wrote it, which is also the snapshot's id and name.
    pub session: SessionId,
    /// The repository it belongs to.
    pub repository: RepositoryId,
    /// What was snapshotted.
    pub kind: SnapshotKind,
    /// Its number among its signer's snapshots, from 1.
    pub sequence: u64,
    /// Hash of its signer's previous root object; `None` in the first.
    pub previous: Option<ObjectHash>,
    /// When the session began to read the source.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// A directory without a name, whose children are what was snapshotted.
    pub root: Node,
    /// The machine it was made on.
    pub host: Option<String>,
    /// The user who made it.
    pub user: Option<String>,
    /// Tags that the user gave it.
    pub tags: Vec<String>,
    /// Paths, database names, or the name of the stream.
    pub sources: Vec<String>,
    /// What it cost.
    pub stats: Stats,
    /// `FLAG_` bits.
    pub flags: u64,
    /// The program that made it, with its version.
    pub program: Option<String>,
    /// The snapshot it was compared with.
    pub parent: Option<SessionId>,
    /// What the user said about it.
    pub description: Option<String>,
    /// The cluster, if it is a base backup.
    pub base: Option<BaseBackup>,
    /// Attributes that this version does not know, or leaves to later ones.
    pub unknown: Unknown,
}

impl RootBody {
    /// Whether the end of the source could not be verified.
    pub fn end_unverified(&self) -> bool {
        self.flags & FLAG_END_UNVERIFIED != 0
    }

    /// Whether some of the source could not be read.
    pub fn incomplete(&self) -> bool {
        self.flags & FLAG_INCOMPLETE != 0
    }

    /// The record; refused if it contradicts itself, or nobody could read it.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        self.check()?;
        let mut root = Vec::new();
        self.root.encode(&mut root);
        let stats = self.stats.encode();
        let base = self.base.as_ref().map(BaseBackup::encode).transpose()?;
        let text = |text: &Option<String>| text.clone().map(String::into_bytes);
        let mut out = Vec::new();
        RecordWriter::new(&mut out, &self.unknown)
            .bytes(1, &self.session.0)
            .bytes(3, &self.repository.0)
            .u64(5, self.kind.to_u64())
            .u64(7, self.sequence)
            .bytes(9, &self.previous.map_or([0; 32], |hash| hash.0))
            .i64(11, self.started.0)
            .i64(13, self.ended.0)
            .bytes(15, &root)
            .opt_bytes(16, text(&self.host).as_deref())
            .opt_bytes(18, text(&self.user).as_deref())
            .list(20, &self.tags)
            .list(22, &self.sources)
            .opt_bytes(24, (!stats.is_empty()).then_some(&stats))
            .nonzero(26, self.flags)
            .opt_bytes(28, text(&self.program).as_deref())
            .opt_bytes(30, self.parent.as_ref().map(|parent| &parent.0[..]))
            .opt_bytes(32, text(&self.description).as_deref())
            .opt_bytes(40, base.as_deref())
            .finish();
        Ok(out)
    }

    /// Reads the record.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut record = RecordReader::new(WHAT, bytes);
        let (mut session, mut repository, mut kind, mut sequence) = (None, None, None, None);
        let (mut previous, mut started, mut ended, mut root) = (None, None, None, None);
        let mut rest = Described::default();
        while let Some(attribute) = record.next_attribute()? {
            match attribute.tag {
                1 => session = Some(SessionId(attribute.array()?)),
                3 => repository = Some(RepositoryId(attribute.array()?)),
                5 => kind = Some(SnapshotKind::from_u64(attribute.u64()?)),
                7 => sequence = Some(attribute.u64()?),
                9 => previous = Some(ObjectHash(attribute.array()?)),
                11 => started = Some(Timestamp(attribute.i64()?)),
                13 => ended = Some(Timestamp(attribute.i64()?)),
                15 => root = Some(Node::read(attribute.reader())?),
                _ => rest.take(&attribute)?,
            }
        }
        let body = RootBody {
            session: record.need(session, "session id")?,
            repository: record.need(repository, "repository id")?,
            kind: record.need(kind, "kind")?,
            sequence: record.need(sequence, "sequence number")?,
            previous: Some(record.need(previous, "predecessor")?).filter(|hash| hash.0 != [0; 32]),
            started: record.need(started, "time of its beginning")?,
            ended: record.need(ended, "time of its end")?,
            root: record.need(root, "root node")?,
            host: rest.host,
            user: rest.user,
            tags: rest.tags,
            sources: rest.sources,
            stats: rest.stats,
            flags: rest.flags,
            program: rest.program,
            parent: rest.parent,
            description: rest.description,
            base: rest.base,
            unknown: rest.unknown,
        };
        body.check()?;
        Ok(body)
    }

    /// What must hold, for who writes it and who reads it.
    fn check(&self) -> Result<(), Error> {
        self.root.check()?;
        let wrong = |what| Err(Error::new(WHAT, Reason::Inconsistent(what)));
        if self.root.kind != NodeType::Directory || !self.root.name.is_empty() {
            return wrong("its root is no directory without a name");
        }
        if self.base.is_some() != (self.kind == SnapshotKind::BaseBackup) {
            return wrong("it is a base backup that says nothing of its cluster, or the reverse");
        }
        if self.sequence == 0 {
            return wrong("its sequence number is zero");
        }
        Text::HOST.check_some(WHAT, self.host.as_ref())?;
        Text::USER.check_some(WHAT, self.user.as_ref())?;
        Text::PROGRAM.check_some(WHAT, self.program.as_ref())?;
        Text::DESCRIPTION.check_some(WHAT, self.description.as_ref())?;
        check_items(WHAT, self.tags.len().max(self.sources.len()))
    }
}

/// The attributes of a snapshot that may be absent.
#[derive(Default)]
struct Described {
    host: Option<String>,
    user: Option<String>,
    tags: Vec<String>,
    sources: Vec<String>,
    stats: Stats,
    flags: u64,
    program: Option<String>,
    parent: Option<SessionId>,
    description: Option<String>,
    base: Option<BaseBackup>,
    unknown: Unknown,
}

impl Described {
    fn take(&mut self, attribute: &Attribute<'_>) -> Result<(), Error> {
        match attribute.tag {
            16 => self.host = Some(attribute.text(Text::HOST)?),
            18 => self.user = Some(attribute.text(Text::USER)?),
            20 => self.tags = attribute.strings()?,
            22 => self.sources = attribute.strings()?,
            24 => self.stats = Stats::read(attribute)?,
            26 => self.flags = attribute.nonzero()?,
            28 => self.program = Some(attribute.text(Text::PROGRAM)?),
            30 => self.parent = Some(SessionId(attribute.array()?)),
            32 => self.description = Some(attribute.text(Text::DESCRIPTION)?),
            40 => self.base = Some(BaseBackup::read(attribute)?),
            _ => self.unknown.keep(attribute)?,
        }
        Ok(())
    }
}

/// The body of a tombstone: this session can never commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The session that was fenced.
    pub session: SessionId,
    /// Who fenced it.
    pub fenced_by: SignerId,
    /// When.
    pub when: Timestamp,
    /// Attributes that this version does not know.
    pub unknown: Unknown,
}

impl Tombstone {
    /// The record.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        RecordWriter::new(&mut out, &self.unknown)
            .bytes(1, &self.session.0)
            .bytes(3, &self.fenced_by.0)
            .i64(5, self.when.0)
            .finish();
        out
    }

    /// Reads the record.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut record = RecordReader::new("tombstone", bytes);
        let (mut session, mut fenced_by, mut when) = (None, None, None);
        let mut unknown = Unknown::default();
        while let Some(attribute) = record.next_attribute()? {
            match attribute.tag {
                1 => session = Some(SessionId(attribute.array()?)),
                3 => fenced_by = Some(SignerId(attribute.array()?)),
                5 => when = Some(Timestamp(attribute.i64()?)),
                _ => unknown.keep(&attribute)?,
            }
        }
        Ok(Tombstone {
            session: record.need(session, "session id")?,
            fenced_by: record.need(fenced_by, "signer")?,
            when: record.need(when, "time")?,
            unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::base::limits;
    use crate::format::base_backup;
    use crate::format::list::ListEntry;
    use crate::format::testing;
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;

    fn bodies() -> impl Strategy<Value = RootBody> {
        let ids = any::<([u8; 16], [u8; 16], Option<[u8; 16]>, Option<[u8; 32]>)>();
        let numbers = (any::<[u64; 10]>(), any::<u64>(), 1u64..);
        let texts = proptest::collection::vec(".{0,10}", 0..3);
        let texts = (texts.clone(), texts, proptest::option::of(".{0,10}"));
        let kinds = (1u64..7, base_backup::tests::bases());
        (ids, numbers, any::<(i64, i64)>(), texts, kinds).prop_map(
            |(
                (session, repository, parent, previous),
                (stats, flags, sequence),
                times,
                texts,
                (kind, base),
            )| {
                RootBody {
                    session: SessionId(session),
                    repository: RepositoryId(repository),
                    kind: SnapshotKind::from_u64(kind),
                    sequence,
                    previous: previous.map(ObjectHash),
                    started: Timestamp(times.0),
                    ended: Timestamp(times.1),
                    root: Node::with_children(
                        "",
                        NodeType::Directory,
                        vec![ListEntry::Chunk { len: 7, id: crate::base::id::ChunkId([1; 32]) }],
                    ),
                    host: texts.2.clone(),
                    user: texts.2.clone(),
                    tags: texts.0,
                    sources: texts.1,
                    stats: Stats {
                        source_bytes: stats[0],
                        new_bytes: stats[1] % 2,
                        stored_bytes: stats[2] % 2,
                        chunks: stats[3] % 2,
                        new_chunks: stats[4],
                        items: stats[5],
                        coded_bytes: stats[6] % 2,
                        delta_bytes: stats[7] % 2,
                        delta_coded_bytes: stats[8] % 2,
                        base_bytes: stats[9],
                        unknown: Unknown::default(),
                    },
                    flags: flags % 4,
                    program: texts.2.clone(),
                    parent: parent.map(SessionId),
                    description: texts.2,
                    base: (kind == 4).then_some(base),
                    unknown: Unknown::default(),
                }
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn snapshots_round_trip_in_one_form(body in bodies()) {
            let bytes = body.encode().unwrap();
            prop_assert_eq!(&RootBody::decode(&bytes).unwrap(), &body);
            testing::canonical(&bytes, RootBody::decode, |body| body.encode().unwrap());
        }

        #[test]
        fn tombstones_round_trip_in_one_form(session: [u8; 16], by: [u8; 16], when: i64) {
            let unknown = Unknown::default();
            let body = Tombstone { session: SessionId(session), fenced_by: SignerId(by), when: Timestamp(when), unknown };
            let bytes = body.encode();
            prop_assert_eq!(&Tombstone::decode(&bytes).unwrap(), &body);
            testing::canonical(&bytes, Tombstone::decode, Tombstone::encode);
        }
    }

    fn any_body() -> RootBody {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        bodies().new_tree(&mut runner).unwrap().current()
    }

    #[test]
    fn what_is_written_can_be_read() {
        for (which, over) in (0..6).flat_map(|which| [(which, 0), (which, 1)]) {
            let mut body = any_body();
            let long = "x".repeat(limits::NAME_MAX + over);
            let many = vec![String::new(); limits::LIST_ITEMS_MAX + over];
            match which {
                0 => body.host = Some(long),
                1 => body.user = Some(long),
                2 => body.program = Some(long),
                3 => body.tags = many,
                4 => body.sources = many,
                _ => body.description = Some("x".repeat(limits::NODE_MAX + over)),
            }
            let read = body.encode().map(|bytes| RootBody::decode(&bytes).unwrap());
            assert_eq!(read.ok(), (over == 0).then_some(body), "{which}");
        }
    }

    #[test]
    fn a_base_backup_says_of_what() {
        let mut body = any_body();
        for kind in 1..7 {
            body.kind = SnapshotKind::from_u64(kind);
            body.base = None;
            assert_eq!(body.encode().is_ok(), kind != 4);
            body.base = Some(BaseBackup {
                timeline: 1,
                page_size: 8192,
                segment_size: 16 << 20,
                ..Default::default()
            });
            assert_eq!(body.encode().is_ok(), kind == 4);
        }
    }

    #[test]
    fn a_snapshots_number_counts_from_one() {
        let body = RootBody { sequence: 0, ..any_body() };
        assert!(body.encode().is_err());
    }

    #[test]
    fn a_root_is_a_directory_without_a_name() {
        let mut body = any_body();
        body.stats = Stats::default();
        assert_eq!(RootBody::decode(&body.encode().unwrap()).unwrap().stats, Stats::default());
        body.root.name = b"x".to_vec();
        assert!(body.encode().is_err());
        body.root = Node::with_content("", NodeType::File, vec![]).unwrap();
        assert!(body.encode().is_err());
    }
}
