//! The walk: depth first, in order of names, one open folder and one listing being built for each
//! level, so that memory grows with the depth of a tree and the size of one folder and with nothing
//! else. No folder is entered through a link but those above a source, which the user named.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::base::limits;
use crate::base::monitor::Count;
use crate::files::describe::{Described, Describer};
use crate::files::exclude::{CACHE_TAG, is_cache};
use crate::files::folder::{Folder, LastLink};
use crate::files::names::Names;
use crate::files::stat::Stat;
use crate::files::{Error as FileError, ErrorKind};
use crate::format::list::ListEntry;
use crate::format::node::{FileMeta, Node, NodeType};
use crate::format::tree::TreeBuilder;
use crate::ops::Error;
use crate::ops::snapshot::files::entry::{Output, add_problem, change_in_words, is_unchanged, make_certain};
use crate::ops::snapshot::files::known::{Earlier, Known};
use crate::ops::snapshot::files::links::Links;
use crate::ops::snapshot::files::sources::Trie;
use crate::ops::snapshot::files::{Counts, FilesRequest, Observer, Why};
use crate::repo::{self, Repository};

/// How often an entry is looked at that is another each time.
const TRIES: usize = 8;

/// A walk over all sources.
pub struct Walk<'a> {
    repo: &'a Repository,
    request: &'a FilesRequest,
    output: Output<'a>,
    known: Known<'a>,
    observer: &'a dyn Observer,
    describer: Describer,
    links: Links,
    counts: Counts,
    frames: Vec<Frame<'a>>,
    /// What is known of each of these folders.
    earlier: Vec<Earlier>,
}

/// A folder that the walk is in.
struct Frame<'a> {
    folder: Folder,
    names: Names,
    at: usize,
    /// What leads to sources in it.
    trie: Option<&'a Trie>,
    /// Whether all of it is wanted, or only what leads to sources.
    whole: bool,
    /// The source's device, with one file system wanted.
    device: Option<u64>,
    node: Node,
    builder: TreeBuilder,
}

/// What came of one look at an entry.
enum Looked<'a> {
    /// Its node.
    Node(Box<Node>),
    /// The node that was known of it: nothing changed.
    Same(Box<Node>),
    /// A folder that is to be walked.
    Enter(Box<Frame<'a>>),
    /// It is gone.
    Gone(FileError),
    /// It is something else now.
    Again,
}

/// What a walk found.
pub struct Walked {
    /// The root's listing.
    pub children: Vec<ListEntry>,
    /// The root's metadata.
    pub meta: FileMeta,
    /// How much of what there was.
    pub counts: Counts,
}

impl<'a> Walk<'a> {
    /// A walk that stores what it reads in `output`.
    pub fn new(
        repo: &'a Repository,
        request: &'a FilesRequest,
        output: Output<'a>,
        known: Known<'a>,
        observer: &'a dyn Observer,
    ) -> Result<Self, Error> {
        Ok(Walk {
            repo,
            request,
            output,
            known,
            observer,
            describer: Describer::new(request.with_atime),
            links: Links::new()?,
            counts: Counts::default(),
            frames: Vec::new(),
            earlier: Vec::new(),
        })
    }

    /// Walks all that `trie` leads to. `between` is asked before each entry whether to go on.
    pub fn run(
        mut self,
        trie: &'a Trie,
        between: &dyn Fn() -> Result<(), repo::Error>,
    ) -> Result<(Walked, Known<'a>), Error> {
        let folder = Folder::open_above("/".as_ref())?;
        let stat = folder.stat_self()?;
        let root = self.open(folder, &stat, b"", Some(trie), trie.wanted, None)?;
        self.enter(root);
        let mut done = None;
        while let Some(frame) = self.frames.last_mut() {
            between()?;
            if let Some(name) = frame.names.get(frame.at).map(<[u8]>::to_vec) {
                frame.at += 1;
                self.entry(&name)?;
            } else {
                done = self.leave()?;
            }
        }
        let root = done.ok_or(repo::Error::Worker)?;
        Ok((Walked { children: root.children, meta: root.meta, counts: self.counts }, self.known))
    }

    fn enter(&mut self, frame: Frame<'a>) {
        let earlier = match self.earlier.last() {
            Some(above) => self.known.child(above, &frame.node.name, frame.whole),
            None => self.known.root(frame.whole),
        };
        self.earlier.push(earlier);
        self.frames.push(frame);
    }

    /// Ends the innermost folder; its node if it was the root.
    fn leave(&mut self) -> Result<Option<Node>, Error> {
        let (Some(frame), Some(mut earlier)) = (self.frames.pop(), self.earlier.pop()) else {
            return Ok(None);
        };
        let (output, known, (rows, kept)) = (&self.output, &mut self.known, earlier.parts());
        let children =
            frame.builder.finish(&mut |kind, bytes| known.store(output, (rows, kept), kind, bytes))?;
        known.end(earlier);
        let node = Node { children, ..frame.node };
        if self.frames.is_empty() {
            return Ok(Some(node));
        }
        self.count(&node);
        self.push(&node, false)?;
        Ok(None)
    }

    /// Adds a node to the innermost folder: what was found there last if it is the `same`.
    fn push(&mut self, node: &Node, same: bool) -> Result<(), Error> {
        let (Some(frame), Some(earlier)) = (self.frames.last_mut(), self.earlier.last_mut()) else {
            return Ok(());
        };
        let (output, known) = (&self.output, &mut self.known);
        if node.kind == NodeType::Directory {
            known.pass(earlier, &node.name);
        }
        let (rows, kept) = earlier.parts();
        let mut store = |kind, bytes: &[u8]| known.store(output, (rows, kept), kind, bytes);
        match rows.filter(|_| same) {
            Some(rows) => frame.builder.push_record(&node.name, rows.record(), &mut store)?,
            None => frame.builder.push(node, &mut store)?,
        }
        Ok(())
    }

    /// The entry `name` of the innermost folder.
    fn entry(&mut self, name: &[u8]) -> Result<(), Error> {
        for _ in 0..TRIES {
            match self.look(name)? {
                None => return Ok(()),
                Some(Looked::Node(node)) => {
                    self.count(&node);
                    return self.push(&node, false);
                }
                Some(Looked::Same(node)) => {
                    self.count(&node);
                    return self.push(&node, true);
                }
                Some(Looked::Enter(frame)) => {
                    self.enter(*frame);
                    return Ok(());
                }
                Some(Looked::Gone(error)) => {
                    self.counts.vanished += 1;
                    self.problem(&format!("{} vanished while the snapshot was made", error.path.display()));
                    return Ok(());
                }
                Some(Looked::Again) => {}
            }
        }
        let path = self.path_of(name);
        self.problem(&format!("{} is left out: it became something else each time", path.display()));
        Ok(())
    }

    fn path_of(&self, name: &[u8]) -> PathBuf {
        self.frames.last().map(|frame| frame.folder.path_of(name)).unwrap_or_default()
    }

    fn problem(&mut self, words: &str) {
        self.counts.problems += 1;
        self.known.monitor.warn(words);
    }

    /// Something that goes wrong with an entry is said, counted and written into its node.
    fn problem_of(&mut self, node: &mut Node, error: &FileError) {
        self.problem(&error.to_string());
        add_problem(node, &error.to_string());
    }

    fn count(&mut self, node: &Node) {
        match node.kind {
            NodeType::Directory => self.counts.directories += 1,
            NodeType::File => self.counts.files += 1,
            _ => self.counts.others += 1,
        }
        self.counts.bytes += node.size.unwrap_or(0);
        self.known.monitor.add(Count::Items, 1);
    }

    /// Looks at an entry; nothing comes of one that is not wanted.
    fn look(&mut self, name: &[u8]) -> Result<Option<Looked<'a>>, Error> {
        let Some(frame) = self.frames.last() else { return Ok(None) };
        let trie = frame.trie.and_then(|trie| trie.children.get(name));
        if let (false, Some(above)) = (frame.whole, trie.filter(|trie| !trie.wanted)) {
            return self.above(name, above);
        }
        let stat = match frame.folder.stat(name) {
            Ok(stat) => stat,
            Err(error) => return Ok(self.lost(error)),
        };
        let is_folder = stat.kind == NodeType::Directory;
        let excluded = self.is_excluded(name, is_folder);
        if excluded && trie.is_none() {
            self.left_out(name, Why::Pattern);
            return Ok(None);
        }
        if is_folder {
            let whole = (frame.whole && !excluded) || trie.is_some_and(|trie| trie.wanted);
            return self.folder(name, &stat, trie, whole).map(Some);
        }
        self.leaf(name, &stat).map(Some)
    }

    /// An entry of which nothing can be kept.
    fn lost(&mut self, error: FileError) -> Option<Looked<'a>> {
        if error.kind == ErrorKind::Vanished {
            return Some(Looked::Gone(error));
        }
        self.problem(&error.to_string());
        None
    }

    /// The entry `name` of the innermost folder, or what is in it, is not wanted.
    fn left_out(&mut self, name: &[u8], why: Why) {
        self.counts.excluded += 1;
        self.observer.left_out(&self.path_of(name), why);
    }

    fn is_excluded(&self, name: &[u8], is_folder: bool) -> bool {
        let Some(frame) = self.frames.last() else { return false };
        if self.request.exclude.is_empty() || !frame.whole {
            return false;
        }
        let below = frame.folder.below().join(OsStr::from_bytes(name));
        self.request.exclude.is_excluded(below.as_os_str().as_encoded_bytes(), is_folder)
    }

    /// A folder above a source: its own metadata, and what leads to sources.
    fn above(&mut self, name: &[u8], trie: &'a Trie) -> Result<Option<Looked<'a>>, Error> {
        let opened = Folder::open_above(&self.path_of(name));
        match opened.and_then(|folder| folder.stat_self().map(|stat| (folder, stat))) {
            Ok((folder, stat)) => {
                let frame = self.open(folder, &stat, name, Some(trie), false, None)?;
                Ok(Some(Looked::Enter(Box::new(frame))))
            }
            Err(error) => Ok(self.lost(error)),
        }
    }

    /// A folder: to be walked if it can be.
    fn folder(
        &mut self,
        name: &[u8],
        stat: &Stat,
        trie: Option<&'a Trie>,
        whole: bool,
    ) -> Result<Looked<'a>, Error> {
        let Some(frame) = self.frames.last() else { return Ok(Looked::Again) };
        let within = frame.device.filter(|_| trie.is_none());
        if within.is_some_and(|device| device != stat.device) {
            self.left_out(name, Why::FileSystem);
            return self.unread(name, stat, None);
        }
        if self.frames.len() >= limits::TREE_DEPTH_MAX {
            let deep = std::io::Error::other("it lies deeper than a snapshot can hold");
            let error = FileError::new("enter", frame.folder.path_of(name), deep);
            return self.unread(name, stat, Some(error));
        }
        // A source itself is opened by its path, from which patterns then count.
        let opened = match frame.whole {
            true => frame.folder.folder(name),
            false => Folder::open(&frame.folder.path_of(name), LastLink::Refuse),
        };
        let opened = opened.and_then(|folder| folder.stat_self().map(|now| (folder, now)));
        let (folder, now) = match opened {
            // Opening it can have mounted something.
            Ok((_, now)) if within.is_some_and(|device| device != now.device) => return Ok(Looked::Again),
            Ok(opened) => opened,
            Err(error) => return self.not_opened(name, stat, error),
        };
        let device = self.request.one_file_system.then_some(match frame.device {
            Some(device) if trie.is_none_or(|trie| !trie.wanted) => device,
            _ => now.device,
        });
        Ok(Looked::Enter(Box::new(self.open(folder, &now, name, trie, whole, device)?)))
    }

    /// Makes a frame of an open folder.
    fn open(
        &mut self,
        folder: Folder,
        stat: &Stat,
        name: &[u8],
        trie: Option<&'a Trie>,
        whole: bool,
        device: Option<u64>,
    ) -> Result<Frame<'a>, Error> {
        let described = self.describer.folder(&folder, stat);
        let mut node = Node { meta: described.meta, ..Node::new(name, NodeType::Directory) };
        let mut names = Names::default();
        if whole {
            described.problems.iter().for_each(|error| self.problem_of(&mut node, error));
            match Names::read(&folder) {
                Ok(read) => names = read,
                Err(error) => self.problem_of(&mut node, &error),
            }
            if self.request.exclude_caches {
                match is_cache(&folder, &names) {
                    Ok(true) => {
                        self.counts.excluded += 1;
                        self.observer.left_out(&folder.path(), Why::Cache);
                        names.retain(|name| {
                            name == CACHE_TAG || trie.is_some_and(|trie| trie.children.contains_key(name))
                        });
                    }
                    Ok(false) => {}
                    Err(error) => self.problem_of(&mut node, &error),
                }
            }
            self.known.monitor.item(&folder.path().display().to_string());
        } else if let Some(trie) = trie {
            names = trie.children.keys().map(Vec::as_slice).collect();
        }
        Ok(Frame { folder, names, at: 0, trie, whole, device, node, builder: TreeBuilder::new() })
    }

    /// What could not be opened: gone, another now, or kept without its content.
    fn not_opened(&mut self, name: &[u8], stat: &Stat, error: FileError) -> Result<Looked<'a>, Error> {
        match error.kind {
            ErrorKind::Vanished => Ok(Looked::Gone(error)),
            ErrorKind::OtherType => Ok(Looked::Again),
            _ => self.unread(name, stat, Some(error)),
        }
    }

    /// A node without content, for what is not opened.
    fn unread(&mut self, name: &[u8], stat: &Stat, why: Option<FileError>) -> Result<Looked<'a>, Error> {
        let Some(frame) = self.frames.last() else { return Ok(Looked::Again) };
        let described = match self.describer.entry(&frame.folder, name, stat) {
            Ok(described) => described,
            Err(error) if error.kind == ErrorKind::OtherType => return Ok(Looked::Again),
            Err(error) if error.kind == ErrorKind::Vanished => return Ok(Looked::Gone(error)),
            Err(error) => Described { meta: FileMeta::default(), problems: vec![error] },
        };
        let mut node = Node { meta: described.meta, ..Node::new(name, stat.kind) };
        node.size = (stat.kind == NodeType::File).then_some(0);
        why.iter().chain(&described.problems).for_each(|error| self.problem_of(&mut node, error));
        node.meta.link_group = self.links.group(stat);
        Ok(Looked::Node(Box::new(node)))
    }

    /// Anything but a folder.
    fn leaf(&mut self, name: &[u8], stat: &Stat) -> Result<Looked<'a>, Error> {
        let mut earlier = self.known.find(&mut self.earlier, name);
        let was_there = earlier.is_some();
        let certain = self.earlier.last().is_some_and(Earlier::is_certain);
        let unchanged = match &earlier {
            Some(node) => is_unchanged(node, stat) && self.output.knows(&node.content, certain)?,
            None => false,
        };
        if let Some(mut node) = earlier.take_if(|_| unchanged) {
            self.counts.unchanged += 1;
            if self.earlier.last().is_some_and(Earlier::is_uncached) {
                self.known.keep(stat, &node.content);
            }
            let atime = self.request.with_atime.then_some(stat.atime);
            let link_group = self.links.group(stat);
            if (&node.meta.atime, &node.meta.link_group) == (&atime, &link_group) {
                return Ok(Looked::Same(Box::new(node)));
            }
            (node.meta.atime, node.meta.link_group) = (atime, link_group);
            return Ok(Looked::Node(Box::new(node)));
        }
        let looked = match stat.kind {
            NodeType::File => {
                let earlier = self.known.followed(earlier, stat);
                self.file(name, stat, earlier)?
            }
            _ => self.other(name, stat)?,
        };
        if let Looked::Node(_) = looked {
            match was_there {
                true => self.counts.changed += 1,
                false => self.counts.new += 1,
            }
        }
        Ok(looked)
    }

    /// A link, device, FIFO or socket, or something without a name yet.
    fn other(&mut self, name: &[u8], stat: &Stat) -> Result<Looked<'a>, Error> {
        let now = self.repo.clock().now();
        let looked = self.unread(name, stat, None)?;
        let Looked::Node(mut node) = looked else { return Ok(looked) };
        // It was asked by its name more than once: all answers must be of one entry.
        let Some(frame) = self.frames.last() else { return Ok(Looked::Again) };
        match frame.folder.stat(name) {
            Ok(after) if after.inode == stat.inode && after.ctime == stat.ctime => {
                make_certain(&mut node, stat, now);
                Ok(Looked::Node(node))
            }
            Ok(after) if after.inode == stat.inode && after.kind == stat.kind => Ok(Looked::Node(node)),
            Ok(_) => Ok(Looked::Again),
            Err(error) => Ok(Looked::Gone(error)),
        }
    }

    /// A regular file that has to be read, beside what it held earlier.
    fn file(&mut self, name: &[u8], stat: &Stat, earlier: Vec<ListEntry>) -> Result<Looked<'a>, Error> {
        if let Some(node) = self.links.other_name(name, stat)? {
            return Ok(Looked::Node(Box::new(node)));
        }
        let now = self.repo.clock().now();
        let Some(frame) = self.frames.last() else { return Ok(Looked::Again) };
        let mut source = match frame.folder.open_file(name) {
            Ok(source) => source,
            Err(error) => return self.not_opened(name, stat, error),
        };
        let path = source.path();
        self.known.monitor.item(&path.display().to_string());
        let stat = source.stat().clone();
        let described = self.describer.file(&source);
        let content = self.output.read(&mut source, earlier)?;
        let mut node =
            Node::with_content(name, NodeType::File, content.entries).map_err(repo::Error::from)?;
        node.meta = FileMeta { link_group: self.links.group(&stat), ..described.meta };
        if content.failure.is_none() {
            self.known.keep(&stat, &node.content);
        }
        described.problems.iter().chain(&content.failure).for_each(|error| self.problem_of(&mut node, error));
        self.counts.read_bytes += content.read;
        let finished = match source.finish() {
            _ if content.failure.is_some() => return Ok(Looked::Node(Box::new(node))),
            Ok(finished) => finished,
            Err(error) => {
                self.problem_of(&mut node, &error);
                return Ok(Looked::Node(Box::new(node)));
            }
        };
        match finished.change {
            None => {
                make_certain(&mut node, &stat, now);
                self.links.keep(&node, &stat)?;
            }
            Some(change) => {
                if let Some(words) = change_in_words(change) {
                    self.problem(&format!("{}: {words}", path.display()));
                    add_problem(&mut node, words);
                }
            }
        }
        Ok(Looked::Node(Box::new(node)))
    }
}
