//! Chains of deltas as somebody makes them who holds a writer's key and means harm: cycles, links too
//! deep or to nowhere, copies that say less than they are, frames that become something else or far more.
//! A model says which chunks such a repository has, all the same: those with a copy that is sound and
//! whose bases have sound copies less deep than it is. `check` must say the same, and so must reading,
//! but for one thing: it looks at what it gives and not at the links on the way, so that what is wrong
//! with a base may be nothing to what is coded against it. Then it may give the chunk, and the right one.

use std::io;
use std::sync::Arc;

use kamba_vault::base::clock::Cancel;
use kamba_vault::base::id::{ChunkId, SessionId};
use kamba_vault::base::kind::{ChunkKind, Coding, PackKind};
use kamba_vault::base::limits::DELTA_DEPTH_MAX;
use kamba_vault::base::monitor::Silent;
use kamba_vault::codec::Level;
use kamba_vault::codec::prefix::{Decoder, Encoder};
use kamba_vault::format::header::Kind;
use kamba_vault::format::index;
use kamba_vault::format::list::ListEntry;
use kamba_vault::format::name::{CONFIG, KEYS, SIGNERS, root_name};
use kamba_vault::format::node::{Node, NodeType};
use kamba_vault::format::pack::ChunkEntry;
use kamba_vault::format::root::SnapshotKind;
use kamba_vault::format::tree::TreeBuilder;
use kamba_vault::ops::check::{self, ReadData};
use kamba_vault::repo::pack::{Built, PackBuilder, ToSeal};
use kamba_vault::repo::read::ChunkReader;
use kamba_vault::repo::session::{Session, SessionOptions};
use kamba_vault::repo::{self, Repository, index as repo_index, roots};
use kamba_vault::vfs::View;

use crate::forge::{Forge, stored};
use crate::input::Input;
use crate::maker::Maker;
use crate::vault::{Objects, VAULT, backend, cache_folder, credentials, environment, root};

/// Chunks that files are made of.
const CHUNKS: usize = 6;
/// Copies of them at most.
const COPIES: usize = 16;
/// Bases of a copy at most.
const BASES: usize = 3;
/// What a bomb becomes.
const BOMB: usize = 1 << 20;
/// The snapshot that has a file of each chunk.
const SNAPSHOT: SessionId = SessionId([7; 16]);
/// The file that has all of them.
const ALL: &str = "all";

/// One copy of a chunk.
#[derive(Debug)]
struct Copy {
    chunk: usize,
    depth: u8,
    /// Chunks by their numbers; one that nobody has is [`CHUNKS`].
    bases: Vec<usize>,
    coding: Coding,
    /// Whether, its bases given, it decodes to its chunk.
    is_sound: bool,
    /// Whether a pack could take it.
    is_there: bool,
}

/// Which copies of a base will do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Links {
    /// What decodes to it.
    Sound,
    /// Whatever is there: what it decodes to may differ where nothing was taken from.
    Any,
}

/// A repository of such copies.
struct Scene {
    plain: Vec<Vec<u8>>,
    copies: Vec<Copy>,
    objects: Objects,
}

/// Makes what the input says, reads it, and holds it against the model.
pub fn play(data: &[u8]) {
    let mut input = Input::new(data);
    let scene = Scene::make(&mut input);
    let cache = cache_folder();
    let repo = Repository::open(environment(backend(&scene.objects), cache.path()), &credentials())
        .expect("the repository opens");
    let cancel = Cancel::new();
    repo_index::refresh(&repo, &Silent, &cancel).expect("the index loads");
    let report = check::check(&repo, ReadData::All, &Silent, &cancel).expect("a check is possible");
    let is_hurt = |name: &str| report.hurt.iter().any(|hurt| hurt.path == name);
    let (mut are_all_there, mut are_all_read) = (true, true);
    for (n, plain) in scene.plain.iter().enumerate() {
        let (name, is_there) = (n.to_string(), scene.has(n, u8::MAX, Links::Sound));
        let read = read(&repo, &SNAPSHOT, &name);
        let is_read = read.is_ok();
        assert!(is_read || !is_there, "{name} is there: {:#?}", scene.copies);
        assert!(!is_read || scene.has(n, u8::MAX, Links::Any), "{name} is not there: {:#?}", scene.copies);
        assert!(read.is_err() || read.is_ok_and(|read| read == *plain), "{name} was read wrongly");
        assert_eq!(is_hurt(&name), !is_there, "check of {name}: {report:#?} {:#?}", scene.copies);
        are_all_there &= is_there;
        are_all_read &= is_read;
    }
    let all = read(&repo, &SNAPSHOT, ALL);
    assert_eq!((all.is_ok(), is_hurt(ALL)), (are_all_read, !are_all_there));
    assert!(all.is_err() || all.is_ok_and(|all| all == scene.plain.concat()), "all were read wrongly");
    follow(&repo, &scene, &mut input);
}

impl Scene {
    fn make(input: &mut Input<'_>) -> Self {
        let plain: Vec<Vec<u8>> = (0..CHUNKS).map(|n| text(n, input.u8())).collect();
        let forge = Forge::new(&VAULT.keys, 9);
        let mut scene = Scene { plain, copies: Vec::new(), objects: bare() };
        let mut packs: Vec<Built> = Vec::new();
        let mut pack: Option<PackBuilder> = None;
        for _ in 0..=usize::from(input.u8()) % COPIES {
            if input.u8().is_multiple_of(4) {
                packs.extend(pack.take().and_then(|pack| pack.finish().ok()));
            }
            let pack = pack.get_or_insert_with(|| forge.begin(PackKind::Data));
            let copy = scene.copy(input, pack);
            scene.copies.push(copy);
        }
        packs.extend(pack.and_then(|pack| pack.finish().ok()));
        // What took nothing is no pack.
        packs.retain(|pack| !pack.record.directory.segments().is_empty());
        scene.describe(&forge, packs);
        scene
    }

    /// Appends a copy of some chunk to `pack`.
    fn copy(&self, input: &mut Input<'_>, pack: &mut PackBuilder) -> Copy {
        let chunk = usize::from(input.u8()) % CHUNKS;
        let shape = input.u8();
        // Mostly as deep as it may be somewhere in a chain, at times deeper than any may be.
        let depth = input.u8() % (DELTA_DEPTH_MAX + 2);
        let bases: Vec<usize> = (0..usize::from(shape >> 4) % (BASES + 1))
            .map(|_| usize::from(input.u8()) % (CHUNKS + 1))
            .collect();
        let coding = if depth > 0 { Coding::Prefix } else { Coding::Raw };
        let mut copy = Copy { chunk, depth, bases, coding, is_sound: true, is_there: false };
        let (mut frame, mut len) = (self.frame(chunk, &copy), self.plain[chunk].len());
        match shape & 7 {
            0 => input.splice(&mut frame),
            1 => frame = self.frame((chunk + 1) % CHUNKS, &copy),
            2 => (frame, len) = (bomb(), BOMB),
            3 => frame = bomb(),
            _ => {}
        }
        copy.is_sound =
            len == self.plain[chunk].len() && self.becomes(&frame, &copy) == Some(self.plain[chunk].clone());
        let ids: Vec<ChunkId> = copy.bases.iter().map(|base| self.id(*base)).collect();
        let chunks = [ChunkEntry { id: self.id(chunk), len: len as u32, kind: ChunkKind::Data }];
        let segment = ToSeal { coded: &frame, coding, depth, bases: &ids, chunks: &chunks };
        copy.is_there = pack.append(&segment).is_ok();
        copy
    }

    /// `chunk` in place of a copy's own.
    fn frame(&self, chunk: usize, copy: &Copy) -> Vec<u8> {
        let plain = &self.plain[chunk];
        if copy.coding == Coding::Raw {
            return plain.clone();
        }
        let mut frame = Vec::new();
        Encoder::new(Level::DEFAULT).unwrap().encode(&self.prefix(copy), plain, &mut frame).unwrap();
        frame
    }

    /// What a frame in place of a copy's own decodes to.
    fn becomes(&self, frame: &[u8], copy: &Copy) -> Option<Vec<u8>> {
        if copy.coding == Coding::Raw {
            return Some(frame.to_vec());
        }
        let (len, mut out) = (self.plain[copy.chunk].len() as u32, Vec::new());
        Decoder::default().decode(&self.prefix(copy), frame, len, &mut out).ok().map(|()| out)
    }

    fn prefix(&self, copy: &Copy) -> Vec<u8> {
        copy.bases.iter().filter_map(|base| self.plain.get(*base)).flatten().copied().collect()
    }

    fn id(&self, chunk: usize) -> ChunkId {
        let nobody = b"what nobody has".as_slice();
        VAULT.keys.chunk_id(ChunkKind::Data, self.plain.get(chunk).map_or(nobody, Vec::as_slice))
    }

    /// Whether a chunk has a copy less deep than `below` that can be decoded.
    fn has(&self, chunk: usize, below: u8, links: Links) -> bool {
        self.copies.iter().any(|copy| {
            let is_sound = copy.is_sound || links == Links::Any;
            let fits = copy.is_there && is_sound && copy.chunk == chunk && copy.depth < below;
            fits && copy.bases.iter().all(|base| self.has(*base, copy.depth, links))
        })
    }

    /// Adds the packs, the index, and a snapshot with a file of each chunk and one of all.
    fn describe(&mut self, forge: &Forge<'_>, mut packs: Vec<Built>) {
        let mut maker = Maker::new(&VAULT.keys);
        let entry = |n: usize| ListEntry::Chunk { len: self.plain[n].len() as u32, id: self.id(n) };
        let node = |name: &str, entries| Node::with_content(name, NodeType::File, entries).unwrap();
        let mut nodes: Vec<Node> = (0..CHUNKS).map(|n| node(&n.to_string(), vec![entry(n)])).collect();
        nodes.push(node(ALL, (0..CHUNKS).map(entry).collect()));
        let children = maker.listing(nodes);
        packs.extend(forge.pack(PackKind::Meta, &maker.take_chunks()));
        self.objects.extend(packs.iter().map(stored));
        let records: Vec<_> = packs.into_iter().map(|pack| pack.record).collect();
        self.objects.extend([forge.part(&index::encode(&[], &records).unwrap())]);
        let body = root(&VAULT.keys, SNAPSHOT, SnapshotKind::Files, children);
        let name = root_name(&SNAPSHOT);
        let bytes = forge.small(Kind::Root, &name, b"", &body.encode().unwrap()).unwrap();
        self.objects.insert(name, bytes);
    }
}

/// A chunk's bytes: lines that nearly all of them share.
fn text(n: usize, seed: u8) -> Vec<u8> {
    let line = |i: usize| format!("{i}\tline {}\t{}\n", i * 37 % 101, if i % 9 == n { seed } else { 0 });
    (0..60 + n).map(line).collect::<String>().into_bytes()
}

/// A frame that becomes far more than it is.
fn bomb() -> Vec<u8> {
    let mut frame = Vec::new();
    Encoder::new(Level::DEFAULT).unwrap().encode(&[], &vec![0; BOMB], &mut frame).unwrap();
    frame
}

/// The repository without anything in it.
fn bare() -> Objects {
    let is_kept = |name: &str| name == CONFIG || name.starts_with(KEYS) || name.starts_with(SIGNERS);
    VAULT
        .objects
        .iter()
        .filter(|(name, _)| is_kept(name))
        .map(|(name, bytes)| (name.clone(), bytes.clone()))
        .collect()
}

/// What a file of a snapshot holds.
fn read(repo: &Repository, snapshot: &SessionId, name: &str) -> io::Result<Vec<u8>> {
    let listing = roots::list(repo, &Cancel::new()).expect("snapshots can be listed");
    let found = listing.snapshots.iter().find(|found| found.id == *snapshot).expect("it is there");
    let view = View::new(Arc::new(ChunkReader::new(repo)), found.root.root.clone(), Cancel::new());
    let entry = view.find(name.as_bytes()).map_err(io::Error::other)?.expect("the file is there");
    let mut out = Vec::new();
    view.write(&entry, &mut out, &Silent).map_err(io::Error::other)?;
    Ok(out)
}

/// Makes a snapshot of a content that follows one of these chunks: it comes back, whatever they are.
fn follow(repo: &Repository, scene: &Scene, input: &mut Input<'_>) {
    let options = SessionOptions {
        host: "fuzz".into(),
        purpose: "fuzzing".into(),
        level: Level::DEFAULT,
        verify: true,
    };
    let chunk = usize::from(input.u8()) % CHUNKS;
    let mut bytes = scene.plain[chunk].repeat(4);
    input.splice(&mut bytes);
    let session = Session::begin(repo, &options, Arc::new(Silent), Cancel::new()).expect("a session begins");
    let entry = ListEntry::Chunk { len: scene.plain[chunk].len() as u32, id: scene.id(chunk) };
    let children = write(&session, entry, &bytes).expect("what follows damaged bases is stored");
    let id = session.id();
    let committed = session.commit(|id, _| Ok(root(repo.keys(), id, SnapshotKind::Stream, children)));
    committed.expect("it is committed");
    // The index may say that a chunk is there, and be wrong: then nothing of it is given.
    let is_known = scene.copies.iter().any(|copy| copy.is_there && scene.plain[copy.chunk] == bytes);
    let read = read(repo, &id, "new");
    assert!(is_known || read.is_ok(), "{:?} of {:#?}", read.err(), scene.copies);
    assert!(read.is_err() || read.is_ok_and(|read| read == bytes), "it was read wrongly");
}

fn write(session: &Session, base: ListEntry, bytes: &[u8]) -> Result<Vec<ListEntry>, repo::Error> {
    let mut stream = session.stream_after(vec![base]);
    stream.write(bytes)?;
    let node = Node::with_content("new", NodeType::Stream, stream.finish()?.entries)?;
    let mut tree = TreeBuilder::new();
    let store = &mut |kind, plain: &[u8]| session.store(kind, plain);
    tree.push(&node, store)?;
    tree.finish(store)
}
