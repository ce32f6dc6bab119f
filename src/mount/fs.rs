//! Answers the kernel. What it asks is found in the tree; what is read comes from open files; what goes
//! wrong is an error for the program that asked and a line in the log for people.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};

use crate::base::class::Class;
use crate::mount::attr::{self, attr, file_type};
use crate::mount::inode::What;
use crate::mount::kept::Kept;
use crate::mount::offset::{offset_after, place};
use crate::mount::push::{Opening, Push};
use crate::mount::tree::{Found, Stored, Thing, Tree};
use crate::repo::Error;
use crate::vfs::{OpenFile, ReadCache, Sought};

/// How long the kernel may believe what it is told of a snapshot, which never changes.
const FOR_EVER: Duration = Duration::from_secs(1 << 31);
/// The largest read that the kernel is offered.
const READ_MAX: u32 = 1 << 20;
/// Reads that the kernel may send ahead of programs.
const BACKGROUND: u16 = 32;
/// Files that are kept open because they were read last.
const READ_KEPT: usize = 256;
/// Messages that are remembered, so that each is said once.
const SAID_MAX: usize = 4096;
/// What `lseek` looks for, as Linux numbers it (`include/uapi/linux/fs.h`).
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;
/// The number under which nothing is open.
const NO_HANDLE: FileHandle = FileHandle(0);

thread_local! {
    /// What a thread answers a read with; at most [`READ_MAX`] bytes.
    static ANSWER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The children of a folder above the snapshots, as they were when it was opened.
type Above = Arc<Vec<(String, What)>>;

/// The file system.
pub struct Files {
    tree: Arc<Tree>,
    push: Push,
    fallback: attr::Fallback,
    cache: Arc<ReadCache>,
    /// Whether the kernel is to judge by modes and ACLs who may read what.
    judged: bool,
    /// Whether every file's length is known, so that the kernel need not ask to open one.
    unasked: bool,
    files: Mutex<HashMap<u64, Arc<OpenFile>>>,
    /// Files that were read without having been opened, by inode.
    read: Mutex<Kept<u64, Arc<OpenFile>>>,
    folders: Mutex<HashMap<u64, Above>>,
    handles: AtomicU64,
    said: Mutex<HashSet<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Files {
    /// The file system that shows `tree`, with a cache for what is read.
    pub fn new(tree: Tree, fallback: attr::Fallback, cache: Arc<ReadCache>, judged: bool) -> Self {
        let tree = Arc::new(tree);
        Files {
            push: Push::new(tree.clone(), cache.clone()),
            tree,
            fallback,
            cache,
            judged,
            unasked: false,
            files: Mutex::default(),
            read: Mutex::new(Kept::new(READ_KEPT)),
            folders: Mutex::default(),
            handles: AtomicU64::new(1),
            said: Mutex::default(),
        }
    }

    /// The way to the kernel, to be opened when it is mounted.
    pub fn opening(&self) -> Opening {
        self.push.opening()
    }

    /// How long the kernel may believe what it is told of `thing` and its name.
    fn believed(&self, thing: &Thing, parent: u64) -> Duration {
        let above = || match self.tree.thing(parent) {
            Ok(Some(Thing::Stored(_))) => FOR_EVER,
            _ => Duration::from_secs(self.tree.catalog().believed()),
        };
        match thing {
            // A snapshot's top is found by a name above it, which may go.
            Thing::Stored(stored) if stored.item.name().is_empty() => above(),
            Thing::Stored(_) => FOR_EVER,
            Thing::Spot(_) | Thing::Link(_) => Duration::from_secs(self.tree.catalog().believed()),
        }
    }

    fn attr(&self, number: u64, thing: &Thing) -> FileAttr {
        attr(number, thing, &self.fallback)
    }

    /// What a program is told of an error; people are told in the log.
    fn failed(&self, number: u64, doing: &str, error: &Error) -> Errno {
        if error.class() == Class::Interrupted {
            return Errno::EINTR;
        }
        let message = format!("{doing} {}: {error}", self.tree.path(number));
        let mut said = lock(&self.said);
        if said.len() < SAID_MAX && said.insert(message.clone()) {
            self.tree.catalog().monitor().warn(&message);
        }
        if error.class() == Class::Denied { Errno::EACCES } else { Errno::EIO }
    }

    fn thing(&self, number: INodeNo) -> Result<Thing, Errno> {
        match self.tree.thing(number.0) {
            Ok(Some(thing)) => Ok(thing),
            Ok(None) => Err(Errno::ESTALE),
            Err(error) => Err(self.failed(number.0, "looking at", &error)),
        }
    }

    fn stored(&self, number: INodeNo) -> Result<Option<Stored>, Errno> {
        match self.thing(number)? {
            Thing::Stored(stored) => Ok(Some(stored)),
            Thing::Spot(_) | Thing::Link(_) => Ok(None),
        }
    }

    fn handle(&self) -> FileHandle {
        FileHandle(self.handles.fetch_add(1, Ordering::Relaxed))
    }

    fn file(&self, number: u64) -> Result<Arc<OpenFile>, Errno> {
        let Some(stored) = self.stored(INodeNo(number))? else { return Err(Errno::EISDIR) };
        let open = stored.entry().and_then(|entry| stored.view.open(&entry, &self.cache));
        open.map(Arc::new).map_err(|error| self.failed(number, "opening", &error))
    }

    fn open_file(&self, number: INodeNo) -> Result<(FileHandle, FopenFlags), Errno> {
        if self.unasked {
            // By this the kernel knows that it need not ask again, for any file.
            return Err(Errno::ENOSYS);
        }
        let file = self.file(number.0)?;
        // What a program reads to its end, since nobody knows beforehand how long it is.
        let unsized_file = file.size().is_none();
        let flags = if unsized_file { FopenFlags::FOPEN_DIRECT_IO } else { FopenFlags::FOPEN_KEEP_CACHE };
        let handle = self.handle();
        lock(&self.files).insert(handle.0, file);
        Ok((handle, flags | FopenFlags::FOPEN_NOFLUSH))
    }

    fn open_folder(&self, number: INodeNo) -> Result<(FileHandle, FopenFlags), Errno> {
        match self.thing(number)? {
            Thing::Spot(spot) => {
                let handle = self.handle();
                lock(&self.folders).insert(handle.0, Arc::new(self.tree.above(&spot)));
                Ok((handle, FopenFlags::empty()))
            }
            Thing::Link(_) => Err(Errno::ENOTDIR),
            Thing::Stored(_) => Ok((NO_HANDLE, FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE)),
        }
    }

    fn opened(&self, number: u64, handle: FileHandle) -> Result<Arc<OpenFile>, Errno> {
        if handle != NO_HANDLE {
            return lock(&self.files).get(&handle.0).cloned().ok_or(Errno::EBADF);
        }
        if let Some(file) = lock(&self.read).get(&number) {
            return Ok(file);
        }
        let file = self.file(number)?;
        lock(&self.read).keep(number, file.clone());
        Ok(file)
    }

    fn read_file(
        &self,
        number: u64,
        handle: FileHandle,
        offset: u64,
        len: u32,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Errno> {
        bytes.clear();
        self.opened(number, handle)?.read_at(offset, len as usize, bytes).map_err(|error| {
            let doing = format!("reading {len} bytes at {offset} of");
            self.failed(number, &doing, &error)
        })
    }

    /// The place that `lseek` looks for; the kernel itself knows the other ways to move.
    fn seek(&self, number: u64, handle: FileHandle, offset: i64, whence: i32) -> Result<i64, Errno> {
        let sought = match whence {
            SEEK_DATA => Sought::Data,
            SEEK_HOLE => Sought::Hole,
            _ => return Err(Errno::EINVAL),
        };
        let offset = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
        let file = self.opened(number, handle)?;
        let found = file.seek(offset, sought).map_err(|error| self.failed(number, "looking into", &error))?;
        found.and_then(|place| i64::try_from(place).ok()).ok_or(Errno::ENXIO)
    }

    /// Gives `each` the entries of a folder after `offset`, with the offsets that follow them, until it says
    /// that there is no room.
    fn read_folder(
        &self,
        number: u64,
        handle: FileHandle,
        offset: u64,
        each: &mut dyn FnMut(u64, &Found, &[u8]) -> bool,
    ) -> Result<(), Errno> {
        let parent = self.tree.parent(number);
        for (at, (name, number)) in (1..).zip([(b".".as_slice(), number), (b"..", parent)]) {
            let dots = || Some(Found { number, thing: self.tree.thing(number).ok()?? });
            if offset < at
                && let Some(found) = dots()
                && !each(at, &found, name)
            {
                return Ok(());
            }
        }
        if handle != NO_HANDLE {
            let above = lock(&self.folders).get(&handle.0).cloned().ok_or(Errno::EBADF)?;
            return self.read_above(number, &above, offset, each);
        }
        let read = self.tree.children(number, place(offset), &mut |found, name, (page, at)| {
            each(offset_after(page, at), found, name)
        });
        read.map_err(|error| self.failed(number, "listing", &error))
    }

    fn read_above(
        &self,
        number: u64,
        above: &Above,
        offset: u64,
        each: &mut dyn FnMut(u64, &Found, &[u8]) -> bool,
    ) -> Result<(), Errno> {
        let (_, from) = place(offset);
        for (at, (name, what)) in above.iter().enumerate().skip(from) {
            let found = self.tree.found_above(number, name.as_bytes(), what);
            let found = found.map_err(|error| self.failed(number, "listing", &error))?;
            if !each(offset_after(0, at), &found, name.as_bytes()) {
                self.tree.forget(found.number, 1);
                break;
            }
        }
        Ok(())
    }

    fn xattr(&self, number: INodeNo, name: &[u8]) -> Result<Vec<u8>, Errno> {
        let Some(stored) = self.stored(number)? else { return Err(Errno::NO_XATTR) };
        let xattrs = stored.item.meta().map_or(&[][..], |meta| &meta.xattrs);
        let found = xattrs.iter().find(|xattr| xattr.name == name);
        found.map(|xattr| xattr.value.clone()).ok_or(Errno::NO_XATTR)
    }

    fn xattrs(&self, number: INodeNo) -> Result<Vec<u8>, Errno> {
        let Some(stored) = self.stored(number)? else { return Ok(Vec::new()) };
        let xattrs = stored.item.meta().map_or(&[][..], |meta| &meta.xattrs);
        Ok(xattrs.iter().flat_map(|xattr| xattr.name.iter().copied().chain([0])).collect())
    }
}

fn is_dots(name: &[u8]) -> bool {
    matches!(name, b"." | b"..")
}

impl Filesystem for Files {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let mut wanted = InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_CACHE_SYMLINKS
            | InitFlags::FUSE_ASYNC_DIO;
        if self.judged {
            wanted |= InitFlags::FUSE_POSIX_ACL;
        }
        self.unasked =
            !self.tree.shows_csv() && config.capabilities().contains(InitFlags::FUSE_NO_OPEN_SUPPORT);
        // What an older kernel cannot do is slower and not wrong.
        let _ = config.add_capabilities(wanted & config.capabilities());
        let _ = config.set_max_write(READ_MAX);
        let _ = config.set_max_background(BACKGROUND);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.tree.look_up(parent.0, name.as_bytes()) {
            Ok(Some(found)) => {
                let believed = self.believed(&found.thing, parent.0);
                reply.entry(&believed, &self.attr(found.number, &found.thing), Generation(0));
            }
            Ok(None) => reply.error(Errno::ENOENT),
            Err(error) => reply.error(self.failed(parent.0, "looking for a name in", &error)),
        }
    }

    fn forget(&self, _: &Request, number: INodeNo, times: u64) {
        self.tree.forget(number.0, times);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.thing(number) {
            Ok(thing) => {
                let believed = self.believed(&thing, self.tree.parent(number.0));
                reply.attr(&believed, &self.attr(number.0, &thing));
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: ReplyData) {
        match self.thing(number) {
            Ok(Thing::Link(target)) => reply.data(target.as_bytes()),
            Ok(Thing::Stored(stored)) => match attr::target(&stored) {
                Some(target) => reply.data(target),
                None => reply.error(Errno::EINVAL),
            },
            Ok(Thing::Spot(_)) => reply.error(Errno::EINVAL),
            Err(errno) => reply.error(errno),
        }
    }

    fn open(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.open_file(number) {
            Ok((handle, flags)) => reply.opened(handle, flags),
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        len: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        if offset == 0 {
            self.push.asked(number.0);
        }
        ANSWER.with_borrow_mut(|bytes| {
            match self.read_file(number.0, handle, offset, len.min(READ_MAX), bytes) {
                Ok(()) => reply.data(bytes),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        lock(&self.files).remove(&handle.0);
        reply.ok();
    }

    fn opendir(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.open_folder(number) {
            Ok((handle, flags)) => reply.opened(handle, flags),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let read = self.read_folder(number.0, handle, offset, &mut |after, found, name| {
            let kind = match &found.thing {
                Thing::Spot(_) => FileType::Directory,
                Thing::Link(_) => FileType::Symlink,
                Thing::Stored(stored) => file_type(stored.item.kind()),
            };
            let full = reply.add(INodeNo(found.number), after, kind, OsStr::from_bytes(name));
            if !full && !is_dots(name) {
                // A name alone does not make the kernel remember what it stands for.
                self.tree.forget(found.number, 1);
            }
            !full
        });
        match read {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let mut told = offset;
        let read = self.read_folder(number.0, handle, offset, &mut |after, found, name| {
            let attr = self.attr(found.number, &found.thing);
            let believed = self.believed(&found.thing, number.0);
            let name = OsStr::from_bytes(name);
            let full = reply.add(INodeNo(found.number), after, name, &believed, &attr, Generation(0));
            if !full {
                told = after;
            }
            !full
        });
        match read {
            Ok(()) => {
                reply.ok();
                if handle == NO_HANDLE {
                    self.push.listed(number.0, place(told));
                }
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        lock(&self.folders).remove(&handle.0);
        reply.ok();
    }

    fn lseek(
        &self,
        _: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        match self.seek(number.0, handle, offset, whence) {
            Ok(place) => reply.offset(place),
            Err(errno) => reply.error(errno),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let snapshots = self.tree.catalog().last();
        let sum = |of: fn(&crate::format::root::Stats) -> u64| {
            snapshots.iter().map(|known| of(&known.snapshot.root.stats)).fold(0u64, u64::saturating_add)
        };
        let blocks = sum(|stats| stats.source_bytes).div_ceil(4096);
        reply.statfs(blocks, 0, 0, sum(|stats| stats.items), 0, 4096, 255, 4096);
    }

    fn getxattr(&self, _: &Request, number: INodeNo, name: &OsStr, len: u32, reply: ReplyXattr) {
        answer(self.xattr(number, name.as_bytes()), len, reply);
    }

    fn listxattr(&self, _: &Request, number: INodeNo, len: u32, reply: ReplyXattr) {
        answer(self.xattrs(number), len, reply);
    }
}

/// Answers with a value, or with its length if that is all that was asked for.
fn answer(value: Result<Vec<u8>, Errno>, len: u32, reply: ReplyXattr) {
    match value {
        Ok(value) if len == 0 => reply.size(value.len() as u32),
        Ok(value) if value.len() > len as usize => reply.error(Errno::ERANGE),
        Ok(value) => reply.data(&value),
        Err(errno) => reply.error(errno),
    }
}
