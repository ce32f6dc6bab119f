//! Snapshots that no honest writer stores, seen through a view: listed, searched, and their files opened
//! and read at any place. Nothing panics, hangs or grows beyond its limits, and what a file gives at a
//! place is what it gives there to who reads all of it, wherever both can.
//!
//! An input is a byte that says what the snapshot holds, what the places are, and a program that writes it:
//! a wild tree, or a database whose parts and description are edited.

use std::sync::Arc;

use kamba_vault::base::clock::Cancel;
use kamba_vault::base::id::SessionId;
use kamba_vault::base::kind::PackKind;
use kamba_vault::base::monitor::Silent;
use kamba_vault::format::database::DatabaseInfo;
use kamba_vault::format::header::Kind;
use kamba_vault::format::index;
use kamba_vault::format::list::ListEntry;
use kamba_vault::format::name::{CONFIG, KEYS, SIGNERS, root_name};
use kamba_vault::format::node::NodeType;
use kamba_vault::format::root::SnapshotKind;
use kamba_vault::repo::read::ChunkReader;
use kamba_vault::repo::{self, Repository, index as repo_index, roots};
use kamba_vault::vfs::{Children, Entry, EntryKind, Folder, ReadCache, View};

use crate::forge::{Forge, stored};
use crate::input::Input;
use crate::limited::Limited;
use crate::maker::Maker;
use crate::seeds::{Seed, seed, wild_programs};
use crate::vault::{Objects, VAULT, backend, cache_folder, credentials, environment, root};
use crate::wild::Wild;

const SESSION: SessionId = SessionId([0x12; 16]);
/// Entries that are looked at: folders may hold each other over and over.
const ENTRIES: usize = 300;
/// Levels that are gone down.
const LEVELS: usize = 8;
/// Places that are read.
const PLACES: usize = 6;
/// Where files are read, beside where they end.
const OFFSETS: [u64; 4] = [0, 1 << 20, 1 << 40, u64::MAX];

/// Where the seeds read: two bytes for where, two for how many.
const SEED_PLACES: [[u8; 4]; PLACES] =
    [[0, 0, 255, 255], [7, 1, 200, 0], [15, 9, 16, 0], [4, 40, 0, 1], [1, 0, 9, 0], [3, 0, 9, 0]];

/// Wild trees, and databases as they should be and edited.
pub fn seeds() -> Vec<Seed> {
    let places = SEED_PLACES.concat();
    let of = |how: u8, program: &[u8]| [&[how], &places[..], program].concat();
    let trees = wild_programs().into_iter().map(|(name, tree)| seed(format!("tree-{name}"), of(0, &tree)));
    let databases: [(&str, u8, &[u8]); 10] = [
        ("sound", 1, &[0]),
        ("sound-little-room", 3, &[0]),
        ("recipe", 1, &[1, 0, 0, 9, 0, 1, 0]),
        ("object", 1, &[1, 1, 1, 0, 0, 5, 0, 2, 3, b'x', b'\\', b'n']),
        ("info", 1, &[1, 2, 0, 40, 0, 3, 2, b'0', b'1']),
        ("length", 1, &[1, 3, 20, 0]),
        ("unsplit", 1, &[1, 3, 0, 1]),
        ("objects", 1, &[1, 3, 0, 2]),
        ("blocks", 1, &[1, 3, 9, 3]),
        ("rows", 1, &[2, 3, 9, 5, 3, 0, 4]),
    ];
    let databases = databases.map(|(name, how, edits)| seed(format!("database-{name}"), of(how, edits)));
    trees.chain(databases).collect()
}

/// Makes what the input says and looks at it.
pub fn play(data: &[u8]) {
    let mut input = Input::new(data);
    let how = input.u8();
    let places: Vec<(u16, u16)> = (0..PLACES).map(|_| (input.u16(), input.u16())).collect();
    let mut maker = Maker::new(&VAULT.keys);
    let children = match how & 1 {
        0 => Wild::new(&mut input, &mut maker).tree(),
        _ => database(&mut input, &mut maker),
    };
    let cache = cache_folder();
    let repo =
        Repository::open(environment(backend(&objects(&mut maker, children)), cache.path()), &credentials());
    let repo = repo.expect("the repository opens");
    repo_index::refresh(&repo, &Silent, &Cancel::new()).expect("the index loads");
    let listing = roots::list(&repo, &Cancel::new()).expect("its snapshot is listed");
    // One whose root is refused is none.
    let Some(snapshot) = listing.snapshots.first() else { return };
    let view = View::new(Arc::new(ChunkReader::new(&repo)), snapshot.root.root.clone(), Cancel::new());
    // With room for everything, and for next to nothing.
    let cache = ReadCache::new(if how & 2 == 0 { 1 << 20 } else { 300 });
    let mut look = Look { view: &view, cache: &cache, places: &places, entries: 0 };
    look.folder(&view.root(), &mut Vec::new(), 0, false).unwrap_or_else(|error| told(&error));
}

/// A database with anything changed about it.
fn database(input: &mut Input<'_>, maker: &mut Maker<'_>) -> Vec<ListEntry> {
    let mut parts = VAULT.dump.clone();
    let mut info = VAULT.info.clone();
    for _ in 0..input.u8() % 4 {
        match input.u8() % 4 {
            0 => input.splice(&mut parts.recipe),
            1 => {
                let at = input.below(parts.objects.len());
                if let Some((_, object)) = parts.objects.get_mut(at) {
                    input.splice(object);
                }
            }
            2 => input.splice(&mut info),
            _ => lie(input, &mut info),
        }
    }
    let node = maker.database("shop", &parts, &info);
    maker.listing(vec![node])
}

/// Changes a description that stays one.
fn lie(input: &mut Input<'_>, info: &mut Vec<u8>) {
    let Ok(mut told) = DatabaseInfo::decode(info) else { return };
    let by = u64::from(input.u8());
    match input.u8() % 6 {
        0 => told.dump_bytes = by * by * by,
        1 => told.split = !told.split,
        2 => told.objects.reverse(),
        3 => told.blocks.iter_mut().for_each(|block| block.offset = block.offset.wrapping_add(by)),
        4 => told.blocks.reverse(),
        _ => told.tables.iter_mut().for_each(|table| table.rows = Some(by)),
    }
    *info = told.encode().expect("it is short");
}

/// The vault's keys, and one snapshot with these children.
fn objects(maker: &mut Maker<'_>, children: Vec<ListEntry>) -> Objects {
    let forge = Forge::new(&VAULT.keys, 6);
    let chunks = maker.take_chunks();
    let kinds = [PackKind::Data, PackKind::Meta];
    let packs: Vec<_> = kinds.into_iter().filter_map(|kind| forge.pack(kind, &chunks)).collect();
    let is_kept = |name: &str| name == CONFIG || name.starts_with(KEYS) || name.starts_with(SIGNERS);
    let mut objects = VAULT.objects.clone();
    objects.retain(|name, _| is_kept(name));
    objects.extend(packs.iter().map(stored));
    let records: Vec<_> = packs.into_iter().map(|pack| pack.record).collect();
    objects.extend(index::encode(&[], &records).ok().map(|plain| forge.part(&plain)));
    let body = root(&VAULT.keys, SESSION, SnapshotKind::Files, children);
    let name = root_name(&SESSION);
    let object = body.encode().ok().and_then(|body| forge.small(Kind::Root, &name, b"", &body));
    objects.extend(object.map(|object| (name, object)));
    objects
}

/// An error can be told to people.
fn told(error: &repo::Error) {
    assert!(!error.to_string().is_empty());
    let _ = error.class().exit_status();
}

struct Look<'l> {
    view: &'l View,
    cache: &'l Arc<ReadCache>,
    places: &'l [(u16, u16)],
    entries: usize,
}

impl Look<'_> {
    fn folder(
        &mut self,
        folder: &Entry,
        path: &mut Vec<u8>,
        level: usize,
        is_odd: bool,
    ) -> Result<(), repo::Error> {
        self.pages(folder).unwrap_or_else(|error| told(&error));
        let mut listing = self.view.list(folder)?;
        let mut last: Option<Vec<u8>> = None;
        while let Some(entry) = self.view.next(&mut listing)? {
            assert!(last.as_ref().is_none_or(|last| *last < entry.name), "names are out of order");
            last = Some(entry.name.clone());
            self.entries += 1;
            if self.entries > ENTRIES {
                return Ok(());
            }
            // A path through such a name leads elsewhere.
            let is_odd = is_odd || entry.name.is_empty() || entry.name.contains(&b'/');
            let len = path.len();
            path.push(b'/');
            path.extend_from_slice(&entry.name);
            if entry.kind == EntryKind::Directory && level < LEVELS {
                self.folder(&entry, path, level + 1, is_odd).unwrap_or_else(|error| told(&error));
            }
            // As who has the path finds it, which is another where names have slashes.
            match self.view.find(path) {
                Ok(found) => {
                    let is_it =
                        found.is_some_and(|found| found.name == entry.name && found.size == entry.size);
                    assert!(is_it || is_odd, "it is not found");
                }
                Err(error) => told(&error),
            }
            self.file(&entry);
            path.truncate(len);
        }
        Ok(())
    }

    /// The same folder by pages, as a mount reads it: whoever goes through a sound listing finds each name, and
    /// of an unsound one no page is more than its chunk holds.
    fn pages(&self, folder: &Entry) -> Result<(), repo::Error> {
        let Some(node) = folder.node().filter(|node| node.kind == NodeType::Directory) else { return Ok(()) };
        let reader = self.view.reader();
        let pages = Folder::new(reader, node.children.clone())?;
        let mut children = Children::new(node.children.clone());
        let mut names = Vec::new();
        let sound = loop {
            match children.next(reader) {
                Ok(Some(_)) if names.len() == ENTRIES => break false,
                Ok(Some(node)) => names.push(node.name),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        for name in names {
            let found = pages.find(&name, &mut |number| pages.read(reader, number));
            assert!(!sound || matches!(found, Ok(Some(_))), "a name is not found on its page");
        }
        for number in 0..=pages.pages().min(ENTRIES) {
            pages.read(reader, number).map_or_else(|error| told(&error), drop);
        }
        Ok(())
    }

    fn file(&self, entry: &Entry) {
        let file = match self.view.open(entry, self.cache) {
            Ok(file) => file,
            Err(error) => return told(&error),
        };
        assert!(entry.size.is_none() || file.size() == entry.size, "two lengths of one file");
        let mut whole = Limited::default();
        let written = self.view.write(entry, &mut whole, &Silent);
        let (bytes, is_whole) = (whole.0, written.is_ok());
        if let Err(error) = &written {
            told(error);
        }
        for (at, len) in self.places {
            let offset = match usize::from(at & 7) {
                n @ 0..4 => OFFSETS[n].saturating_sub(u64::from(at >> 3)),
                _ => u64::from(at >> 3) % (bytes.len() as u64 + 2),
            };
            let mut out = b"before".to_vec();
            match file.read_at(offset, usize::from(*len), &mut out) {
                Ok(()) => compare(&bytes, is_whole, offset, (*len).into(), &out[6..]),
                Err(error) => {
                    told(&error);
                    assert_eq!(out, b"before", "an error gave bytes");
                }
            }
        }
        assert!(self.cache.kept_bytes() <= 1 << 20);
    }
}

/// What was read at a place is what all of it has there. Of what could not be read whole nothing is known:
/// a wrong hash, say, shows at the end.
fn compare(bytes: &[u8], is_whole: bool, offset: u64, len: usize, got: &[u8]) {
    assert!(got.len() <= len);
    if is_whole {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let wanted = &bytes[from..bytes.len().min(from + len)];
        assert!(got == wanted, "{} bytes at {offset} instead of {}", got.len(), wanted.len());
    }
}
