//! The local backend: what is particular to files and folders.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use kamba_vault::base::clock::{Clock, SystemClock, Timestamp};
use kamba_vault::storage::{Backend, ErrorKind, Local};

use crate::conformance::{self, kind, listed, noise};
use crate::servers::{SmallDisk, wait_until};

fn open(path: &Path) -> Local {
    Local::open(path).unwrap()
}

#[test]
fn local_conforms() {
    let folder = tempfile::tempdir().unwrap();
    conformance::run(&|place| Arc::new(open(&folder.path().join(place))) as Arc<dyn Backend>);
}

#[test]
fn the_first_object_makes_the_folders() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("a/b/c");
    let backend = open(&root);
    assert!(!folder.path().join("a").exists(), "opening makes nothing");
    backend.put_new("data/3f/x", b"x").unwrap();
    for (path, mode) in [("", 0o700), ("data", 0o700), ("data/3f", 0o700), ("data/3f/x", 0o600)] {
        let metadata = fs::metadata(root.join(path)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, mode, "{path}");
    }
}

#[test]
fn a_file_is_no_repository() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, b"x").unwrap();
    assert_eq!(kind(Local::open(&file)), ErrorKind::Config);
}

#[test]
fn temporary_and_foreign_files_are_not_listed() {
    let folder = tempfile::tempdir().unwrap();
    let backend = open(folder.path());
    backend.put_new("data/x", b"x").unwrap();
    for foreign in ["data/.tmp-0011", ".DS_Store", "data/README.TXT", "data/x~", "lost+found"] {
        fs::write(folder.path().join(foreign), b"y").unwrap();
    }
    fs::create_dir(folder.path().join(".git")).unwrap();
    fs::write(folder.path().join(".git/x"), b"y").unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.path().join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    assert_eq!(listed(&backend, "").into_keys().collect::<Vec<_>>(), ["data/x"]);
    assert_eq!(backend.stat("fifo").unwrap(), None);
    assert_eq!(kind(backend.put_new("fifo", b"x")), ErrorKind::Exists);
}

#[test]
fn a_folder_may_be_a_link_even_one_that_leads_back() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    symlink(elsewhere.path(), folder.path().join("data")).unwrap();
    let backend = open(folder.path());
    backend.put_new("data/3f/x", b"x").unwrap();
    assert_eq!(listed(&backend, "").into_keys().collect::<Vec<_>>(), ["data/3f/x"]);
    symlink(folder.path(), folder.path().join("loop")).unwrap();
    assert!(listed(&backend, "").contains_key("data/3f/x"), "a loop ends");
    symlink("nowhere", folder.path().join("dangling")).unwrap();
    assert!(listed(&backend, "").contains_key("data/3f/x"));
}

#[test]
fn old_temporary_files_are_swept_and_young_ones_kept() {
    let folder = tempfile::tempdir().unwrap();
    let backend = open(folder.path());
    backend.put_new("data/x", b"x").unwrap();
    let (old, young) = (folder.path().join("data/.tmp-old"), folder.path().join(".tmp-young"));
    let day_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(2 * 86_400);
    fs::File::create(&old).unwrap().set_modified(day_ago).unwrap();
    fs::File::options()
        .write(true)
        .open(folder.path().join("data/x"))
        .unwrap()
        .set_modified(day_ago)
        .unwrap();
    fs::write(&young, b"").unwrap();
    assert_eq!(backend.sweep_temporary(SystemClock.now().plus_seconds(-86_400)).unwrap(), 1);
    assert!(!old.exists() && young.exists());
    assert_eq!(backend.sweep_temporary(Timestamp(0)).unwrap(), 0);
    assert_eq!(listed(&backend, "").len(), 1);
}

#[test]
fn an_object_cut_short_by_damage_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let backend = open(folder.path());
    backend.put_new("pack", &[7; 1000]).unwrap();
    fs::write(folder.path().join("pack"), [7; 10]).unwrap();
    assert_eq!(kind(backend.get_range("pack", 0..1000, &mut Vec::new())), ErrorKind::Truncated);
    assert_eq!(
        kind(backend.put_new("pack", &[7; 1000])),
        ErrorKind::Exists,
        "damage is not healed in silence"
    );
}

#[test]
fn the_folder_stays_the_same_when_its_path_changes() {
    let folder = tempfile::tempdir().unwrap();
    let (root, moved) = (folder.path().join("repo"), folder.path().join("moved"));
    let backend = open(&root);
    backend.put_new("a", b"a").unwrap();
    fs::rename(&root, &moved).unwrap();
    backend.put_new("data/b", b"b").unwrap();
    assert!(!root.exists() && moved.join("data/b").exists());
}

#[test]
fn a_full_disk_is_reported_and_nothing_partial_is_seen() {
    let disk = SmallDisk::mount(2 << 20);
    let backend = open(&disk.path().join("repo"));
    backend.put_new("data/small", b"fits").unwrap();
    for _ in 0..2 {
        assert_eq!(kind(backend.put_new("data/large", &noise(1, 4 << 20))), ErrorKind::Full);
    }
    assert_eq!(listed(&backend, "").into_keys().collect::<Vec<_>>(), ["data/small"]);
    assert_eq!(fs::read_dir(disk.path().join("repo/data")).unwrap().count(), 1, "the space is free again");
    backend.put_new("data/medium", &noise(1, 1 << 20)).expect("a full disk is no broken one");
}

#[test]
fn a_disk_that_nobody_may_write_to_refuses() {
    let disk = SmallDisk::mount(1 << 20);
    let backend = open(disk.path());
    backend.put_new("data/x", b"x").unwrap();
    disk.make_read_only();
    assert_eq!(kind(backend.put_new("data/y", b"y")), ErrorKind::Permission);
    assert_eq!(kind(backend.put_new("index/y", b"y")), ErrorKind::Permission);
    assert_eq!(kind(backend.delete("data/x")), ErrorKind::Permission);
    assert_eq!(backend.get("data/x", 1).unwrap(), b"x");
}

/// What a process did that matters to what survives a crash, by system call and path below `root`.
fn traced(root: &Path, program: &str) -> Vec<String> {
    let log = tempfile::NamedTempFile::new().unwrap();
    let calls = "--trace=fsync,fdatasync,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,unlink,unlinkat";
    let ended = Command::new("strace")
        .args(["--follow-forks", "--decode-fds=path", "--string-limit=4096", "--quiet=all", calls])
        .arg("--output")
        .arg(log.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", program])
        .env("ROOT", root)
        .stdout(Stdio::null())
        .status()
        .expect("strace is needed");
    assert!(ended.success());
    let root = root.canonicalize().unwrap();
    let root = root.to_str().unwrap();
    let log = fs::read_to_string(log.path()).unwrap();
    // Whether a temporary name is gone already is all the same.
    let ours = log.lines().filter(|line| line.contains(root) && !line.contains("ENOENT"));
    ours.map(|line| {
        // PID call(fd<path>, "name", …) = 0
        let (_, call) = line.split_once(' ').unwrap();
        let (call, rest) = call.trim_start().split_once('(').unwrap();
        let folder = match rest.strip_prefix("AT_FDCWD") {
            // Then the name is a whole path.
            Some(_) => "",
            None => rest.split_once('<').map_or("", |(_, rest)| rest.split('>').next().unwrap()),
        };
        let names = rest.split('"').skip(1).step_by(2);
        let path = std::iter::once(folder).chain(names).collect::<Vec<_>>().join(" ");
        let path = path.replace(root, "ROOT");
        let path = path.split(' ').map(|part| match part.rsplit_once(".tmp-") {
            Some((folder, _)) => format!("{folder}TEMPORARY"),
            None => part.to_owned(),
        });
        format!("{call} {}", path.collect::<Vec<_>>().join(" ").trim())
    })
    .collect()
}

#[test]
fn everything_is_synced_before_it_counts() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("repo");
    let first = [
        // The root, then the folder, each with its entry; the file before its name, the name before the end.
        "mkdirat ROOT/repo",
        "fsync ROOT",
        "mkdirat ROOT/repo data",
        "fsync ROOT/repo",
        "fsync ROOT/repo/data/TEMPORARY",
        "renameat2 ROOT/repo/data TEMPORARY x",
        "fsync ROOT/repo/data",
    ];
    let calls = |program| traced(folder.path(), program);
    assert_eq!(calls("local::stores_one_object"), first);
    assert!(root.join("data/x").exists());
    // Whoever was here before may have died before any of its syncs.
    let again = [
        "fsync ROOT",
        "mkdirat ROOT/repo data",
        "fsync ROOT/repo",
        "fsync ROOT/repo/data/x",
        "fsync ROOT/repo/data",
    ];
    assert_eq!(calls("local::stores_one_object"), again);
    assert_eq!(calls("local::makes_one_object_durable"), again);
    assert_eq!(calls("local::deletes_one_object"), ["unlinkat ROOT/repo/data x", "fsync ROOT/repo/data"]);
}

#[test]
#[ignore = "traced by another test, in a process of its own"]
fn makes_one_object_durable() {
    open(&Path::new(&std::env::var_os("ROOT").unwrap()).join("repo")).make_durable("data/x").unwrap();
}

#[test]
#[ignore = "traced by another test, in a process of its own"]
fn stores_one_object() {
    open(&Path::new(&std::env::var_os("ROOT").unwrap()).join("repo")).put_new("data/x", b"x").unwrap();
}

#[test]
#[ignore = "traced by another test, in a process of its own"]
fn deletes_one_object() {
    open(&Path::new(&std::env::var_os("ROOT").unwrap()).join("repo")).delete("data/x").unwrap();
}

/// What the writer that gets killed writes: objects of this length, at most so many.
const KILLED_LEN: usize = 700_000;
const KILLED_OBJECTS: u64 = 500;

/// The writer, killed when it is dropped: it does not outlive a test that fails.
struct Writer(Child);

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_killed_writer_leaves_whole_objects_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut had_temporary = 0;
    for round in 0..12 {
        let root = folder.path().join(round.to_string());
        let mut writer = Writer(
            Command::new(std::env::current_exe().unwrap())
                .args(["--ignored", "--exact", "local::writes_until_killed"])
                .env("ROOT", &root)
                .stdout(Stdio::null())
                .spawn()
                .unwrap(),
        );
        let files = || fs::read_dir(root.join("data")).into_iter().flatten().flatten();
        let temporary = |file: &fs::DirEntry| file.file_name().as_encoded_bytes().starts_with(b".tmp-");
        // Killed in the middle of one object, after some others.
        wait_until("some objects and a half-written one", || {
            assert_eq!(writer.0.try_wait().unwrap(), None, "the writer ended by itself");
            files().count() >= 3 && files().any(|file| temporary(&file))
        });
        drop(writer);
        had_temporary += usize::from(files().any(|file| temporary(&file)));
        let backend = open(&root);
        let found = listed(&backend, "");
        assert!(found.len() >= 2);
        for name in found.keys() {
            let seed = name.strip_prefix("data/").unwrap().parse().unwrap();
            assert!(backend.get(name, 1 << 20).unwrap() == noise(seed, KILLED_LEN), "{name} is torn");
        }
        // The next run stores the same again, what is there and what is not.
        for seed in 0..=found.len() as u64 {
            backend.put_new(&format!("data/{seed}"), &noise(seed, KILLED_LEN)).unwrap();
        }
    }
    assert!(had_temporary > 0, "no writer was killed between the temporary name and the final one");
}

#[test]
#[ignore = "killed by another test, in a process of its own"]
fn writes_until_killed() {
    let backend = open(Path::new(&std::env::var_os("ROOT").unwrap()));
    for seed in 0..KILLED_OBJECTS {
        backend.put_new(&format!("data/{seed}"), &noise(seed, KILLED_LEN)).unwrap();
    }
}
