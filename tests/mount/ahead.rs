//! Short files that are handed to the kernel before it asks: counted in what the process reads from it and
//! writes to it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::program::noise;
use crate::scene::{Mounted, Scene};

/// Files of the scene.
const FILES: usize = 3000;
/// Bytes of each.
const SIZE: usize = 5000;

/// A number of `/proc/PID/io`.
fn io(mounted: &Mounted, what: &str) -> u64 {
    let io = fs::read_to_string(format!("/proc/{}/io", mounted.process.id())).unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    line.trim_start_matches(':').trim().parse().unwrap()
}

fn content(number: usize) -> Vec<u8> {
    static ALL: OnceLock<Vec<u8>> = OnceLock::new();
    let all = ALL.get_or_init(|| noise(FILES * SIZE));
    all[number * SIZE..(number + 1) * SIZE].to_vec()
}

/// A snapshot of files in folders of a hundred.
fn scene() -> Scene {
    let scene = Scene::new();
    for number in 0..FILES {
        let file = scene.path("tree").join(path(number));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content(number)).unwrap();
    }
    scene.snapshot();
    scene
}

fn path(number: usize) -> PathBuf {
    PathBuf::from(format!("{:03}/{number:05}", number / 100))
}

/// Reads everything as `tar` does: a folder is listed, then its files are read.
fn read_in_order(top: &Path) {
    let mut folders: Vec<PathBuf> = fs::read_dir(top).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let mut number = 0;
    for folder in folders {
        let mut files: Vec<PathBuf> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files {
            assert!(fs::read(&file).unwrap() == content(number), "{}", file.display());
            number += 1;
        }
    }
    assert_eq!(number, FILES);
}

#[test]
fn files_that_are_read_in_order_are_not_asked_for_one_by_one() {
    let scene = scene();
    let mounted = scene.mount(&[]);
    let before = io(&mounted, "syscr");
    read_in_order(&scene.latest());
    // The kernel's questions are read one by one. Without this there was one for each file at least.
    let asked = io(&mounted, "syscr") - before;
    assert!(asked < FILES as u64 * 3 / 4, "{asked} for {FILES} files");
    // What was handed out is asked for by nobody any more, and handed out once.
    let before = io(&mounted, "wchar");
    read_in_order(&scene.latest());
    let again = io(&mounted, "wchar") - before;
    assert!(again < (FILES * SIZE / 10) as u64, "{again}");
    assert_eq!(mounted.log(), "");
}

#[test]
fn files_that_are_read_anywhere_bring_no_others() {
    let scene = scene();
    let mounted = scene.mount(&[]);
    let top = scene.latest();
    // Listed before, as who chooses some of them does.
    for folder in fs::read_dir(&top).unwrap() {
        assert_eq!(fs::read_dir(folder.unwrap().path()).unwrap().count(), 100);
    }
    let before = io(&mounted, "wchar");
    let read = FILES / 4;
    for step in 0..read {
        let number = step * 1301 % FILES;
        assert!(fs::read(top.join(path(number))).unwrap() == content(number));
    }
    let written = io(&mounted, "wchar") - before;
    // Its answers go to the kernel by the page.
    assert!(written < (read * (8192 + 1000)) as u64, "{written}");
}

#[test]
fn damage_among_them_is_an_error_of_its_own_file() {
    let scene = scene();
    scene.damage();

    let mounted = scene.mount(&[]);
    let (mut lost, mut well) = (Vec::new(), 0);
    for number in 0..FILES {
        if number % 100 == 0 {
            let folder = scene.latest().join(path(number).parent().unwrap());
            assert_eq!(fs::read_dir(folder).unwrap().count(), 100);
        }
        let file = File::open(scene.latest().join(path(number))).unwrap();
        let mut read = vec![0; SIZE];
        match file.read_exact_at(&mut read, 0) {
            Ok(()) => {
                assert!(read == content(number), "wrong bytes in {number}");
                well += 1;
            }
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
                lost.push(number);
            }
        }
    }
    // A segment at most.
    assert!(!lost.is_empty() && lost.len() * SIZE <= 2 << 20, "{} files", lost.len());
    assert_eq!(well + lost.len(), FILES);
    let log = mounted.log();
    let (first, last) = (path(lost[0]), path(*lost.last().unwrap()));
    assert!(log.contains(first.to_str().unwrap()) && log.contains(last.to_str().unwrap()), "{log}");
}
