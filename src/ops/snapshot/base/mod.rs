//! `snapshot base`: a whole cluster by the replication protocol, file by file. Relation files are cut at fixed
//! ranges, each coded against the same range of the base backup before, so that only what changed costs
//! space. Checksums of pages are verified on the way, and everything that came is held against the server's own
//! manifest before the commit (I-3).

mod pages;
mod tree;

use std::sync::Arc;

use crate::base::clock::{Cancel, Timestamp};
use crate::base::limits::NAME_MAX;
use crate::base::monitor::{Count, Monitor};
use crate::format::base_backup::{BaseBackup, FLAG_CHECKSUMS, FLAG_FROM_STANDBY, Tablespace};
use crate::format::list::ListEntry;
use crate::format::node::{FileMeta, Node, NodeType};
use crate::format::root::SnapshotKind;
use crate::ops::Error;
use crate::ops::snapshot::base::pages::Pages;
use crate::ops::snapshot::base::tree::{Nodes, Tree, split};
use crate::ops::snapshot::parent::Folder;
use crate::ops::snapshot::{Gathered, Made, Provenance, in_session};
use crate::ops::wal::record;
use crate::postgres::base_backup::{self, End, Event};
use crate::postgres::connect::Settings;
use crate::postgres::crc32c::append;
use crate::postgres::libpq::Library;
use crate::postgres::lsn::Lsn;
use crate::postgres::manifest::{Manifest, Sum};
use crate::postgres::page::RelationFile;
use crate::postgres::replication::Replication;
use crate::postgres::tar::{self, Entry, Kind};
use crate::postgres::tools::Tools;
use crate::postgres::wal::{SegmentName, SegmentSize};
use crate::repo::session::{Session, StreamWriter};
use crate::repo::{self, Repository, wal};

/// The folder of the cluster in a snapshot's tree.
pub const PGDATA: &str = "pgdata";
/// The folder of its tablespaces.
pub const TABLESPACES: &str = "tablespaces";
/// The file that lists what the server sent.
const MANIFEST: &str = "backup_manifest";

/// Bytes of a range of a relation file: eight pages of the usual size, and a whole number of any.
const RANGE: u32 = 64 << 10;
/// Corrupt pages that are told one by one.
const TOLD: usize = 20;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct BaseRequest {
    /// How to reach the server.
    pub settings: Settings,
    /// Where PostgreSQL's programs are; its library may lie beside them.
    pub tools: Tools,
    /// Whether the checkpoint that it begins with is made at once.
    pub fast: bool,
    /// Whether it ends only when the server has archived the WAL that it needs.
    pub wait_for_archive: bool,
    /// Most kibibytes per second that the server sends.
    pub max_rate: Option<u32>,
}

/// What a base backup's server is like.
struct Cluster {
    system: u64,
    server_version: u32,
    page_size: u32,
    segment_size: u32,
    pages_per_file: u32,
    has_checksums: bool,
    is_standby: bool,
    folder_mode: Option<u32>,
}

/// Snapshots the cluster that a server runs.
pub fn snapshot_base(
    repo: &Repository,
    provenance: &Provenance,
    request: &BaseRequest,
    monitor: Arc<dyn Monitor>,
    cancel: &Cancel,
) -> Result<Made, Error> {
    // What can be refused is refused before a lease is taken.
    let library = Library::open(&request.tools)?;
    let mut replication = Replication::connect(&library, &request.settings, cancel)?;
    let cluster = Cluster::of(&mut replication)?;
    let options = base_backup::Options {
        label: format!("kamba-vault {}", cluster.system),
        fast: request.fast,
        wait_for_archive: request.wait_for_archive,
        max_rate: request.max_rate,
        verify_checksums: cluster.has_checksums,
    };
    let made = in_session(repo, provenance, monitor.clone(), cancel, |session| {
        let what = if request.fast { "waiting for a checkpoint" } else { "waiting for a spread checkpoint" };
        session.monitor().phase(what, Count::SourceBytes, None);
        let mut running = base_backup::BaseBackup::begin(&mut replication, &options)?;
        let start = running.start().clone();
        let total = start.tablespaces.iter().map(|tablespace| tablespace.size).sum::<u64>();
        session.monitor().phase("copying the cluster", Count::SourceBytes, (total > 0).then_some(total));
        let mut gathering = Gathering::new(session, &cluster, start.start);
        let end = gathering.run(&mut running)?;
        tell(session.monitor(), running.take_notices());
        gathering.finish(&cluster, &start, end)
    })?;
    if let Some(base) = &made.base {
        look_for_wal(repo, base, &*monitor);
    }
    Ok(made)
}

/// Writes down that the WAL which the copy needs is there, or says that it is not. The snapshot stands
/// either way: the WAL may be on its way.
fn look_for_wal(repo: &Repository, base: &BaseBackup, monitor: &dyn Monitor) {
    let Some(size) = SegmentSize::new(base.segment_size.into()) else { return };
    // What ends at a segment's end needs no byte of the next.
    let last = Lsn(base.stop.saturating_sub(1).max(base.start));
    let numbers = size.number_at(Lsn(base.start))..=size.number_at(last);
    let name = |number: &u64| SegmentName::new(base.timeline, *number, size);
    let is_missing =
        |name: &SegmentName| !matches!(wal::exists(repo, base.system, &name.to_string()), Ok(true));
    if let Some(missing) = numbers.clone().filter_map(|number| name(&number)).find(is_missing) {
        monitor.warn(&format!(
            "the repository does not have WAL {missing} yet, without which this base backup is of no use: \
             set archive_command to 'kamba-vault wal push %p', or run 'kamba-vault wal receive'"
        ));
    } else if let Err(error) = record::record(repo, base.system, base.timeline, size, numbers) {
        monitor.warn(&format!("the ledger of the WAL that it needs was not written: {error}"));
    }
}

/// What the server said, but for pages: those were verified here, too.
fn tell(monitor: &dyn Monitor, notices: Vec<String>) {
    notices.iter().filter(|notice| !notice.contains("checksum")).for_each(|notice| monitor.note(notice));
}

impl Cluster {
    fn of(replication: &mut Replication) -> Result<Self, Error> {
        Ok(Cluster {
            system: replication.identify()?.system,
            server_version: replication.version().0,
            page_size: replication.block_size()?,
            segment_size: replication.wal_segment_size()?,
            pages_per_file: replication.pages_per_file()?,
            has_checksums: replication.data_checksums()?,
            is_standby: replication.is_standby()?,
            folder_mode: replication.data_folder_mode()?,
        })
    }
}

/// The root folder of the newest base backup of this cluster.
fn earlier(session: &Session, system: u64) -> Folder {
    let is_of = |base: &BaseBackup| base.system == system;
    let newest = session.roots().snapshots.iter().rev().find(|s| s.root.base.as_ref().is_some_and(is_of));
    Folder::open(session, newest.map_or_else(Vec::new, |snapshot| snapshot.root.root.children.clone()))
}

/// A base backup on its way into the repository.
struct Gathering<'s> {
    session: &'s Session,
    has_checksums: bool,
    earlier: Folder,
    pages: Pages,
    manifest: Manifest,
    manifest_stream: Option<StreamWriter<'s>>,
    archive: Option<Archive<'s>>,
    tablespaces: Nodes,
    pgdata: Option<Tree<'s>>,
    bytes: u64,
    items: u64,
}

/// One tar.
struct Archive<'s> {
    /// The tablespace's oid; `None` for the data folder.
    oid: Option<u32>,
    tree: Tree<'s>,
    reader: tar::Reader,
    file: Option<File<'s>>,
}

/// One file.
struct File<'s> {
    /// Its path in the tar.
    path: Vec<u8>,
    meta: FileMeta,
    stream: StreamWriter<'s>,
    sum: Sum,
}

/// What can fail while a tar is taken apart.
enum Failure {
    Tar(tar::Error),
    Repo(repo::Error),
}

impl From<tar::Error> for Failure {
    fn from(e: tar::Error) -> Self {
        Failure::Tar(e)
    }
}

impl From<repo::Error> for Failure {
    fn from(e: repo::Error) -> Self {
        Failure::Repo(e)
    }
}

impl From<Failure> for Error {
    fn from(e: Failure) -> Self {
        match e {
            Failure::Tar(e) => odd(e.to_string()),
            Failure::Repo(e) => e.into(),
        }
    }
}

/// What came is not what a server sends.
fn odd(reason: String) -> Error {
    Error::BaseBackup { reason }
}

impl<'s> Gathering<'s> {
    fn new(session: &'s Session, cluster: &Cluster, start: Lsn) -> Self {
        Gathering {
            session,
            has_checksums: cluster.has_checksums,
            earlier: earlier(session, cluster.system),
            pages: Pages::new(cluster.page_size, cluster.pages_per_file, start),
            manifest: Manifest::default(),
            manifest_stream: None,
            archive: None,
            tablespaces: Nodes::default(),
            pgdata: None,
            bytes: 0,
            items: 0,
        }
    }

    /// Takes everything that comes.
    fn run(&mut self, running: &mut base_backup::BaseBackup<'_>) -> Result<End, Error> {
        loop {
            self.session.check()?;
            match running.next_event()? {
                Event::Archive { oid, .. } => {
                    self.end_archive()?;
                    self.begin_archive(oid);
                }
                Event::Data(piece) => self.data(&piece)?,
                Event::Manifest(piece) => self.manifest_bytes(&piece)?,
                Event::Progress(_) => {}
                Event::End(end) => return Ok(end),
            }
        }
    }

    fn begin_archive(&mut self, oid: Option<u32>) {
        let earlier = match oid {
            Some(oid) => self.earlier.folder(TABLESPACES).folder(oid.to_string()),
            None => self.earlier.folder(PGDATA),
        };
        let tree = Tree::new(self.session, earlier);
        self.archive = Some(Archive { oid, tree, reader: tar::Reader::new(), file: None });
    }

    fn end_archive(&mut self) -> Result<(), Error> {
        let Some(Archive { oid, tree, reader, .. }) = self.archive.take() else { return Ok(()) };
        reader.finish().map_err(|e| odd(e.to_string()))?;
        match oid {
            Some(oid) => {
                let children = tree.finish()?;
                let node = Node::with_children(oid.to_string(), NodeType::Directory, children);
                self.tablespaces.push(&node)?;
            }
            // The manifest is still to come into it.
            None => self.pgdata = Some(tree),
        }
        Ok(())
    }

    fn data(&mut self, piece: &[u8]) -> Result<(), Error> {
        let Some(mut archive) = self.archive.take() else { return Ok(()) };
        let Archive { oid, tree, reader, file } = &mut archive;
        reader.push(piece, &mut |event| -> Result<(), Failure> {
            match event {
                tar::Event::Entry(entry) => self.entry(*oid, tree, file, entry),
                tar::Event::Data(bytes) => self.file_bytes(file, bytes),
                tar::Event::EndOfEntry => self.end_entry(*oid, tree, file),
            }
        })?;
        self.archive = Some(archive);
        Ok(())
    }

    fn entry(
        &mut self,
        oid: Option<u32>,
        tree: &mut Tree<'s>,
        file: &mut Option<File<'s>>,
        entry: Entry<'_>,
    ) -> Result<(), Failure> {
        let meta = meta(&entry);
        match entry.kind {
            Kind::Folder => tree.folder(entry.path, meta)?,
            Kind::Link(target) => {
                let (_, name) = split(entry.path);
                let meta = FileMeta { link_target: Some(target.to_vec()), ..meta };
                tree.add(entry.path, &Node { meta, ..Node::new(name, NodeType::Symlink) })?;
            }
            Kind::File => {
                let earlier = tree.earlier(entry.path)?;
                let relation = RelationFile::parse(entry.path);
                let stream = self.stream(earlier, relation.is_some()).expecting(entry.size);
                if self.has_checksums {
                    self.pages.begin(&shown(oid, entry.path), relation);
                }
                let sum = Sum { len: 0, crc: 0 };
                *file = Some(File { path: entry.path.to_vec(), meta, stream, sum });
            }
        }
        Ok(())
    }

    fn stream(&self, earlier: Vec<ListEntry>, is_relation: bool) -> StreamWriter<'s> {
        match is_relation {
            true => self.session.ranges_after(earlier, RANGE),
            false => self.session.stream_after(earlier),
        }
    }

    fn file_bytes(&mut self, file: &mut Option<File<'s>>, bytes: &[u8]) -> Result<(), Failure> {
        let Some(File { stream, sum, .. }) = file else { return Ok(()) };
        self.pages.push(bytes);
        sum.len += bytes.len() as u64;
        sum.crc = append(sum.crc, bytes);
        stream.write(bytes)?;
        self.bytes += bytes.len() as u64;
        self.session.monitor().add(Count::SourceBytes, bytes.len() as u64);
        Ok(())
    }

    fn end_entry(
        &mut self,
        oid: Option<u32>,
        tree: &mut Tree<'s>,
        file: &mut Option<File<'s>>,
    ) -> Result<(), Failure> {
        let Some(File { path, meta, stream, sum }) = file.take() else { return Ok(()) };
        self.pages.end();
        let (_, name) = split(&path);
        let node = Node::with_content(name, NodeType::File, stream.finish()?.entries);
        tree.add(&path, &Node { meta, ..node.map_err(repo::Error::from)? })?;
        self.manifest.came(&in_data_folder(oid, &path), sum);
        self.items += 1;
        Ok(())
    }

    fn manifest_bytes(&mut self, piece: &[u8]) -> Result<(), Error> {
        self.end_archive()?;
        let Some(tree) = &mut self.pgdata else {
            return Err(odd("its manifest came before the data folder".into()));
        };
        let stream = match &mut self.manifest_stream {
            Some(stream) => stream,
            none => none.insert(self.session.stream_after(tree.earlier(MANIFEST.as_bytes())?)),
        };
        stream.write(piece)?;
        self.manifest.push(piece).map_err(|e| odd(e.to_string()))
    }

    /// Everything came: the manifest says so, too.
    fn finish(self, cluster: &Cluster, start: &base_backup::Start, end: End) -> Result<Gathered, Error> {
        let (Some(mut tree), Some(stream)) = (self.pgdata, self.manifest_stream) else {
            return Err(odd("the server sent no manifest".into()));
        };
        self.manifest.finish().map_err(|e| odd(e.to_string()))?;
        let node = Node::with_content(MANIFEST, NodeType::File, stream.finish()?.entries);
        let node = node.map_err(repo::Error::from)?;
        let group = cluster.folder_mode.unwrap_or_default() & 0o040;
        let meta = FileMeta { mode: Some(0o600 | group), ..FileMeta::default() };
        tree.add(MANIFEST.as_bytes(), &Node { meta, ..node })?;
        let mut root = Nodes::default();
        let pgdata = Node::with_children(PGDATA, NodeType::Directory, tree.finish()?);
        let meta = FileMeta { mode: cluster.folder_mode, ..FileMeta::default() };
        root.push(&Node { meta, ..pgdata })?;
        if start.tablespaces.iter().any(|tablespace| tablespace.oid.is_some()) {
            let children = self.tablespaces.store(self.session)?;
            root.push(&Node::with_children(TABLESPACES, NodeType::Directory, children))?;
        }
        let (suspects, more) = self.pages.corrupt(end.stop, end.corrupt);
        let corrupt_pages = suspects.len() as u64 + more;
        tell_corrupt(self.session.monitor(), &suspects, corrupt_pages);
        let base = described(cluster, start, end, corrupt_pages);
        base.check().map_err(repo::Error::from)?;
        Ok(Gathered {
            kind: SnapshotKind::BaseBackup,
            sources: vec![cluster.system.to_string()],
            children: root.store(self.session)?,
            meta: FileMeta::default(),
            source_bytes: self.bytes,
            items: self.items,
            end_unverified: false,
            incomplete: corrupt_pages > 0 || end.corrupt,
            base: Some(base),
        })
    }
}

fn tell_corrupt(monitor: &dyn Monitor, suspects: &[pages::Suspect], count: u64) {
    for suspect in suspects.iter().take(TOLD) {
        let pages::Suspect { path, block, .. } = suspect;
        monitor.warn(&format!("{path}: page {block} is corrupt: its checksum is wrong"));
    }
    if count > TOLD as u64 {
        monitor.warn(&format!("{} more pages are corrupt", count - TOLD as u64));
    }
}

fn described(cluster: &Cluster, start: &base_backup::Start, end: End, corrupt_pages: u64) -> BaseBackup {
    let flag = |is_set, flag| if is_set { flag } else { 0 };
    let mut tablespaces: Vec<Tablespace> = start
        .tablespaces
        .iter()
        .filter_map(|t| Some(Tablespace { oid: t.oid?, location: t.location.clone() }))
        .collect();
    tablespaces.sort_by_key(|tablespace| tablespace.oid);
    BaseBackup {
        system: cluster.system,
        timeline: start.timeline,
        start: start.start.0,
        stop: end.stop.0,
        server_version: cluster.server_version,
        page_size: cluster.page_size,
        segment_size: cluster.segment_size,
        flags: flag(cluster.is_standby, FLAG_FROM_STANDBY) | flag(cluster.has_checksums, FLAG_CHECKSUMS),
        tablespaces,
        corrupt_pages,
        ..BaseBackup::default()
    }
}

/// What a server says of an entry.
fn meta(entry: &Entry<'_>) -> FileMeta {
    const NANOS: i64 = 1_000_000_000;
    let seconds = i64::try_from(entry.mtime).unwrap_or(i64::MAX);
    FileMeta {
        mode: Some(entry.mode),
        uid: u32::try_from(entry.uid).ok(),
        gid: u32::try_from(entry.gid).ok(),
        mtime: Some(Timestamp(seconds.saturating_mul(NANOS))),
        ..FileMeta::default()
    }
}

/// The path of a tablespace's file from the data folder on, as the manifest has it.
fn in_data_folder(oid: Option<u32>, path: &[u8]) -> Vec<u8> {
    match oid {
        Some(oid) => [format!("pg_tblspc/{oid}/").as_bytes(), path].concat(),
        None => path.to_vec(),
    }
}

/// The same for people, and no longer than a name may be.
fn shown(oid: Option<u32>, path: &[u8]) -> String {
    let path = in_data_folder(oid, path);
    String::from_utf8_lossy(path.get(..NAME_MAX).unwrap_or(&path)).into_owned()
}
