//! A small place to restore to: a target that may hold traps already, and beside it what must never be
//! touched.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::input::Input;
use crate::vault::cache_folder;

/// Where names that are whole paths lead.
pub const ELSEWHERE: &str = "/tmp/kamba-vault-fuzz-elsewhere";
/// What the files outside hold.
pub const OUTSIDE: &[u8] = b"from outside";

/// A folder with a target in it, and with what lies outside.
pub struct Ground {
    folder: tempfile::TempDir,
}

/// What is outside: paths, and what `lstat` and a reader say of them. Links and the time of their change
/// do not count: a name in the target may have been one of a file outside, and be removed.
pub type Outside = Vec<(PathBuf, [i64; 7], Vec<u8>)>;

impl Ground {
    /// A target with the traps that `input` asks for.
    pub fn new(input: &mut Input<'_>) -> Self {
        let ground = Ground { folder: cache_folder() };
        let outside = ground.folder.path().join("outside");
        fs::create_dir_all(outside.join("sub")).unwrap();
        for name in ["kept", "sub/kept"] {
            fs::write(outside.join(name), OUTSIDE).unwrap();
            fs::set_permissions(outside.join(name), fs::Permissions::from_mode(0o640)).unwrap();
        }
        let traps = input.u8();
        if traps & 1 != 0 {
            ground.set_traps(traps);
        }
        ground
    }

    /// Puts things into the target that could lead a careless restore out of it.
    fn set_traps(&self, traps: u8) {
        let (target, outside) = (self.target(), self.folder.path().join("outside"));
        fs::create_dir(&target).unwrap();
        let set = |bit: u8, name: &str, make: &dyn Fn(&Path) -> std::io::Result<()>| {
            if traps & bit != 0 {
                make(&target.join(name)).unwrap();
            }
        };
        set(2, "a", &|path| symlink(&outside, path));
        set(4, "b", &|path| fs::hard_link(outside.join("kept"), path));
        set(8, "c", &|path| symlink(outside.join("kept"), path));
        set(16, "d", &|path| fs::create_dir_all(path.join("e")));
        set(16, "d/e/f", &|path| symlink(&outside, path));
        set(32, "e", &|path| UnixListener::bind(path).map(drop));
        set(64, "f", &|path| fs::write(path, "a file"));
    }

    /// The folder to restore to.
    pub fn target(&self) -> PathBuf {
        self.folder.path().join("target")
    }

    /// Looks at everything but the target.
    pub fn outside(&self) -> Outside {
        assert!(fs::symlink_metadata(ELSEWHERE).is_err(), "{ELSEWHERE} was made");
        let mut seen = Outside::new();
        self.look(self.folder.path(), &mut seen);
        seen
    }

    fn look(&self, folder: &Path, seen: &mut Outside) {
        let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| *path != self.target());
        paths.sort();
        for path in paths {
            let stat = fs::symlink_metadata(&path).unwrap();
            let holds = if stat.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            let [uid, gid, mode] = [stat.uid(), stat.gid(), stat.mode()].map(i64::from);
            let [inode, size] = [stat.ino(), stat.size()].map(|number| number as i64);
            seen.push((path.clone(), [inode, mode, uid, gid, size, stat.mtime(), stat.mtime_nsec()], holds));
            if stat.is_dir() {
                self.look(&path, seen);
            }
        }
    }
}
