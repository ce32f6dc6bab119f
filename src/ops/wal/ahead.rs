//! Fetching ahead: recovery asks for one segment after another, and most of the time that one takes is the
//! start of a program and the way to the repository. A process of its own fetches what comes next into a
//! private folder beside the file that was asked for; the next call moves it from there, and notes there how
//! far recovery has come. The process keeps ahead of that (`Course`) until it is asked for nothing any more.
//!
//! One such process works in a folder at a time: it holds a lock there. Whole segments stand under
//! their names there, with a mark of the repository they came from; while one is written it is called
//! `….part`. Segments that recovery has gone past are removed by the next call, and all of them when the
//! repository has no more: then recovery is at its end. One that ended earlier, at its target, leaves some: the first
//! file that the server pushes then removes them. The folder is a convenience: whatever is wrong with it, the segment
//! comes from the repository.
//!
//! Who starts the process makes the folder, and the process does not: it may begin only after all was removed again,
//! and would leave what nobody asks for.
//!
//! Nothing is synced here. After the machine failed, a file may have its length and not its content, which the
//! server would take for the end of the WAL; so the mark names this start of the machine, too, and what an
//! earlier one left is not used.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::base::clock::Cancel;
use crate::base::id::hex;
use crate::ops::Error;
use crate::ops::wal::course::Course;
use crate::ops::wal::fetch;
use crate::postgres::wal::header::LONG_HEADER_LEN;
use crate::postgres::wal::owner::{Owner, data_folder};
use crate::postgres::wal::{SegmentHeader, SegmentName, SegmentSize, WalName};
use crate::repo::Unlocked;

/// The folder's name, beside the files that PostgreSQL asks for.
const FOLDER: &str = ".kamba-vault-prefetch";
/// Locked by the process that fetches.
const LOCK: &str = "lock";
/// Asks that process to stop and to leave nothing.
const STOP: &str = "stop";
/// Names the segment that recovery asked for last, and the mark of the repository it was asked of.
const ASKED: &str = "asked";
/// Ends the names of segments that are being written.
const PART: &str = ".part";
/// Segments that are fetched at once at least, so that a way that takes long is gone more than once at a time.
const AT_ONCE_MIN: u64 = 2;
/// The same at most.
const AT_ONCE_MAX: u64 = 4;
/// Bytes of segments that are fetched at once, unless a single one has more: each takes its stored length.
const AT_ONCE_BYTES: u64 = 256 << 20;
/// What a server has in its data folder while it recovers, or is to.
const SIGNALS: [&str; 2] = ["recovery.signal", "standby.signal"];
/// Where Linux tells one start of the machine from another (`random(4)`).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// How often a wait for a segment that is on its way looks again: recovery stands still meanwhile.
const WAIT_EVERY: Duration = Duration::from_micros(250);
/// Looks of such a wait after which it also looks whether whoever fetches is still there, which costs more.
const WAITS: u32 = 16;
/// How often the process looks how far recovery has come. It is some segments ahead.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// After so many looks in vain, with nothing to fetch, the process ends: about a second. The next call starts
/// another.
const LOOKS_MAX: u32 = 500;

/// A folder of segments that were fetched ahead.
#[derive(Clone, Debug)]
pub struct Ahead {
    folder: PathBuf,
    /// Tells segments of one repository, and of this start of the machine, from all others.
    mark: String,
}

impl Ahead {
    /// The folder beside `target`, for segments from the repository at `location`; `None` where starts of
    /// the machine cannot be told apart.
    pub fn beside(target: &Path, location: &str) -> Option<Self> {
        let boot = fs::read_to_string(BOOT_ID).ok().filter(|boot| !boot.trim().is_empty())?;
        Some(Ahead::of_boot(target, location, boot.trim()))
    }

    fn of_boot(target: &Path, location: &str, boot: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(boot.as_bytes()).update(&[0]).update(location.as_bytes());
        let mark = hex(&hasher.finalize().as_bytes()[..8]);
        Ahead { folder: folder_beside(target), mark }
    }

    fn path(&self, name: SegmentName) -> PathBuf {
        self.folder.join(format!("{name}.{}", self.mark))
    }

    fn part(&self, name: SegmentName) -> PathBuf {
        self.folder.join(format!("{name}.{}{PART}", self.mark))
    }

    /// Moves the segment to `target` if it was fetched, after a wait if it is on its way. Answers the
    /// cluster's segment size.
    pub fn take(
        &self,
        name: SegmentName,
        system: u64,
        target: &Path,
        cancel: &Cancel,
    ) -> Option<SegmentSize> {
        let (path, part) = (self.path(name), self.part(name));
        for look in 0u32.. {
            if path.exists() || !part.exists() || cancel.is_cancelled() {
                break;
            }
            if look % WAITS == 0 && !self.is_busy() {
                break;
            }
            std::thread::sleep(WAIT_EVERY);
        }
        let Some(size) = self.whole(&path, name, system) else {
            // Not there, or not what it should be.
            let _ = fs::remove_file(&path);
            return None;
        };
        fs::rename(&path, target).ok().map(|()| size)
    }

    /// The segment size of a file that is a whole segment of this name and cluster.
    fn whole(&self, path: &Path, name: SegmentName, system: u64) -> Option<SegmentSize> {
        let mut file = File::open(path).ok()?;
        let mut header = [0; LONG_HEADER_LEN];
        file.read_exact(&mut header).ok()?;
        let header = SegmentHeader::read(&header).ok()?;
        header.belongs_to(name).ok()?;
        let whole = header.system == system && file.metadata().ok()?.len() == header.size.bytes();
        whole.then_some(header.size)
    }

    /// Whether a process should be started that fetches the `count` segments after `name`: when one of them is
    /// not there, and nobody is at it.
    pub fn is_wanted(&self, name: SegmentName, size: SegmentSize, count: usize) -> bool {
        following(name, size, count).any(|name| !self.path(name).exists()) && !self.is_busy()
    }

    /// Notes that recovery has come as far as `name`, for the process that fetches ahead.
    pub fn note(&self, name: SegmentName) {
        // Without the folder there is no such process.
        let _ = fs::write(self.folder.join(ASKED), format!("{name} {}", self.mark));
    }

    /// The segment that recovery asked for last; `None` while that is being written.
    fn asked(&self) -> Option<SegmentName> {
        let asked = fs::read_to_string(self.folder.join(ASKED)).ok()?;
        let (name, mark) = asked.split_once(' ')?;
        SegmentName::parse(name).filter(|_| mark == self.mark)
    }

    /// Removes what is neither one of the `count` segments after `name` nor on its way.
    pub fn tidy(&self, name: SegmentName, size: SegmentSize, count: usize) {
        let keep: Vec<PathBuf> = following(name, size, count).map(|name| self.path(name)).collect();
        for path in self.files() {
            let is_part = path.to_string_lossy().ends_with(PART);
            if !keep.contains(&path) && !is_part {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// Removes everything: the repository has no more. A process that still fetches does it at its end.
    pub fn clear(&self) {
        if !self.folder.exists() {
            return;
        }
        let _ = File::create(self.folder.join(STOP));
        if let Some(_lock) = self.lock() {
            self.remove();
        }
    }

    /// Makes the folder, for a process that is to be started; `false` if it cannot be made.
    pub fn prepare(&self) -> bool {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        // A wish that was meant for an earlier process.
        let _ = fs::remove_file(self.folder.join(STOP));
        made.is_ok()
    }

    /// Fetches the `count` segments after `name`, and after whichever is asked for meanwhile, until the
    /// repository has no more or nothing is asked for any more. Does nothing if somebody else is at it, or if the
    /// folder was removed since it was made. To be called by a process of its own.
    pub fn run(
        &self,
        repo: &Unlocked,
        system: u64,
        name: SegmentName,
        size: SegmentSize,
        count: usize,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let fail = |source| Error::Output { what: self.folder.display().to_string(), source };
        let Some(course) = Course::new(name, size, count) else { return Ok(()) };
        let meta = match fs::symlink_metadata(&self.folder) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            meta => meta.map_err(fail)?,
        };
        if !meta.is_dir() || meta.mode() & 0o077 != 0 {
            return Ok(());
        }
        let Some(_lock) = self.lock() else { return Ok(()) };
        // What an earlier process left when it was killed.
        for path in self.files().filter(|path| path.to_string_lossy().ends_with(PART)) {
            let _ = fs::remove_file(path);
        }
        let fetched = std::thread::scope(|scope| {
            let work = || self.work(repo, system, &course).inspect_err(|_| course.end());
            let threads: Vec<_> = (0..at_once(size)).map(|_| scope.spawn(work)).collect();
            self.lead(&course, cancel);
            // All of them end, also after one has failed.
            let mut done = Ok(());
            for thread in threads {
                done = done.and(thread.join().unwrap_or(Ok(())));
            }
            done
        });
        if self.folder.join(STOP).exists() || self.files().next().is_none() {
            self.remove();
        }
        fetched
    }

    /// Keeps the course ahead of recovery until it ends: by itself, or because somebody wishes it, or because
    /// recovery goes another way or no further.
    fn lead(&self, course: &Course, cancel: &Cancel) {
        let mut last = self.asked();
        let mut looks = 0;
        while !course.is_over() && looks < LOOKS_MAX {
            if cancel.is_cancelled() || self.folder.join(STOP).exists() {
                break;
            }
            match self.asked() {
                Some(asked) if last != Some(asked) => {
                    if !course.follow(asked) {
                        break;
                    }
                    (last, looks) = (Some(asked), 0);
                }
                _ => looks = if course.is_idle() { looks + 1 } else { 0 },
            }
            std::thread::sleep(LOOK_EVERY);
        }
        course.end();
    }

    fn work(&self, repo: &Unlocked, system: u64, course: &Course) -> Result<(), Error> {
        while let Some(name) = course.next() {
            if self.path(name).exists() {
                continue;
            }
            let part = self.part(name);
            let fail = |source| Error::Output { what: part.display().to_string(), source };
            // There before the fetch begins, so that a call for it waits.
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part).map_err(fail)?;
            let written = fetch::read_to(repo, system, WalName::Segment(name), &mut file, &part);
            match written {
                Ok(true) => fs::rename(&part, self.path(name)).map_err(fail)?,
                other => {
                    let _ = fs::remove_file(&part);
                    // Segments after one that is missing are of no use yet.
                    course.end();
                    other?;
                }
            }
        }
        Ok(())
    }

    /// Whether a process is fetching.
    fn is_busy(&self) -> bool {
        self.folder.join(LOCK).exists() && self.lock().is_none()
    }

    /// The lock, unless somebody holds it; it ends with what is answered.
    fn lock(&self) -> Option<File> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(self.folder.join(LOCK)).ok()?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
        Some(file)
    }

    /// Segments in the folder, whole or not, of whichever repository.
    fn files(&self) -> impl Iterator<Item = PathBuf> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            !matches!(name.as_deref(), None | Some(LOCK | STOP | ASKED))
        })
    }

    /// Removes the folder. Whoever holds the lock calls this.
    fn remove(&self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Removes what was fetched ahead beside `pushed`, a file of `pg_wal` that a server pushes, if that server does not
/// recover any more: as a standby it pushes all the same at times.
pub fn clear_after_recovery(pushed: &Path) {
    let ahead = Ahead { folder: folder_beside(pushed), mark: String::new() };
    if !ahead.folder.exists() || Owner::of_file(pushed).system.is_none() {
        return;
    }
    let data = data_folder(pushed);
    if !SIGNALS.iter().any(|signal| data.join(signal).try_exists().unwrap_or(true)) {
        ahead.clear();
    }
}

/// The folder beside `target`.
fn folder_beside(target: &Path) -> PathBuf {
    let parent = target.parent().filter(|folder| !folder.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).join(FOLDER)
}

/// How many segments are fetched at once: one by each core, within limits.
fn at_once(size: SegmentSize) -> u64 {
    let cores = std::thread::available_parallelism().map_or(AT_ONCE_MIN, |cores| cores.get() as u64);
    cores.clamp(AT_ONCE_MIN, AT_ONCE_MAX).min(AT_ONCE_BYTES / size.bytes()).max(1)
}

/// The `count` segments after `name` on its timeline.
fn following(name: SegmentName, size: SegmentSize, count: usize) -> impl Iterator<Item = SegmentName> {
    std::iter::successors(name.next(size), move |name| name.next(size)).take(count)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SYSTEM: u64 = 7;

    /// A segment of zeros behind a first page.
    fn segment(number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend([0x10, 0xD1, 2, 0, 1, 0, 0, 0]);
        bytes.extend((number << 20).to_le_bytes());
        bytes.extend([0; 8]);
        bytes.extend(SYSTEM.to_le_bytes());
        bytes.extend((1u32 << 20).to_le_bytes());
        bytes.resize(1 << 20, 0);
        bytes
    }

    #[test]
    fn what_an_earlier_start_of_the_machine_left_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("RECOVERYXLOG");
        let size = SegmentSize::new(1 << 20).unwrap();
        let name = SegmentName::new(1, 5, size).unwrap();
        let before = Ahead::of_boot(&target, "/srv/vault", "before");
        let now = Ahead::of_boot(&target, "/srv/vault", "now");
        fs::create_dir(&before.folder).unwrap();
        fs::write(before.path(name), segment(5)).unwrap();
        assert_eq!(now.take(name, SYSTEM, &target, &Cancel::new()), None);
        assert!(!target.exists());
        // The one it was made by has it, and any later call of the other removes it.
        assert!(before.path(name).exists());
        now.tidy(SegmentName::new(1, 4, size).unwrap(), size, 8);
        assert!(!before.path(name).exists());
        fs::write(now.path(name), segment(5)).unwrap();
        assert_eq!(now.take(name, SYSTEM, &target, &Cancel::new()), Some(size));
        assert!(target.exists() && !now.path(name).exists());
    }
}
