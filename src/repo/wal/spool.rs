//! The spool: WAL that was received and is not in the repository yet, on this machine's disk. A frame is
//! durable when it is appended, so that its end may be acknowledged; what a crash leaves of the next one is
//! cut off. Files are sealed to the signer who wrote them (`format-spec/wal.md`, "The spool").
//!
//! One file holds one segment from its first byte on, and is called as the segment is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rustix::fs::{FlockOperation, flock};

use crate::base::clock::Timestamp;
use crate::base::limits::WAL_FILE_MAX;
use crate::crypto::{Domain, Place, Random, TAG_LEN};
use crate::repo::index::make_private_dir;
use crate::repo::keys::Keys;
use crate::repo::{Error, Unlocked};

/// How a file begins: what it is, and its version.
const MAGIC: &[u8; 8] = b"KVSPOOL\x01";
/// Bytes before a frame's sealed ones: the length of its plaintext, and its salt.
const FRAME_HEAD: usize = 4 + 32;
/// Says which repository and signer it is of.
const OWNER: &str = "owner";
/// Most plaintext of one frame.
pub const FRAME_MAX: usize = 1 << 20;
/// Locked by the process that writes.
const LOCK: &str = "lock";

/// A spool.
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    _lock: Lock,
}

/// What one process at a time holds.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone would not do: a process that is being started at this moment has the file as well,
        // until its program begins. If this fails, that is how long it takes.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// A file that grows.
pub struct SpoolFile {
    file: File,
    path: PathBuf,
    name: String,
    /// Plaintext bytes in it.
    len: u64,
    sealed: Vec<u8>,
}

impl SpoolFile {
    /// Bytes that are in it, and durable.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends `plain`, at most [`FRAME_MAX`] bytes of it; durable when it returns. After a failure the file
    /// is to be opened again: nobody knows what of it is on the disk.
    pub fn append(&mut self, keys: &Keys, random: &dyn Random, plain: &[u8]) -> Result<(), Error> {
        let salt: [u8; 32] = random.array().map_err(Error::crypto("the spool"))?;
        self.sealed.clear();
        self.sealed.extend_from_slice(&(plain.len() as u32).to_le_bytes());
        self.sealed.extend_from_slice(&salt);
        self.sealed.resize(FRAME_HEAD + plain.len() + TAG_LEN, 0);
        let header = header(&salt);
        let sealed = self.sealed.get_mut(FRAME_HEAD..).unwrap_or_default();
        keys.spool_key(&salt)
            .seal_into(place(&header, self.len, &self.name), plain, sealed)
            .map_err(Error::crypto("the spool"))?;
        let written = self.file.write_all(&self.sealed).and_then(|()| self.file.sync_data());
        written.map_err(failed(&self.path))?;
        self.len += plain.len() as u64;
        Ok(())
    }
}

impl Spool {
    /// The spool in `dir`, which is made if need be, and for this process alone until it is dropped. One that
    /// another key writes is refused: what it holds cannot be opened, and would pass for torn.
    pub fn open(repo: &Unlocked, dir: &Path) -> Result<Self, Error> {
        make_private_dir(dir).and_then(|()| sync_above(dir)).map_err(failed(dir))?;
        let path = dir.join(LOCK);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(&path).map_err(failed(&path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                let lock = Lock(lock);
                own(repo, dir)?;
                Ok(Spool { dir: dir.to_owned(), _lock: lock })
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                Err(Error::InUse { what: format!("the spool {}", dir.display()) })
            }
            Err(e) => Err(failed(&path)(e.into())),
        }
    }

    /// Names of its files, in order.
    pub fn names(&self) -> Result<Vec<String>, Error> {
        Ok(files(&self.dir).map_err(failed(&self.dir))?.into_iter().map(|(name, _)| name).collect())
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> Result<u64, Error> {
        Ok(files(&self.dir).map_err(failed(&self.dir))?.iter().map(|(_, bytes)| bytes).sum())
    }

    /// Begins a file, which must not be there.
    pub fn begin(&self, name: &str) -> Result<SpoolFile, Error> {
        let path = self.dir.join(name);
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let mut file = made.map_err(failed(&path))?;
        let begun = file.write_all(MAGIC).and_then(|()| file.sync_all());
        begun.and_then(|()| File::open(&self.dir)?.sync_all()).map_err(failed(&path))?;
        Ok(SpoolFile { file, path, name: name.to_owned(), len: 0, sealed: Vec::new() })
    }

    /// Goes on with a file: what a crash left of its last frame is cut off. Its entry is durable then, too: whoever
    /// began it may not have come to that.
    pub fn resume(&self, repo: &Unlocked, name: &str) -> Result<SpoolFile, Error> {
        let path = self.dir.join(name);
        let mut file = OpenOptions::new().read(true).write(true).open(&path).map_err(failed(&path))?;
        let mut bytes = Vec::new();
        Read::by_ref(&mut file).take(stored_max()).read_to_end(&mut bytes).map_err(failed(&path))?;
        let mut plain = Vec::new();
        let good = open_frames(repo.keys(), name, &bytes, &mut plain)
            .map_err(|reason| Error::damaged(path.display().to_string(), reason))?;
        let cut = || -> io::Result<()> {
            file.set_len(good as u64)?;
            if good == 0 {
                file.write_all_at(MAGIC, 0)?;
            }
            file.sync_all()?;
            File::open(&self.dir)?.sync_all()
        };
        cut().map_err(failed(&path))?;
        let append = OpenOptions::new().append(true).open(&path).map_err(failed(&path))?;
        let len = plain.len() as u64;
        Ok(SpoolFile { file: append, path, name: name.to_owned(), len, sealed: Vec::new() })
    }

    /// What a file holds.
    pub fn read(&self, repo: &Unlocked, name: &str) -> Result<Vec<u8>, Error> {
        let path = self.dir.join(name);
        let mut bytes = Vec::new();
        let file = File::open(&path).map_err(failed(&path))?;
        file.take(stored_max()).read_to_end(&mut bytes).map_err(failed(&path))?;
        let mut plain = Vec::new();
        open_frames(repo.keys(), name, &bytes, &mut plain)
            .map_err(|reason| Error::damaged(path.display().to_string(), reason))?;
        Ok(plain)
    }

    /// Removes a file: what was in it is durable elsewhere.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.dir.join(name);
        fs::remove_file(&path).map_err(failed(&path))
    }
}

/// Makes the entries of `dir` and of the folders above it durable, whoever made those. Where that is not ours to do,
/// they were there before us.
fn sync_above(dir: &Path) -> io::Result<()> {
    let dir = fs::canonicalize(dir)?;
    for above in dir.ancestors().skip(1) {
        match File::open(above).and_then(|above| above.sync_all()) {
            Err(e) if !matches!(e.kind(), ErrorKind::PermissionDenied | ErrorKind::InvalidInput) => {
                return Err(e);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Notes whose a new spool is; refuses one that is somebody else's.
fn own(repo: &Unlocked, dir: &Path) -> Result<(), Error> {
    let path = dir.join(OWNER);
    let own = format!("{} {}\n", repo.id().to_hex(), repo.keys().signer().id());
    match fs::read_to_string(&path) {
        Ok(owner) if owner == own => Ok(()),
        Ok(_) => Err(Error::Usage(format!(
            "the spool {} was written with another key or for another repository",
            dir.display()
        ))),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let write = || -> io::Result<()> {
                let mut file = tempfile::NamedTempFile::new_in(dir)?;
                file.write_all(own.as_bytes())?;
                file.as_file().sync_all()?;
                file.persist(&path).map_err(|e| e.error)?;
                File::open(dir)?.sync_all()
            };
            write().map_err(failed(&path))
        }
        Err(e) => Err(failed(&path)(e)),
    }
}

/// Names and sizes of a spool's files, without its keys; none if it is not there.
pub fn files(dir: &Path) -> io::Result<Vec<(String, u64)>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().into_string();
        if let Some(name) = name.ok().filter(|name| name != LOCK && name != OWNER && !name.starts_with('.')) {
            files.push((name, entry.metadata()?.size()));
        }
    }
    files.sort();
    Ok(files)
}

/// What a spool holds, as anybody sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Segments, the last of them mostly unfinished.
    pub segments: u64,
    /// Bytes that they take.
    pub bytes: u64,
    /// When the first of them was begun.
    pub since: Option<Timestamp>,
}

/// What the spool in `dir` holds; nothing if it is not there. It may be in use.
pub fn held(dir: &Path) -> io::Result<Held> {
    let files = files(dir)?;
    let begun = |(name, _): &(String, u64)| {
        // Taken out meanwhile.
        let meta = fs::metadata(dir.join(name)).ok()?;
        let begun = meta.created().or_else(|_| meta.modified()).ok()?;
        let nanos = begun.duration_since(UNIX_EPOCH).ok()?.as_nanos();
        i64::try_from(nanos).ok().map(Timestamp)
    };
    Ok(Held {
        segments: files.len() as u64,
        bytes: files.iter().map(|(_, bytes)| bytes).sum(),
        since: files.iter().filter_map(begun).min(),
    })
}

/// Most bytes of a file: those of the longest segment, in frames that hold one byte each at worst would be
/// more, but then nobody had a reason to write it so.
fn stored_max() -> u64 {
    WAL_FILE_MAX * 2
}

/// A frame as it lies in a file.
struct Frame<'f> {
    salt: [u8; 32],
    sealed: &'f [u8],
    rest: &'f [u8],
}

impl<'f> Frame<'f> {
    /// The frame that `bytes` begin with, if all of it is there.
    fn first(bytes: &'f [u8]) -> Option<Self> {
        let (len, rest) = bytes.split_first_chunk::<4>()?;
        let (salt, rest) = rest.split_first_chunk::<32>()?;
        let len = u32::from_le_bytes(*len) as usize;
        let (sealed, rest) = rest.split_at_checked(len.checked_add(TAG_LEN)?)?;
        (len <= FRAME_MAX).then_some(Frame { salt: *salt, sealed, rest })
    }

    /// Appends its plaintext, whose first byte is the `at`-th of the segment; `false` if it does not open.
    fn open(&self, keys: &Keys, name: &str, at: u64, plain: &mut Vec<u8>) -> bool {
        let start = plain.len();
        plain.resize(start + self.sealed.len() - TAG_LEN, 0);
        let header = header(&self.salt);
        let opened =
            keys.spool_key(&self.salt).open_into(place(&header, at, name), self.sealed, &mut plain[start..]);
        if opened.is_err() {
            plain.truncate(start);
        }
        opened.is_ok()
    }
}

/// Appends the plaintext of the frames that are whole; answers how many bytes of the file they take, 0 if
/// it does not even begin as it must. What a crash can leave is one frame that is not whole at the end; one
/// that does not open with another behind it that does is damage, of what was acknowledged.
fn open_frames(keys: &Keys, name: &str, bytes: &[u8], plain: &mut Vec<u8>) -> Result<usize, String> {
    let Some(mut rest) = bytes.strip_prefix(MAGIC) else { return Ok(0) };
    while let Some(frame) = Frame::first(rest) {
        let at = plain.len() as u64;
        if !frame.open(keys, name, at, plain) {
            let behind = at + (frame.sealed.len() - TAG_LEN) as u64;
            let goes_on =
                Frame::first(frame.rest).is_some_and(|next| next.open(keys, name, behind, &mut Vec::new()));
            if goes_on {
                return Err(format!("what was received at byte {at} of the segment cannot be opened"));
            }
            break;
        }
        rest = frame.rest;
    }
    Ok(bytes.len() - rest.len())
}

fn header(salt: &[u8; 32]) -> [u8; 64] {
    let mut header = [0; 64];
    header[..8].copy_from_slice(MAGIC);
    header[8..40].copy_from_slice(salt);
    header
}

/// A frame's place is its first byte's in the segment; its key seals nothing else.
fn place<'a>(header: &'a [u8; 64], at: u64, name: &'a str) -> Place<'a> {
    Place { header, domain: Domain::Body, ordinal: at, tail: name.as_bytes() }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> Error + '_ {
    |source| Error::Spool { path: path.display().to_string(), source }
}
