//! What the inodes stand for: finds children by name or by place in their folder's listing, and keeps the
//! listings and pages that were used last. Everything that the kernel asks about names and attributes is
//! answered from here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::id::ChunkId;
use crate::format::node::{FileMeta, Node, NodeType};
use crate::format::root::SnapshotKind;
use crate::mount::catalog::{Catalog, Known};
use crate::mount::inode::{Inode, Inodes, TOP, What, child_of, number_of};
use crate::mount::kept::Kept;
use crate::mount::namespace::Spot;
use crate::ops::look::{LINKS, tablespace_links};
use crate::ops::snapshot::PGDATA;
use crate::repo::Error;
use crate::vfs::{Entry, EntryKind, Folder, Page, View};

/// Pages that are kept: of 64 KiB at most as stored, a few times that in memory.
const PAGES_KEPT: usize = 128;
/// Listings of folders that are kept.
const FOLDERS_KEPT: usize = 4096;
/// Snapshots whose views are kept.
const VIEWS_KEPT: usize = 64;

/// What an inode stands for.
#[derive(Clone)]
pub enum Thing {
    /// A folder above the snapshots.
    Spot(Spot),
    /// A symbolic link up there.
    Link(Arc<str>),
    /// Something in a snapshot.
    Stored(Stored),
}

/// Something in a snapshot.
#[derive(Clone)]
pub struct Stored {
    /// The snapshot.
    pub known: Arc<Known>,
    /// The same as a tree.
    pub view: Arc<View>,
    /// What it is.
    pub item: Item,
}

/// An entry of a snapshot: as stored, or as a view shows it.
#[derive(Clone)]
pub enum Item {
    /// A node on a page.
    Node(Page, usize),
    /// The snapshot's top, or an entry of a listing of the view's.
    Entry(Arc<Entry>),
}

impl Item {
    /// What it is to its reader.
    pub fn kind(&self) -> EntryKind {
        match self {
            Item::Node(page, at) => page.get(*at).map_or(EntryKind::Other, |node| EntryKind::of(node.kind)),
            Item::Entry(entry) => entry.kind,
        }
    }

    /// What is stored of it; nothing of what is made while it is read.
    pub fn node(&self) -> Option<&Node> {
        match self {
            Item::Node(page, at) => page.get(*at),
            Item::Entry(entry) => entry.node(),
        }
    }

    /// What a file system knew about it.
    pub fn meta(&self) -> Option<&FileMeta> {
        match self {
            Item::Node(page, at) => page.get(*at).map(|node| &node.meta),
            Item::Entry(entry) => Some(&entry.meta),
        }
    }

    /// Bytes it has, as far as that is known.
    pub fn size(&self) -> Option<u64> {
        match self {
            Item::Node(page, at) => page.get(*at).and_then(|node| node.size),
            Item::Entry(entry) => entry.size,
        }
    }

    /// Its name; empty for a snapshot's top.
    pub fn name(&self) -> &[u8] {
        match self {
            Item::Node(page, at) => page.get(*at).map_or(b"", |node| &node.name),
            Item::Entry(entry) => &entry.name,
        }
    }
}

impl Stored {
    /// The entry, to be read through the view.
    pub fn entry(&self) -> Result<Arc<Entry>, Error> {
        match &self.item {
            Item::Node(page, at) => {
                let node = page.get(*at).ok_or(Error::Worker)?;
                self.view.entry(node.clone()).map(Arc::new)
            }
            Item::Entry(entry) => Ok(entry.clone()),
        }
    }
}

/// The listing of a folder in a snapshot.
#[derive(Clone)]
enum Listed {
    /// As it is stored.
    Pages(Arc<Folder>),
    /// As the view shows it, ascending by name: of a database, some of what is shown is made.
    Entries(Arc<Vec<Arc<Entry>>>),
}

/// A child that was found.
pub struct Found {
    /// Its number.
    pub number: u64,
    /// What it is.
    pub thing: Thing,
}

/// Takes a child, its name and its place; `false` if there is no room for it.
pub type EachChild<'e> = &'e mut dyn FnMut(&Found, &[u8], (usize, usize)) -> bool;

/// The tree of the mount.
pub struct Tree {
    catalog: Catalog,
    inodes: Mutex<Inodes>,
    views: Mutex<Kept<[u8; 16], Arc<View>>>,
    folders: Mutex<Kept<u64, Listed>>,
    pages: Mutex<Kept<ChunkId, Page>>,
    /// Whether tables are shown as CSV too.
    csv: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is kept is whole after every step, also if a thread ended between two.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tree {
    /// The tree of all snapshots of the catalog, or, if `is_of_one`, of its only one.
    pub fn new(catalog: Catalog, is_of_one: bool) -> Self {
        let known = catalog.last();
        let csv = known.iter().any(|known| known.snapshot.root.kind == SnapshotKind::Database);
        let top = match known.last() {
            Some(only) if is_of_one => What::Root(only.clone()),
            _ => What::Spot(Spot::Top),
        };
        Tree {
            catalog,
            csv,
            inodes: Mutex::new(Inodes::new(top)),
            views: Mutex::new(Kept::new(VIEWS_KEPT)),
            folders: Mutex::new(Kept::new(FOLDERS_KEPT)),
            pages: Mutex::new(Kept::new(PAGES_KEPT)),
        }
    }

    /// Whether tables are shown as CSV too. How long that is nobody knows before it was read, and where there
    /// is no such file the kernel has less to ask: so what had no dump of a database when it was mounted shows
    /// none later.
    pub fn shows_csv(&self) -> bool {
        self.csv
    }

    /// The snapshots.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// What the inode with this number stands for; `None` if the kernel was never told of it.
    pub fn thing(&self, number: u64) -> Result<Option<Thing>, Error> {
        let Some(inode) = lock(&self.inodes).get(number) else { return Ok(None) };
        match inode.what {
            What::Spot(spot) => Ok(Some(Thing::Spot(spot))),
            What::Link(target) => Ok(Some(Thing::Link(target))),
            What::Root(known) => Ok(Some(Thing::Stored(self.top(known)))),
            What::Child { root, page, at, .. } => {
                let Some(known) = self.snapshot(root) else { return Ok(None) };
                let view = self.view(&known);
                let listed = self.listed(inode.parent)?;
                let item = self.item(&view, &listed, page as usize, at as usize)?;
                let Some(item) = item else { return Ok(None) };
                Ok(Some(Thing::Stored(Stored { known, view, item })))
            }
        }
    }

    /// The child called `name` of a folder, of which the kernel is told.
    pub fn look_up(&self, parent: u64, name: &[u8]) -> Result<Option<Found>, Error> {
        let Some(thing) = self.thing(parent)? else { return Ok(None) };
        let stored = match thing {
            Thing::Spot(spot) => {
                let children = spot.children(&self.catalog.now());
                let child = std::str::from_utf8(name).ok().and_then(|name| children.get(name));
                return child.map(|child| self.found_above(parent, name, child)).transpose();
            }
            Thing::Link(_) => return Ok(None),
            Thing::Stored(stored) => stored,
        };
        let listed = self.listed(parent)?;
        let place = match &listed {
            Listed::Pages(folder) => {
                folder.find(name, &mut |number| self.page(&stored.view, folder, number))?
            }
            Listed::Entries(entries) => {
                entries.binary_search_by(|entry| entry.name.as_slice().cmp(name)).ok().map(|at| (0, at))
            }
        };
        let Some((page, at)) = place else { return Ok(None) };
        match self.item(&stored.view, &listed, page, at)? {
            Some(item) => Ok(Some(self.found(parent, &stored, item, page, at))),
            None => Ok(None),
        }
    }

    /// Calls `each` for the children of a folder in a snapshot from the one at (`page`, `at`), in order, with
    /// their places, until it answers `false`. Of those for which it answers `true` the kernel is told.
    pub fn children(&self, parent: u64, from: (usize, usize), each: EachChild<'_>) -> Result<(), Error> {
        let Some(Thing::Stored(stored)) = self.thing(parent)? else { return Ok(()) };
        let listed = self.listed(parent)?;
        let (mut page, mut at) = from;
        loop {
            let Some(item) = self.item(&stored.view, &listed, page, at)? else {
                (page, at) = (page + 1, 0);
                if page >= pages(&listed) {
                    return Ok(());
                }
                continue;
            };
            let found = self.found(parent, &stored, item.clone(), page, at);
            if !each(&found, item.name(), (page, at)) {
                self.forget(found.number, 1);
                return Ok(());
            }
            at += 1;
        }
    }

    /// The children of a folder above the snapshots, by name.
    pub fn above(&self, spot: &Spot) -> Vec<(String, What)> {
        spot.children(&self.catalog.now()).into_iter().collect()
    }

    /// Tells the kernel of a child of a folder above the snapshots.
    pub fn found_above(&self, parent: u64, name: &[u8], what: &What) -> Result<Found, Error> {
        let named = number_of(parent, name);
        // Another snapshot under the same name, as `latest` will be, is another thing.
        let wanted = match what {
            What::Root(known) => number_of(named, &known.id().0),
            What::Spot(_) | What::Link(_) | What::Child { .. } => named,
        };
        let inode = Inode { parent, what: what.clone() };
        let number = lock(&self.inodes).look_up(wanted, inode);
        let thing = match what {
            What::Spot(spot) => Thing::Spot(spot.clone()),
            What::Link(target) => Thing::Link(target.clone()),
            What::Root(known) => Thing::Stored(self.top(known.clone())),
            What::Child { .. } => return Err(Error::Worker),
        };
        Ok(Found { number, thing })
    }

    /// Says that the kernel forgot `times` of the times that it was told of an inode.
    pub fn forget(&self, number: u64, times: u64) {
        lock(&self.inodes).forget(number, times);
    }

    /// The same of many.
    pub fn forget_all(&self, forgotten: impl Iterator<Item = (u64, u64)>) {
        let mut inodes = lock(&self.inodes);
        forgotten.for_each(|(number, times)| inodes.forget(number, times));
    }

    /// The folder that something in a snapshot was found in, and its place there.
    pub fn spot_of(&self, number: u64) -> Option<(u64, (usize, usize))> {
        let inode = lock(&self.inodes).get(number)?;
        match inode.what {
            What::Child { page, at, .. } => Some((inode.parent, (page as usize, at as usize))),
            What::Spot(_) | What::Link(_) | What::Root(_) => None,
        }
    }

    /// A page of a folder that is shown as it is stored, if it has that many.
    pub fn page_of(&self, number: u64, page: usize) -> Result<Option<(Arc<View>, Page)>, Error> {
        let Some(Thing::Stored(stored)) = self.thing(number)? else { return Ok(None) };
        let Listed::Pages(folder) = self.listed(number)? else { return Ok(None) };
        let found = self.page(&stored.view, &folder, page)?;
        Ok(found.map(|page| (stored.view, page)))
    }

    /// The numbers of those nodes on a page of a folder that the kernel knows, which stand for nothing else
    /// until each was forgotten once more.
    pub fn hold(&self, parent: u64, page: usize, nodes: &[(usize, &Node)]) -> Vec<Option<u64>> {
        let root = self.root_of(parent);
        let children = nodes.iter().map(|(at, node)| {
            let names = (node.name.as_slice(), node.meta.link_group.as_deref());
            child_of(root, parent, names, (page, *at))
        });
        let children: Vec<(u64, Inode)> = children.collect();
        let mut inodes = lock(&self.inodes);
        children.iter().map(|(wanted, inode)| inodes.hold(*wanted, inode)).collect()
    }

    /// The number of the folder that an inode was found in.
    pub fn parent(&self, number: u64) -> u64 {
        lock(&self.inodes).get(number).map_or(TOP, |inode| inode.parent)
    }

    /// The snapshot that an inode is in, and its path there, for messages.
    pub fn path(&self, number: u64) -> String {
        let mut parts = Vec::new();
        let mut number = number;
        let mut above = String::new();
        loop {
            let Some(inode) = lock(&self.inodes).get(number) else { break };
            match inode.what {
                What::Root(known) => {
                    above = format!("snapshot {}: ", &known.id().to_hex()[..8]);
                    break;
                }
                What::Child { .. } => {
                    let thing = self.thing(number);
                    let name = match thing {
                        Ok(Some(Thing::Stored(stored))) => {
                            String::from_utf8_lossy(stored.item.name()).into_owned()
                        }
                        _ => "?".to_owned(),
                    };
                    parts.push(name);
                    number = inode.parent;
                }
                What::Spot(_) | What::Link(_) => break,
            }
        }
        parts.reverse();
        above + &parts.join("/")
    }

    fn snapshot(&self, root: u64) -> Option<Arc<Known>> {
        match lock(&self.inodes).get(root)?.what {
            What::Root(known) => Some(known),
            What::Spot(_) | What::Link(_) | What::Child { .. } => None,
        }
    }

    fn view(&self, known: &Known) -> Arc<View> {
        let mut views = lock(&self.views);
        if let Some(view) = views.get(&known.id().0) {
            return view;
        }
        let view = Arc::new(self.catalog.view(known));
        views.keep(known.id().0, view.clone());
        view
    }

    fn top(&self, known: Arc<Known>) -> Stored {
        let view = self.view(&known);
        let item = Item::Entry(Arc::new(view.root()));
        Stored { known, view, item }
    }

    /// Tells the kernel of a child in a snapshot.
    fn found(&self, parent: u64, folder: &Stored, item: Item, page: usize, at: usize) -> Found {
        let group = item.meta().and_then(|meta| meta.link_group.as_deref());
        let (wanted, inode) = child_of(self.root_of(parent), parent, (item.name(), group), (page, at));
        let number = lock(&self.inodes).look_up(wanted, inode);
        let stored = Stored { known: folder.known.clone(), view: folder.view.clone(), item };
        Found { number, thing: Thing::Stored(stored) }
    }

    /// The number of the top of the snapshot that a folder is in.
    fn root_of(&self, number: u64) -> u64 {
        match lock(&self.inodes).get(number).map(|inode| inode.what) {
            Some(What::Child { root, .. }) => root,
            Some(What::Root(_) | What::Spot(_) | What::Link(_)) | None => number,
        }
    }

    /// The listing of a folder in a snapshot.
    fn listed(&self, number: u64) -> Result<Listed, Error> {
        // Not by recursion: whoever wrote the snapshot decides how deep its folders are.
        let mut missing = vec![number];
        while let Some(top) = missing.last().copied()
            && let Some(Inode { parent, what: What::Child { .. } }) = lock(&self.inodes).get(top)
            && lock(&self.folders).get(&parent).is_none()
        {
            missing.push(parent);
        }
        let mut listed = Listed::Entries(Arc::default());
        for number in missing.into_iter().rev() {
            let kept = lock(&self.folders).get(&number);
            listed = match kept {
                Some(kept) => kept,
                None => self.list(number)?,
            };
        }
        Ok(listed)
    }

    fn list(&self, number: u64) -> Result<Listed, Error> {
        let Some(Thing::Stored(folder)) = self.thing(number)? else {
            return Ok(Listed::Entries(Arc::default()));
        };
        let is_made = matches!(&folder.item, Item::Entry(entry) if self.csv && entry.shows_made());
        let links = self.tablespaces(number, &folder);
        let listed = match folder.item.node() {
            Some(node) if node.kind == NodeType::Directory && links.is_empty() && !is_made => {
                Listed::Pages(Arc::new(Folder::new(folder.view.reader(), node.children.clone())?))
            }
            _ => Listed::Entries(Arc::new(entries(&folder, links)?)),
        };
        lock(&self.folders).keep(number, listed.clone());
        Ok(listed)
    }

    /// The links to tablespaces that are shown in `pg_tblspc`, if this is that folder of a base backup.
    fn tablespaces(&self, number: u64, folder: &Stored) -> Vec<Node> {
        let above = self.parent(number);
        let is_pgdata = matches!(self.thing(above), Ok(Some(Thing::Stored(pgdata)))
            if pgdata.item.name() == PGDATA.as_bytes() && self.parent(above) == self.root_of(number));
        if folder.item.name() != LINKS.as_bytes() || !is_pgdata {
            return Vec::new();
        }
        tablespace_links(&folder.known.snapshot)
    }

    fn item(&self, view: &View, listed: &Listed, page: usize, at: usize) -> Result<Option<Item>, Error> {
        match listed {
            Listed::Pages(folder) => {
                let nodes = self.page(view, folder, page)?;
                Ok(nodes.filter(|nodes| at < nodes.len()).map(|nodes| Item::Node(nodes, at)))
            }
            Listed::Entries(entries) if page == 0 => Ok(entries.get(at).cloned().map(Item::Entry)),
            Listed::Entries(_) => Ok(None),
        }
    }

    fn page(&self, view: &View, folder: &Folder, number: usize) -> Result<Option<Page>, Error> {
        let Some(id) = folder.id(number) else { return Ok(None) };
        if let Some(page) = lock(&self.pages).get(&id) {
            return Ok(Some(page));
        }
        let page = folder.read(view.reader(), number)?;
        if let Some(page) = &page {
            lock(&self.pages).keep(id, page.clone());
        }
        Ok(page)
    }
}

/// What the view shows of a folder, and links that it has besides, ascending by name.
fn entries(folder: &Stored, links: Vec<Node>) -> Result<Vec<Arc<Entry>>, Error> {
    let mut entries = Vec::new();
    let entry = folder.entry()?;
    folder.view.children(&entry, &mut |entry| {
        entries.push(Arc::new(entry));
        Ok(())
    })?;
    for link in links {
        if let Err(at) = entries.binary_search_by(|entry| entry.name.cmp(&link.name)) {
            entries.insert(at, Arc::new(folder.view.entry(link)?));
        }
    }
    Ok(entries)
}

fn pages(listed: &Listed) -> usize {
    match listed {
        Listed::Pages(folder) => folder.pages(),
        Listed::Entries(_) => 1,
    }
}
