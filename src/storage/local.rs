//! Objects as files on a local disk, durable when `put_new` returns (I-1) and never seen half
//! written or replaced (I-4).
//!
//! An object is written to a temporary file in its folder, synced, renamed without replacing, and
//! the folder is synced. A folder's own entry, the root's too, is synced in its parent once per process, even if
//! somebody else made it: they may not have come that far yet. After a sync failed, the kernel may
//! report the next one as a success although the data is lost, so no sync is tried again and the
//! backend refuses to write from then on.
//!
//! Not here: which names mean what, retries (nothing on a local disk is worth one).

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::error::{Error, ErrorKind};
use super::name;
use super::{Backend, CreateIfAbsent, Entry};
use crate::base::clock::Timestamp;
use crate::base::id::hex;

/// Begins the names of files that are still being written; no object's name begins so.
const TEMPORARY: &str = ".tmp-";
const FILE_MODE: Mode = Mode::from_raw_mode(0o600);
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o700);
const FOLDER_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
// Not blocking, lest a stray FIFO hangs us.
const READ_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);
/// Buffer for comparing an object with the bytes it should have.
const COMPARE_BUFFER: usize = 128 << 10;

/// A folder on a local disk.
#[derive(Debug)]
pub struct Local {
    path: PathBuf,
    /// Held open: should the disk vanish, nothing is written to what lies below its mount point.
    root: OnceLock<OwnedFd>,
    /// Whether this process has synced the root's own entry in its parent.
    durable_root: OnceLock<()>,
    /// Folders whose entries this process has synced in their parents.
    durable_folders: Mutex<HashSet<String>>,
    /// Why nothing may be written any more: a sync failed.
    failed_sync: OnceLock<String>,
}

impl Local {
    /// The folder at `path`. It need not exist: the first object makes it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let local = Local {
            path: path.into(),
            root: OnceLock::new(),
            durable_root: OnceLock::new(),
            durable_folders: Mutex::default(),
            failed_sync: OnceLock::new(),
        };
        match local.root() {
            Ok(_) | Err(Errno::NOENT) => Ok(local),
            Err(Errno::NOTDIR) => {
                Err(Error::new(ErrorKind::Config, "open", "", local.location(), "this is not a folder"))
            }
            Err(errno) => Err(local.error("open", "", errno)),
        }
    }

    fn root(&self) -> Result<BorrowedFd<'_>, Errno> {
        if let Some(root) = self.root.get() {
            return Ok(root.as_fd());
        }
        let root = rustix::fs::open(&self.path, FOLDER_FLAGS, Mode::empty())?;
        Ok(self.root.get_or_init(|| root).as_fd())
    }

    /// The root, made with its parents if it is not there, and durable.
    fn make_root(&self) -> io::Result<BorrowedFd<'_>> {
        if let Ok(root) = self.root() {
            if self.durable_root.get().is_none() {
                sync_parent(root)?;
                self.durable_root.get_or_init(|| ());
            }
            return Ok(root);
        }
        let path = std::path::absolute(&self.path)?;
        let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
        for folder in missing.into_iter().rev() {
            let parent = folder.parent().unwrap_or(Path::new("/"));
            accept(rustix::fs::mkdir(folder, FOLDER_MODE), Errno::EXIST)?;
            sync_folder(rustix::fs::open(parent, FOLDER_FLAGS, Mode::empty())?)?;
        }
        self.durable_root.get_or_init(|| ());
        Ok(self.root()?)
    }

    /// Opens the folder (without a slash at its end; empty for the root) for a new object in it.
    fn make_folder(&self, root: BorrowedFd<'_>, folder: &str) -> io::Result<OwnedFd> {
        let slashes = folder.match_indices('/').map(|(at, _)| at);
        let mut parent = rustix::fs::openat(root, ".", FOLDER_FLAGS, Mode::empty())?;
        for end in slashes.chain(std::iter::once(folder.len())).filter(|end| *end > 0) {
            let path = &folder[..end];
            let part = path.rsplit('/').next().unwrap_or(path);
            if !self.is_durable(path) {
                accept(rustix::fs::mkdirat(&parent, part, FOLDER_MODE), Errno::EXIST)?;
                sync_folder(&parent)?;
                self.durable_folders.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned());
            }
            parent = rustix::fs::openat(&parent, part, FOLDER_FLAGS, Mode::empty())?;
        }
        Ok(parent)
    }

    fn is_durable(&self, folder: &str) -> bool {
        self.durable_folders.lock().unwrap_or_else(PoisonError::into_inner).contains(folder)
    }

    /// The folder of the object `name`, and what it is called there.
    fn folder_of<'n>(&self, name: &'n str) -> io::Result<(OwnedFd, &'n str)> {
        let (folder, file_name) = name.rsplit_once('/').unwrap_or(("", name));
        let root = self.make_root()?;
        Ok((self.make_folder(root, folder)?, file_name))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> io::Result<Created> {
        let (folder, file_name) = self.folder_of(name)?;
        // The common case for content-addressed objects that a lost run has stored already.
        if let Some(there) = open_existing(&folder, file_name)? {
            return self.confirm(&folder, there, bytes);
        }
        let temporary = Temporary::write(&folder, bytes)?;
        match temporary.publish(file_name) {
            Err(error) if error.raw_os_error() == Some(Errno::EXIST.raw_os_error()) => {
                match open_existing(&folder, file_name)? {
                    Some(there) => self.confirm(&folder, there, bytes),
                    None => Ok(Created::Differs),
                }
            }
            published => {
                published?;
                sync_folder(&folder)?;
                Ok(Created::Done)
            }
        }
    }

    /// An object of this name is there. If it has these bytes, it is as good as created once it is
    /// durable: whoever made it may not have synced it yet, or may have died before.
    fn confirm(&self, folder: &OwnedFd, there: File, bytes: &[u8]) -> io::Result<Created> {
        if !same_bytes(&there, bytes)? {
            return Ok(Created::Differs);
        }
        sync(&there)?;
        sync_folder(folder)?;
        Ok(Created::Done)
    }

    fn sync_existing(&self, name: &str) -> io::Result<()> {
        let (folder, file_name) = self.folder_of(name)?;
        sync(open_existing(&folder, file_name)?.ok_or(Errno::NOENT)?)?;
        sync_folder(&folder)
    }

    /// Fails if nothing may be written any more.
    fn check_syncs(&self, action: &'static str, name: &str) -> Result<(), Error> {
        match self.failed_sync.get() {
            Some(reason) => Err(Error::new(ErrorKind::Other, action, name, self.location(), reason)),
            None => Ok(()),
        }
    }

    fn open_object(&self, action: &'static str, name: &str) -> Result<(File, u64), Error> {
        name::check(action, name, &self.location())?;
        let open = || {
            let file = File::from(rustix::fs::openat(self.root()?, name, READ_FLAGS, Mode::empty())?);
            let metadata = file.metadata()?;
            // A folder or device at an object's name is not an object.
            if !metadata.is_file() {
                return Err(io::Error::from(Errno::NOENT));
            }
            Ok((file, metadata.len()))
        };
        open().map_err(|error| self.io_error(action, name, &error))
    }

    /// Appends a span that lies within the file.
    fn read_span(&self, name: &str, file: &File, span: Range<u64>, into: &mut Vec<u8>) -> Result<(), Error> {
        let start = into.len();
        into.reserve_exact((span.end - span.start) as usize);
        into.resize(start + (span.end - span.start) as usize, 0);
        file.read_exact_at(&mut into[start..], span.start).map_err(|error| {
            into.truncate(start);
            self.io_error("read", name, &error)
        })
    }

    /// Calls `each` with every file of `folder` and of the folders in it. Symbolic links are
    /// followed, as a folder may have been moved to another disk.
    fn walk(&self, folder: &str, depth: usize, each: &mut EachFile<'_>) -> Result<(), Error> {
        let fail = |errno: Errno| self.error("list", folder, errno);
        let path = if folder.is_empty() { "." } else { folder };
        let opened = self.root().and_then(|root| rustix::fs::openat(root, path, FOLDER_FLAGS, Mode::empty()));
        let fd = match opened {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(errno) => return Err(fail(errno)),
        };
        for entry in Dir::read_from(&fd).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let Ok(file) = entry.file_name().to_str() else { continue };
            if !name::is_part(file) && !file.starts_with(TEMPORARY) {
                continue;
            }
            let is_folder = match entry.file_type() {
                FileType::Directory => true,
                FileType::RegularFile => false,
                _ => match rustix::fs::statat(&fd, file, AtFlags::empty()) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode).is_dir(),
                    Err(Errno::NOENT | Errno::LOOP) => continue,
                    Err(errno) => return Err(fail(errno)),
                },
            };
            if !is_folder {
                accept(each(&fd, folder, file), Errno::NOENT).map_err(fail)?;
            } else if depth < name::PARTS_MAX && name::is_part(file) {
                self.walk(&format!("{folder}{file}/"), depth + 1, each)?;
            }
        }
        Ok(())
    }

    fn error(&self, action: &'static str, object: &str, errno: Errno) -> Error {
        self.io_error(action, object, &io::Error::from(errno))
    }

    fn io_error(&self, action: &'static str, object: &str, error: &io::Error) -> Error {
        let sync_failed = error.get_ref().and_then(|inner| inner.downcast_ref::<SyncFailed>());
        let errno = match sync_failed {
            Some(SyncFailed(errno)) => Some(*errno),
            None => error.raw_os_error().map(Errno::from_raw_os_error),
        };
        let kind = match errno {
            Some(Errno::NOENT | Errno::NOTDIR) => ErrorKind::NotFound,
            Some(Errno::NOSPC | Errno::DQUOT) => ErrorKind::Full,
            Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => ErrorKind::Permission,
            None if error.kind() == io::ErrorKind::UnexpectedEof => ErrorKind::Truncated,
            _ => ErrorKind::Other,
        };
        let mut reason = match kind {
            ErrorKind::NotFound => "there is no such object".to_owned(),
            _ => error.to_string(),
        };
        if sync_failed.is_some() {
            reason.push_str("; nothing more is written here");
            self.failed_sync.get_or_init(|| reason.clone());
        }
        Error::new(kind, action, object, self.location(), reason)
    }
}

/// Receives a file: the open folder, the folder's name with its slash, and the name in it.
type EachFile<'a> = dyn FnMut(&OwnedFd, &str, &str) -> Result<(), Errno> + 'a;

enum Created {
    Done,
    Differs,
}

impl Backend for Local {
    fn location(&self) -> String {
        self.path.display().to_string()
    }

    fn create_if_absent(&self) -> CreateIfAbsent {
        CreateIfAbsent::Atomic
    }

    fn is_local(&self) -> bool {
        true
    }

    fn get(&self, name: &str, max: u64) -> Result<Vec<u8>, Error> {
        let (file, size) = self.open_object("read", name)?;
        if size > max {
            let reason = format!("it has {size} bytes where at most {max} are allowed");
            return Err(Error::new(ErrorKind::TooLarge, "read", name, self.location(), reason));
        }
        let mut bytes = Vec::new();
        self.read_span(name, &file, 0..size, &mut bytes)?;
        Ok(bytes)
    }

    fn get_range(&self, name: &str, range: Range<u64>, into: &mut Vec<u8>) -> Result<(), Error> {
        let (file, size) = self.open_object("read", name)?;
        // Before memory is taken: the range may come from a damaged index (I-9).
        if range.end > size || range.start > range.end {
            let reason = format!("it ends at {size}, before {}", range.end);
            return Err(Error::new(ErrorKind::Truncated, "read", name, self.location(), reason));
        }
        self.read_span(name, &file, range, into)
    }

    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        name::check("create", name, &self.location())?;
        self.check_syncs("create", name)?;
        match self.create(name, bytes) {
            Ok(Created::Done) => Ok(()),
            Ok(Created::Differs) => Err(Error::exists(name, self.location())),
            Err(error) => match self.io_error("create", name, &error) {
                // A missing folder is no missing object: nothing was asked to be there.
                error if error.kind == ErrorKind::NotFound => {
                    let reason = "its folder is missing";
                    Err(Error::new(ErrorKind::Other, "create", name, self.location(), reason))
                }
                error => Err(error),
            },
        }
    }

    fn prepare(&self, name: &str) -> Result<(), Error> {
        name::check("create", name, &self.location())?;
        self.check_syncs("create", name)?;
        self.folder_of(name).map(drop).map_err(|error| self.io_error("create", name, &error))
    }

    fn make_durable(&self, name: &str) -> Result<(), Error> {
        name::check("sync", name, &self.location())?;
        self.check_syncs("sync", name)?;
        self.sync_existing(name).map_err(|error| self.io_error("sync", name, &error))
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Entry)) -> Result<(), Error> {
        name::check_prefix(prefix, &self.location())?;
        let depth = 1 + prefix.matches('/').count();
        self.walk(prefix, depth, &mut |fd, folder, file| {
            if !name::is_part(file) {
                return Ok(());
            }
            let stat = rustix::fs::statat(fd, file, AtFlags::empty())?;
            if FileType::from_raw_mode(stat.st_mode).is_file() {
                let size = u64::try_from(stat.st_size).unwrap_or_default();
                each(Entry { name: format!("{folder}{file}"), size });
            }
            Ok(())
        })
    }

    fn stat(&self, name: &str) -> Result<Option<u64>, Error> {
        match self.open_object("stat", name) {
            Ok((_, size)) => Ok(Some(size)),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Durable too: were a deletion undone by a crash, a snapshot could come back whose packs do not.
    fn delete(&self, name: &str) -> Result<(), Error> {
        name::check("delete", name, &self.location())?;
        let (folder, file) = name.rsplit_once('/').unwrap_or((".", name));
        let delete = || {
            let folder = rustix::fs::openat(self.root()?, folder, FOLDER_FLAGS, Mode::empty())?;
            rustix::fs::unlinkat(&folder, file, AtFlags::empty())?;
            sync_folder(&folder)
        };
        match delete().map_err(|error| self.io_error("delete", name, &error)) {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn sweep_temporary(&self, before: Timestamp) -> Result<u64, Error> {
        let mut swept = 0;
        self.walk("", 1, &mut |folder, _, file| {
            if !file.starts_with(TEMPORARY) {
                return Ok(());
            }
            let stat = rustix::fs::statat(folder, file, AtFlags::SYMLINK_NOFOLLOW)?;
            if i128::from(stat.st_mtime) * 1_000_000_000 < i128::from(before.0) {
                rustix::fs::unlinkat(folder, file, AtFlags::empty())?;
                swept += 1;
            }
            Ok(())
        })?;
        Ok(swept)
    }
}

/// A file that has no object's name yet, removed unless it gets one.
struct Temporary<'a> {
    folder: &'a OwnedFd,
    name: String,
}

impl<'a> Temporary<'a> {
    /// Writes `bytes` to a new file in `folder` and syncs it.
    fn write(folder: &'a OwnedFd, bytes: &[u8]) -> io::Result<Self> {
        let mut random = [0u8; 16];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let name = format!("{TEMPORARY}{}", hex(&random));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(folder, &name, flags, FILE_MODE)?);
        let temporary = Temporary { folder, name };
        file.write_all(bytes)?;
        // Not `sync`: these bytes get no name if it fails, so a later attempt begins with new ones.
        rustix::fs::fsync(&file)?;
        Ok(temporary)
    }

    /// Gives the file its name unless that is taken (`EEXIST`).
    fn publish(&self, name: &str) -> io::Result<()> {
        let (fd, from) = (self.folder, self.name.as_str());
        match rustix::fs::renameat_with(fd, from, fd, name, RenameFlags::NOREPLACE) {
            // The file system or the kernel lacks the flag; a link does not replace either, and the
            // temporary name goes when `self` does. Failing that there is no safe way.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => self.publish_by_link(name),
            renamed => Ok(renamed?),
        }
    }
}

impl Temporary<'_> {
    fn publish_by_link(&self, name: &str) -> io::Result<()> {
        rustix::fs::linkat(self.folder, &self.name, self.folder, name, AtFlags::empty()).map_err(|errno| {
            match errno {
                Errno::PERM | Errno::NOTSUP | Errno::NOSYS | Errno::INVAL => io::Error::other(
                    "this file system can neither rename without replacing nor make hard links",
                ),
                errno => errno.into(),
            }
        })
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        // Gone already if it was renamed; otherwise left for `sweep_temporary` if this fails.
        let _ = rustix::fs::unlinkat(self.folder, &self.name, AtFlags::empty());
    }
}

fn open_existing(folder: &OwnedFd, name: &str) -> io::Result<Option<File>> {
    match rustix::fs::openat(folder, name, READ_FLAGS, Mode::empty()) {
        Ok(fd) => Ok(Some(File::from(fd))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn same_bytes(mut file: &File, bytes: &[u8]) -> io::Result<bool> {
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() != bytes.len() as u64 {
        return Ok(false);
    }
    let mut buffer = vec![0u8; bytes.len().clamp(1, COMPARE_BUFFER)];
    let mut rest = bytes;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(rest.is_empty()),
            Ok(n) => match rest.split_at_checked(n) {
                Some((head, tail)) if head == &buffer[..n] => rest = tail,
                _ => return Ok(false),
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A sync that failed: what it should have made durable may be lost although it can be read.
#[derive(Debug, thiserror::Error)]
#[error("syncing to disk failed: {0}")]
struct SyncFailed(Errno);

fn sync(fd: impl AsFd) -> io::Result<()> {
    rustix::fs::fsync(fd).map_err(|errno| io::Error::other(SyncFailed(errno)))
}

/// Syncs a folder. Some file systems have no such operation and say so; there it can do no harm.
fn sync_folder(fd: impl AsFd) -> io::Result<()> {
    match rustix::fs::fsync(fd) {
        Ok(()) | Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Ok(()),
        Err(errno) => Err(io::Error::other(SyncFailed(errno))),
    }
}

/// Syncs the entry of a folder that was there before us in the folder above it. Where that is not ours
/// to look at, somebody else has made the entry, and long ago.
fn sync_parent(folder: BorrowedFd<'_>) -> io::Result<()> {
    match rustix::fs::openat(folder, "..", FOLDER_FLAGS, Mode::empty()) {
        Ok(parent) => sync_folder(parent),
        Err(Errno::ACCESS | Errno::PERM) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn accept(result: Result<(), Errno>, errno: Errno) -> Result<(), Errno> {
    match result {
        Err(error) if error == errno => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_link_publishes_where_a_rename_cannot() {
        let folder = tempfile::tempdir().unwrap();
        let fd = rustix::fs::open(folder.path(), FOLDER_FLAGS, Mode::empty()).unwrap();
        for (bytes, published) in [(b"first", true), (b"other", false)] {
            let temporary = Temporary::write(&fd, bytes).unwrap();
            let result = temporary.publish_by_link("x");
            assert_eq!(result.is_ok(), published);
            assert!(published || result.unwrap_err().raw_os_error() == Some(Errno::EXIST.raw_os_error()));
        }
        assert_eq!(std::fs::read(folder.path().join("x")).unwrap(), b"first");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "the temporary names are gone");
    }

    #[test]
    fn nothing_is_written_after_a_sync_failed() {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::open(folder.path()).unwrap();
        local.put_new("before", b"x").unwrap();
        let error = local.io_error("create", "x", &io::Error::other(SyncFailed(Errno::IO)));
        assert_eq!(error.kind, ErrorKind::Other);
        let error = local.put_new("after", b"x").unwrap_err();
        assert!(error.reason.contains("syncing to disk failed: Input/output error"), "{error}");
        assert_eq!(local.get("before", 1).unwrap(), b"x");
        assert_eq!(local.stat("after").unwrap(), None);
    }
}
