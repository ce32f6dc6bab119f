//! The tools that people use, on a mount.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use crate::look::{Look, assert_same, look};
use crate::maker::set_mtime;
use crate::program::noise;
use crate::scene::{Scene, output};

/// A tree of text and other files, with what copying tools must carry over.
fn make(top: &Path) {
    for number in 0..40 {
        let folder = top.join(format!("folder {}", number % 4));
        fs::create_dir_all(&folder).unwrap();
        let text = format!("line one of {number}\nneedle-{number}-needle\n").repeat(1 + number * 20);
        fs::write(folder.join(format!("{number}.txt")), text).unwrap();
    }
    fs::write(top.join("large"), noise(3 << 20)).unwrap();
    fs::hard_link(top.join("large"), top.join("folder 0/same")).unwrap();
    std::os::unix::fs::symlink("large", top.join("link")).unwrap();
    // rsync takes times in the same second for the same.
    for (number, path) in look(top).into_keys().rev().enumerate() {
        let path = top.join(std::ffi::OsStr::from_bytes(&path));
        set_mtime(&path, 1_700_000_000 + number as i64, 123_456_789);
    }
}

/// Without times, which reading may change, and numbers, which are each file system's own.
fn looked(top: &Path) -> Look {
    let mut look = look(top);
    look.values_mut().for_each(|seen| seen.names = seen.names.min(2));
    look
}

#[test]
fn copying_tools_give_the_tree_back() {
    let scene = Scene::new();
    make(&scene.path("tree"));
    let before = looked(&scene.path("tree"));
    scene.snapshot();
    let mounted = scene.mount(&[]);
    let latest = scene.latest();

    output(Command::new("cp").arg("-a").arg(&latest).arg(scene.path("by-cp")));
    assert_same(&before, &looked(&scene.path("by-cp")));

    fs::create_dir(scene.path("by-rsync")).unwrap();
    let with_slash = format!("{}/", latest.display());
    output(Command::new("rsync").arg("-aHX").arg(with_slash).arg(scene.path("by-rsync")));
    assert_same(&before, &looked(&scene.path("by-rsync")));

    fs::create_dir(scene.path("by-tar")).unwrap();
    let archive = scene.path("archive.tar");
    output(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&latest).arg("."));
    output(Command::new("tar").arg("-xpf").arg(&archive).arg("-C").arg(scene.path("by-tar")));
    // The format that tar writes by default has no parts of seconds.
    let whole_seconds = |look: &Look| {
        let mut look = look.clone();
        look.values_mut().for_each(|seen| seen.mtime.1 = 0);
        look
    };
    assert_same(&whole_seconds(&before), &whole_seconds(&looked(&scene.path("by-tar"))));
    assert_eq!(mounted.log(), "");
}

#[test]
fn searching_tools_find_what_is_there() {
    let scene = Scene::new();
    make(&scene.path("tree"));
    scene.snapshot();
    let _mounted = scene.mount(&[]);
    let found = output(Command::new("grep").args(["-rl", "needle-17-"]).arg(scene.latest()));
    assert_eq!(
        String::from_utf8(found).unwrap().trim_end(),
        scene.latest().join("folder 1/17.txt").to_str().unwrap()
    );
    let found = output(Command::new("find").arg(scene.latest()).args(["-type", "f", "-size", "+1M"]));
    assert_eq!(String::from_utf8(found).unwrap().lines().count(), 2);
    output(Command::new("diff").arg("-r").arg(scene.path("tree")).arg(scene.latest()));
    let sum = |top: &Path| {
        output(
            Command::new("sh").args(["-c", "find . -type f | sort | xargs -d '\\n' cksum"]).current_dir(top),
        )
    };
    assert_eq!(sum(&scene.path("tree")), sum(&scene.latest()));
}

#[test]
fn a_database_in_a_file_is_queried_where_it_lies() {
    let scene = Scene::new();
    let file = scene.path("tree/shop.sqlite");
    let fill = "CREATE TABLE t (i INTEGER PRIMARY KEY, x TEXT);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
        INSERT INTO t SELECT i, hex(i * 7919) FROM n;";
    output(Command::new("sqlite3").arg(&file).arg(fill));
    scene.snapshot();
    let _mounted = scene.mount(&[]);
    let query = |file: &Path| {
        let question = "SELECT count(*), sum(i), max(x) FROM t WHERE x LIKE '%9'; PRAGMA integrity_check;";
        output(Command::new("sqlite3").arg("-readonly").arg(file).arg(question))
    };
    let answer = query(&scene.latest().join("shop.sqlite"));
    assert_eq!(answer, query(&file));
    assert!(String::from_utf8_lossy(&answer).contains("ok"));
}

#[test]
fn a_file_can_be_mapped_into_memory() {
    let scene = Scene::new();
    let data = noise(2 << 20);
    fs::write(scene.path("tree/data"), &data).unwrap();
    // A program that runs from the mount is mapped too.
    fs::copy("/bin/true", scene.path("tree/true")).unwrap();
    scene.snapshot();
    let _mounted = scene.mount(&[]);
    let program = "import mmap, sys\n\
        f = open(sys.argv[1], 'rb')\n\
        m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)\n\
        sys.stdout.buffer.write(m[1000000:1000100] + m[:10] + m[-10:])";
    let read = output(Command::new("python3").args(["-c", program]).arg(scene.latest().join("data")));
    let end = data.len() - 10;
    assert_eq!(read, [&data[1_000_000..1_000_100], &data[..10], &data[end..]].concat());
    output(&mut Command::new(scene.latest().join("true")));
}
