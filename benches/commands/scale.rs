//! Very many files: so many in one folder, and ten times as many in a tree. They are empty, so what is
//! measured is what an entry costs, in time and above all in memory, which must not grow with them.

use std::fs::{self, File};
use std::path::Path;

use crate::bench::Bench;
use crate::measure::{Result, Run};
use crate::vault::{NAME, Vault};

/// What is done with all files in one folder, in this order.
pub const FOLDER: [&str; 6] = [
    "one large folder, first",
    "one large folder, nothing changed",
    "one large folder, restored",
    "one large folder, restored again",
    "one large folder, searched",
    "one large folder, renamed and compared",
];
/// The same with the tree.
pub const TREE: [&str; 6] = [
    "large tree, first",
    "large tree, nothing changed",
    "large tree, restored",
    "large tree, restored again",
    "large tree, searched",
    "large tree, renamed and compared",
];

/// How many times as many files the tree has, and how many each of its folders.
const TIMES: u64 = 10;
const FILES_IN_A_FOLDER: u64 = 5_000;

/// Measures both, each once: it takes minutes.
pub fn measure(bench: &mut Bench) -> Result<()> {
    let files = bench.args.entries;
    for (tasks, files, in_a_folder) in [(FOLDER, files, files), (TREE, TIMES * files, FILES_IN_A_FOLDER)] {
        tasks.iter().for_each(|task| bench.report.enter(task, NAME));
        bench.say(&format!("making {files} files"));
        let folder = bench.path("scale");
        make(bench, &folder.join("tree/top"), files, in_a_folder)?;
        play(bench, &folder, tasks)?;
        fs::remove_dir_all(&folder)?;
    }
    Ok(())
}

/// Empty files with names as those of pictures.
fn make(bench: &Bench, top: &Path, files: u64, in_a_folder: u64) -> Result<()> {
    for first in (0..files).step_by(in_a_folder as usize) {
        bench.check()?;
        let folder = top.join(format!("{:06}", first / in_a_folder));
        fs::create_dir_all(&folder)?;
        for n in first..(first + in_a_folder).min(files) {
            File::create(folder.join(format!("picture-{n:010}.jpg")))?;
        }
    }
    Ok(())
}

fn play(bench: &mut Bench, folder: &Path, tasks: [&'static str; 6]) -> Result<()> {
    let vault = Vault::create(&folder.join("store"))?;
    let (tree, target) = (folder.join("tree"), folder.join("target"));
    let (tree, target) = (tree.to_str().ok_or("no text")?, target.to_str().ok_or("no text")?);
    let [first, again, restored, restored_again, searched, compared] = tasks;
    let restore = ["restore", "files", "latest", "--target", target];
    let commands: [(_, &[&str]); 5] = [
        (first, &["snapshot", "files", tree]),
        (again, &["snapshot", "files", tree]),
        (restored, &restore),
        (restored_again, &restore),
        (searched, &["find", "*7.jpg"]),
    ];
    for (task, arguments) in commands {
        if !bench.measure(task, NAME, Run::new(vault.command(arguments)))? {
            return Ok(());
        }
    }
    fs::rename(folder.join("tree/top"), folder.join("tree/renamed"))?;
    bench.run(Run::new(vault.command(&["snapshot", "files", tree])))?;
    bench.measure(compared, NAME, Run::new(vault.command(&["diff", "latest~1", "latest"]))).map(drop)
}
