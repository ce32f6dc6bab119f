//! Reads all that there is in a repository, as `snapshots`, `ls`, `cat`, `stats`, `check` and
//! `snapshot` do, and holds it against what was put in. Whatever an attacker did: a snapshot whose root
//! object is the one that was written gives back its own bytes, or an error, and nothing else; and if
//! it gives an error, `check` knows.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use kamba_vault::base::clock::Cancel;
use kamba_vault::base::id::SessionId;
use kamba_vault::base::monitor::Silent;
use kamba_vault::codec::Level;
use kamba_vault::format::list::ListEntry;
use kamba_vault::format::node::{Node, NodeType};
use kamba_vault::format::root::SnapshotKind;
use kamba_vault::format::tree::TreeBuilder;
use kamba_vault::ops::check::{self, ReadData};
use kamba_vault::ops::{Error, look, stats};
use kamba_vault::repo::read::ChunkReader;
use kamba_vault::repo::roots::{self, Snapshot};
use kamba_vault::repo::session::{Session, SessionOptions};
use kamba_vault::repo::{self, Repository, index};
use kamba_vault::vfs::{Entry, EntryKind, View};

use crate::limited::Limited;
use crate::vault::{Objects, VAULT, backend, cache_folder, credentials, environment, root};

/// Entries that are looked at in one snapshot: folders may hold each other over and over.
const ENTRIES: usize = 600;

/// What there is to read in a snapshot: the path of every entry, and the bytes of files.
type Seen = BTreeMap<String, Option<Vec<u8>>>;

/// What the snapshots give when nothing happened to them.
static EXPECTED: LazyLock<BTreeMap<SessionId, Seen>> = LazyLock::new(|| {
    let cache = cache_folder();
    let repo = open(&VAULT.objects, cache.path()).expect("the repository opens");
    let listing = roots::list(&repo, &Cancel::new()).expect("its snapshots are listed");
    assert!(listing.damaged.is_empty() && listing.tombstones.len() == 1 && listing.gaps().is_empty());
    index::refresh(&repo, &Silent, &Cancel::new()).expect("its index loads");
    let mut expected = BTreeMap::new();
    for snapshot in &listing.snapshots {
        let mut seen = Seen::new();
        let walked = walk(&repo, snapshot, &mut |path, bytes, done| {
            assert!(done.is_ok(), "{path} is read");
            seen.insert(path.to_owned(), bytes);
        });
        walked.expect("its snapshots are walked");
        let (_, files) = &VAULT.snapshots[&snapshot.id];
        for (path, bytes) in files {
            assert_eq!(seen.get(path), Some(&Some(bytes.clone())), "{path}");
        }
        expected.insert(snapshot.id, seen);
    }
    let report = check::check(&repo, ReadData::All, &Silent, &Cancel::new()).expect("it is checked");
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(expected.len(), VAULT.snapshots.len());
    expected
});

/// Opens the repository that these objects are.
fn open(objects: &Objects, cache: &std::path::Path) -> Result<Repository, repo::Error> {
    Repository::open(environment(backend(objects), cache), &credentials())
}

/// Reads everything; with `and_write`, makes one more snapshot and reads that too.
pub fn read_everything(objects: &Objects, and_write: bool) {
    LazyLock::force(&EXPECTED);
    let cache = cache_folder();
    if let Err(error) = open(objects, cache.path()).and_then(|repo| read(&repo, and_write)) {
        told(&error.into());
    }
}

/// An error can be told to people.
fn told(error: &Error) {
    assert!(!error.to_string().is_empty());
    let _ = (error.class().exit_status(), error.hint());
}

/// Once the keys and what the admin signed are accepted, no other object makes everything else
/// unreadable.
fn read(repo: &Repository, and_write: bool) -> Result<(), repo::Error> {
    let listing = roots::list(repo, &Cancel::new()).expect("snapshots can be listed");
    listing.damaged.iter().for_each(|(_, error)| assert!(!error.to_string().is_empty()));
    let _ = listing.gaps().len();
    index::refresh(repo, &Silent, &Cancel::new()).expect("the index can be loaded");
    let mut unreadable = Vec::new();
    for snapshot in &listing.snapshots {
        let genuine = VAULT.snapshots.get(&snapshot.id).is_some_and(|(hash, _)| *hash == snapshot.hash);
        let expected = if genuine { EXPECTED.get(&snapshot.id) } else { None };
        if !compare(repo, snapshot, expected) && genuine {
            unreadable.push(snapshot.id);
        }
    }
    stats::stats(repo, &Silent, &Cancel::new()).expect("figures can be gathered");
    let report = check::check(repo, ReadData::All, &Silent, &Cancel::new()).expect("a check is possible");
    let is_hurt = |id: &SessionId| report.hurt.iter().any(|hurt| hurt.snapshot == *id);
    let missed: Vec<_> = unreadable.iter().filter(|id| !is_hurt(id)).collect();
    assert!(missed.is_empty(), "check sees nothing wrong with {missed:?}: {report:#?}");
    if and_write { write(repo) } else { Ok(()) }
}

/// Reads a snapshot, and holds it against what it should be if that is known. Answers whether all of
/// it could be read.
fn compare(repo: &Repository, snapshot: &Snapshot, expected: Option<&Seen>) -> bool {
    let (mut found, mut whole) = (0, true);
    let walked = walk(repo, snapshot, &mut |path, bytes, done| {
        found += 1;
        whole &= done.is_ok();
        let Some(expected) = expected else { return };
        let expected = expected.get(path).unwrap_or_else(|| panic!("{path} was never stored"));
        let (Some(bytes), Some(expected)) = (&bytes, expected) else {
            assert_eq!(bytes.is_some(), expected.is_some(), "{path} became something else");
            return;
        };
        // What was given before an error belongs to the file as well.
        let may_end = done.is_err() || bytes.len() == expected.len();
        assert!(may_end && expected.starts_with(bytes), "{path} was read wrongly");
    });
    match (walked, expected) {
        (Ok(()), Some(expected)) => assert_eq!(found, expected.len(), "entries are missing in silence"),
        (Ok(()), None) => {}
        (Err(error), _) => {
            told(&error);
            whole = false;
        }
    }
    whole
}

type Each<'e> = &'e mut dyn FnMut(&str, Option<Vec<u8>>, Result<(), ()>);

/// Tells `each` the path of every entry and, of files, the bytes and whether they are all.
fn walk(repo: &Repository, snapshot: &Snapshot, each: Each<'_>) -> Result<(), Error> {
    let reader = Arc::new(ChunkReader::new(repo));
    let view = View::new(reader, snapshot.root.root.clone(), Cancel::new());
    let mut count = 0;
    look::walk(&view, &view.root(), "", true, &mut |path, entry| {
        count += 1;
        if count > ENTRIES {
            return Err(Error::Usage { message: "there are too many entries".into(), hint: None });
        }
        let path = String::from_utf8_lossy(path);
        if entry.kind == EntryKind::File {
            let (bytes, done) = cat(&view, entry);
            each(&path, Some(bytes), done);
        } else {
            each(&path, None, Ok(()));
        }
        Ok(())
    })
}

fn cat(view: &View, entry: &Entry) -> (Vec<u8>, Result<(), ()>) {
    let mut out = Limited::default();
    let done = match view.write(entry, &mut out, &Silent) {
        Ok(written) => {
            assert_eq!(written, out.0.len() as u64);
            Ok(())
        }
        Err(error) => {
            told(&error.into());
            Err(())
        }
    };
    (out.0, done)
}

/// Makes a snapshot of bytes that are stored already, and of new ones. It gives back these bytes or an
/// error: the index may say that a chunk is there and be wrong.
fn write(repo: &Repository) -> Result<(), repo::Error> {
    let options = SessionOptions {
        host: "fuzz".into(),
        purpose: "fuzzing".into(),
        level: Level::DEFAULT,
        verify: true,
    };
    let files = [("new", b"what nobody has seen yet".as_slice()), ("old", crate::vault::ONE_CHUNK)];
    let session = Session::begin(repo, &options, Arc::new(Silent), Cancel::new())?;
    let id = session.id();
    let children = match store(&session, &files) {
        Ok(children) => children,
        Err(error) => {
            session.abandon();
            return Err(error);
        }
    };
    session.commit(|id, _| Ok(root(repo.keys(), id, SnapshotKind::Stream, children)))?;
    let listing = roots::list(repo, &Cancel::new())?;
    let snapshot = listing.snapshots.iter().find(|snapshot| snapshot.id == id).expect("it was committed");
    let expected = files.map(|(name, bytes)| (name.to_owned(), Some(bytes.to_vec())));
    compare(repo, snapshot, Some(&expected.into()));
    Ok(())
}

fn store(session: &Session, files: &[(&str, &[u8])]) -> Result<Vec<ListEntry>, repo::Error> {
    let mut tree = TreeBuilder::new();
    let store = &mut |kind, plain: &[u8]| session.store(kind, plain);
    for (name, bytes) in files {
        let mut stream = session.stream();
        stream.write(bytes)?;
        let node = Node::with_content(*name, NodeType::Stream, stream.finish()?.entries)?;
        tree.push(&node, store)?;
    }
    tree.finish(store)
}
