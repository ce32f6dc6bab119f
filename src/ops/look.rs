//! Looking: the list of snapshots, what is inside one, the bytes of one entry.

use std::io::Write;
use std::sync::Arc;

use crate::base::clock::Cancel;
use crate::base::limits::TREE_DEPTH_MAX;
use crate::base::monitor::{Count, Monitor};
use crate::format::node::{FileMeta, Node, NodeType};
use crate::ops::Error;
use crate::ops::select::{Filter, Which, select};
use crate::ops::snapshot::TABLESPACES;
use crate::repo::read::ChunkReader;
use crate::repo::roots::{self, Listing, Snapshot};
use crate::repo::{self, Repository, index};
use crate::vfs::{Entry, EntryKind, View};

/// All snapshots that match every filter, oldest first, at most the `latest` newest of them; and
/// what could not be read.
pub fn snapshots(
    repo: &Repository,
    filters: &[Filter],
    latest: Option<usize>,
    cancel: &Cancel,
) -> Result<Listing, Error> {
    let mut listing = roots::list(repo, cancel)?;
    listing.snapshots.retain(|s| filters.iter().all(|f| f.matches(s)));
    if let Some(latest) = latest {
        let older = listing.snapshots.len().saturating_sub(latest);
        listing.snapshots.drain(..older);
    }
    Ok(listing)
}

/// Finds the snapshot that `which` means. `wanted` is what the user wrote. Roots are listed before
/// the index is loaded (I-2).
pub fn find(
    repo: &Repository,
    which: &Which,
    wanted: &str,
    monitor: &dyn Monitor,
    cancel: &Cancel,
) -> Result<Snapshot, Error> {
    let listing = roots::list(repo, cancel)?;
    for (name, error) in &listing.damaged {
        monitor.warn(&format!("{name} is left out: {error}"));
    }
    Ok(select(&listing.snapshots, which, wanted)?.clone())
}

/// Opens a snapshot as a tree.
pub fn view(
    repo: &Repository,
    snapshot: &Snapshot,
    monitor: &dyn Monitor,
    cancel: &Cancel,
) -> Result<View, Error> {
    Ok(view_with(&reader(repo, monitor, cancel)?, snapshot, cancel))
}

/// A reader for the views of several snapshots, which so share what it keeps. To be asked for when
/// they are known (I-2).
pub fn reader(repo: &Repository, monitor: &dyn Monitor, cancel: &Cancel) -> Result<Arc<ChunkReader>, Error> {
    index::refresh(repo, monitor, cancel)?;
    Ok(Arc::new(ChunkReader::new(repo)))
}

/// Opens a snapshot as a tree that `reader` reads.
pub fn view_with(reader: &Arc<ChunkReader>, snapshot: &Snapshot, cancel: &Cancel) -> View {
    View::new(reader.clone(), snapshot.root.root.clone(), cancel.clone())
}

/// The entry at `path`, or the error that says there is none.
pub fn entry(view: &View, snapshot: &Snapshot, path: impl AsRef<[u8]>) -> Result<Entry, Error> {
    view.find(path.as_ref())?.ok_or_else(|| Error::NoPath {
        snapshot: format!("snapshot {}", &snapshot.id.to_hex()[..8]),
        path: String::from_utf8_lossy(path.as_ref()).into_owned(),
    })
}

/// Receives the path of an entry, and the entry.
pub type Each<'e> = &'e mut dyn FnMut(&[u8], &Entry) -> Result<(), Error>;

/// Calls `each` with the path of every entry below `top` (itself first if it is a file), in order;
/// with `recursive` also below its folders.
pub fn walk(
    view: &View,
    top: &Entry,
    path: impl AsRef<[u8]>,
    recursive: bool,
    each: Each<'_>,
) -> Result<(), Error> {
    if top.kind != EntryKind::Directory {
        return each(path.as_ref(), top);
    }
    walk_from(view, top, &mut trimmed(path.as_ref()).to_vec(), recursive, each)
}

/// The same for a folder, whose path is `path`. After an error of the walk's own that is the path of the folder that
/// it is about.
pub fn walk_from(
    view: &View,
    top: &Entry,
    path: &mut Vec<u8>,
    recursive: bool,
    each: Each<'_>,
) -> Result<(), Error> {
    // Not by recursion: whoever wrote the snapshot decides how deep its folders are.
    let mut open = vec![(path.len(), view.list(top)?)];
    while let Some((len, listing)) = open.last_mut() {
        path.truncate(*len);
        let Some(entry) = view.next(listing)? else {
            open.pop();
            continue;
        };
        append(path, &entry.name);
        each(path, &entry)?;
        if recursive && entry.kind == EntryKind::Directory {
            if open.len() == TREE_DEPTH_MAX {
                return Err(too_deep(path));
            }
            open.push((path.len(), view.list(&entry)?));
        }
    }
    Ok(())
}

/// The folder of a cluster's links to tablespaces, in its own.
pub const LINKS: &str = "pg_tblspc";

/// The links to tablespaces that a server keeps in [`LINKS`], if this is a base backup, ascending by name. A base
/// backup has them as a list (`tablespace_map`), for whoever restores it decides where they go; these point to the
/// tablespaces' files in the same snapshot.
pub fn tablespace_links(snapshot: &Snapshot) -> Vec<Node> {
    let tablespaces = snapshot.root.base.iter().flat_map(|base| &base.tablespaces);
    let links = tablespaces.map(|tablespace| {
        let target = format!("../../{TABLESPACES}/{}", tablespace.oid).into_bytes();
        let meta = FileMeta { mode: Some(0o777), link_target: Some(target), ..FileMeta::default() };
        Node { meta, ..Node::new(tablespace.oid.to_string(), NodeType::Symlink) }
    });
    let mut links: Vec<Node> = links.collect();
    links.sort_by(|a, b| a.name.cmp(&b.name));
    links
}

/// `path` without slashes at its ends.
pub fn trimmed(mut path: &[u8]) -> &[u8] {
    while let [b'/', rest @ ..] | [rest @ .., b'/'] = path {
        path = rest;
    }
    path
}

/// Makes of a folder's path that of its entry `name`.
pub fn append(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

/// The path of what is at `path` below `base`.
pub fn joined(base: &[u8], path: &[u8]) -> Vec<u8> {
    let mut whole = base.to_vec();
    if !path.is_empty() {
        append(&mut whole, path);
    }
    whole
}

/// A snapshot whose folders are nested deeper than any may be, at `path`.
pub fn too_deep(path: &[u8]) -> Error {
    repo::Error::damaged(String::from_utf8_lossy(path), "its folders are nested too deep").into()
}

/// Writes the bytes of the file at `path` to `out`; without a path, of the snapshot's only file.
pub fn cat(
    view: &View,
    snapshot: &Snapshot,
    path: Option<&[u8]>,
    out: &mut dyn Write,
    monitor: &dyn Monitor,
) -> Result<u64, Error> {
    let entry = match path {
        Some(path) => entry(view, snapshot, path)?,
        None => only_file(view, snapshot)?,
    };
    if entry.kind != EntryKind::File {
        return Err(Error::Usage {
            message: format!("{} is not a file", path.map_or("this".into(), String::from_utf8_lossy)),
            hint: Some("`kamba-vault ls SNAPSHOT:PATH` shows what is in a folder"),
        });
    }
    monitor.phase("reading", Count::DoneBytes, entry.size);
    let written = view.write(&entry, out, monitor)?;
    out.flush().map_err(|source| Error::Output { what: "the output".into(), source })?;
    Ok(written)
}

fn only_file(view: &View, snapshot: &Snapshot) -> Result<Entry, Error> {
    let mut files = Vec::new();
    view.children(&view.root(), &mut |entry| {
        files.push(entry);
        Ok(())
    })?;
    match <[Entry; 1]>::try_from(files) {
        Ok([only]) if only.kind == EntryKind::File => Ok(only),
        _ => Err(Error::Usage {
            message: format!("snapshot {} holds more than one file", &snapshot.id.to_hex()[..8]),
            hint: Some("name one after a colon: SNAPSHOT:PATH; `kamba-vault ls SNAPSHOT` shows them"),
        }),
    }
}
