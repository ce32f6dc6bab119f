//! File trees: a first snapshot, again with nothing changed, with a hundredth of the files changed,
//! back, two of them compared; and a folder of photos. Against the least that each can take (`tar`
//! through `zstd`, `find`, `cp`) and against peers. The tree is a copy of the one that was named, or
//! made up: very many small files with text in them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use kamba_vault::base::secret::Secret32;
use kamba_vault::crypto;

use crate::Part;
use crate::bench::Bench;
use crate::measure::{Result, Run};
use crate::peers::{BORG, Contender, FLOOR, RESTIC, ours_and_floor, peers};
use crate::report::Work;
use crate::streams::{each, warm};
use crate::support::shop::{Business, Shop};
use crate::vault::NAME;

/// The first snapshot.
pub const FIRST: &str = "file tree, first";
/// The same tree once more.
pub const AGAIN: &str = "file tree, nothing changed";
/// With some files changed.
pub const CHANGED: &str = "file tree, 1 % of files changed";
/// Everything back into an empty folder.
pub const RESTORE: &str = "file tree, restored";
/// What differs between two snapshots.
pub const DIFF: &str = "file tree, two snapshots compared";
/// The next version of the tree, at its place; what it adds is what is stored.
pub const NEXT: &str = "file tree, its next version";
/// What does not compress.
pub const PHOTOS: &str = "photos, first";

const TAR: &str = "tar, zstd -3 -T2";
const FIND: &str = "find -printf '%s %T@ %i'";
const COPY: &str = "cp -a";
/// One of so many files changes between two snapshots.
const CHANGE_ONE_OF: u64 = 100;
/// Files and folders of a made-up tree: a kernel's sources have files of 17 kB on average.
const FILE_LEN: u64 = 17_000;
const FILES_IN_A_FOLDER: u64 = 60;
const PHOTO_LEN: usize = 3_000_000;

/// The snapshots of a round, in order.
#[derive(Clone, Copy)]
enum Number {
    First = 1,
    Again = 2,
    Changed = 3,
    Photos = 4,
    Next = 5,
}

/// What a file takes beyond its bytes, about: half a page, and what is known of it.
const FILE_ROOM: u64 = 3 << 10;

/// What is snapshotted.
struct Trees {
    tree: PathBuf,
    files: Vec<PathBuf>,
    /// Bytes that the tree takes on a disk, about.
    room: u64,
    photos: PathBuf,
    /// The tree's next version, if there is one.
    next: Option<PathBuf>,
}

/// Measures all of it.
pub fn measure(bench: &mut Bench) -> Result<()> {
    let mut contenders = ours_and_floor();
    contenders.iter_mut().filter(|c| c.name == FLOOR).for_each(|floor| floor.name = TAR);
    if bench.args.wants(Part::Peers) {
        contenders.extend(peers().into_iter().filter(|peer| [RESTIC, BORG].contains(&peer.name)));
    }
    enter(bench, &contenders);
    contenders.retain(|contender| contender.engine.is_some());
    let trees = Trees::make(bench)?;
    for round in 1..=bench.args.runs {
        let folder = bench.path("tree-stores");
        play(bench, &mut contenders, &trees, &folder, round)?;
        fs::remove_dir_all(&folder)?;
    }
    fs::remove_dir_all(&trees.tree)?;
    fs::remove_dir_all(&trees.photos)?;
    trees.next.map_or(Ok(()), |next| Ok(fs::remove_dir_all(next)?))
}

/// Enters everybody into the table, in order.
fn enter(bench: &mut Bench, contenders: &[Contender]) {
    for contender in contenders.iter().filter(|contender| contender.engine.is_some()) {
        bench.report.uses(&contender.version);
    }
    let floors = [
        (FIRST, Some(TAR)),
        (AGAIN, Some(FIND)),
        (CHANGED, Some(FIND)),
        (RESTORE, Some(COPY)),
        (DIFF, None),
        (PHOTOS, Some(TAR)),
    ];
    let next = bench.args.next_tree.iter().map(|_| (NEXT, None));
    for (task, floor) in floors.into_iter().chain(next) {
        if let Some(floor) = floor {
            bench.report.floor(task, floor);
        }
        if let Some(floor @ (FIND | COPY)) = floor {
            bench.report.enter(task, floor);
        }
        for &Contender { name, ref engine, .. } in contenders {
            match engine {
                // Archives have no second snapshot.
                Some(_) if name == TAR && floor != Some(TAR) => {}
                Some(_) => bench.report.enter(task, name),
                None => bench.report.remark(task, name, "not installed"),
            }
        }
    }
}

/// One round: everybody with a new store, and each stage with everybody.
fn play(
    bench: &mut Bench,
    contenders: &mut Vec<Contender>,
    trees: &Trees,
    folder: &Path,
    round: u32,
) -> Result<()> {
    fs::create_dir_all(folder)?;
    each(bench, contenders, FIRST, |_, contender| {
        let Some(engine) = &mut contender.engine else { return Ok(true) };
        engine.begin(&folder.join(contender.name.replace(' ', "_"))).map(|()| true)
    })?;
    trees.files.iter().try_for_each(|file| warm(file))?;
    snapshot(bench, contenders, FIRST, &trees.tree, Number::First)?;
    bench.measure(AGAIN, FIND, Run::new(trees.find()))?;
    snapshot(bench, contenders, AGAIN, &trees.tree, Number::Again)?;
    trees.change(u64::from(round))?;
    bench.measure(CHANGED, FIND, Run::new(trees.find()))?;
    snapshot(bench, contenders, CHANGED, &trees.tree, Number::Changed)?;
    restore(bench, contenders, trees, &folder.join("restored"))?;
    each(bench, contenders, DIFF, |bench, contender| {
        let (old, new) = (Number::Again as u32, Number::Changed as u32);
        match contender.engine.as_ref().and_then(|engine| engine.diff(old, new)) {
            Some(run) => bench.measure(DIFF, contender.name, run),
            None => cannot(bench, DIFF, contender.name),
        }
    })?;
    trees.photos()?.iter().try_for_each(|file| warm(file))?;
    snapshot(bench, contenders, PHOTOS, &trees.photos, Number::Photos)?;
    let Some(next) = &trees.next else { return Ok(()) };
    exchange(&trees.tree, next)?;
    let measured = snapshot(bench, contenders, NEXT, &trees.tree, Number::Next);
    exchange(&trees.tree, next)?;
    measured
}

/// Each folder takes the place of the other.
fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    let aside = one.with_extension("aside");
    fs::rename(one, &aside)?;
    fs::rename(other, one)?;
    fs::rename(&aside, other)
}

/// A snapshot of a tree by everybody who can make this one.
fn snapshot(
    bench: &mut Bench,
    contenders: &mut Vec<Contender>,
    task: &'static str,
    tree: &Path,
    number: Number,
) -> Result<()> {
    each(bench, contenders, task, |bench, contender| {
        let (name, number) = (contender.name, number as u32);
        let Some(engine) = &contender.engine else { return Ok(true) };
        if name == TAR && ![FIRST, PHOTOS].contains(&task) {
            return Ok(true);
        }
        let before = engine.stored()?;
        let Some(run) = engine.snapshot(tree, number) else { return cannot(bench, task, name) };
        if !bench.measure(task, name, run)? {
            return Ok(false);
        }
        let stored = engine.stored()?;
        // What these take is told alone: a store holds the tree by then.
        let is_alone = [PHOTOS, NEXT].contains(&task);
        bench.report.stored(task, name, if is_alone { stored - before.min(stored) } else { stored });
        Ok(true)
    })
}

/// Says that a program has no such command; of the floor that is no news.
fn cannot(bench: &mut Bench, task: &'static str, who: &'static str) -> Result<bool> {
    if who != TAR {
        bench.report.remark(task, who, "cannot");
    }
    Ok(true)
}

/// The changed tree back into an empty folder. Ours is compared with the tree.
fn restore(bench: &mut Bench, contenders: &mut Vec<Contender>, trees: &Trees, target: &Path) -> Result<()> {
    fs::create_dir(target)?;
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(&trees.tree).arg(target);
    bench.measure_writing(RESTORE, COPY, Run::new(copy), trees.room)?;
    fs::remove_dir_all(target)?;
    each(bench, contenders, RESTORE, |bench, contender| {
        let Some(engine) = &contender.engine else { return Ok(true) };
        fs::create_dir(target)?;
        let Some(run) = engine.restore(Number::Changed as u32, target) else {
            fs::remove_dir(target)?;
            return cannot(bench, RESTORE, contender.name);
        };
        let mut restored = bench.measure_writing(RESTORE, contender.name, run, trees.room)?;
        if restored && contender.name == NAME {
            // Everybody restores by the full path.
            let mut diff = Command::new("diff");
            diff.args(["--recursive", "--brief", "--no-dereference"]).arg(&trees.tree);
            diff.arg(target.join(trees.tree.strip_prefix("/")?));
            if let Err(error) = bench.run(Run::new(diff)) {
                bench.failed(RESTORE, contender.name, &*error)?;
                restored = false;
            }
        }
        fs::remove_dir_all(target)?;
        Ok(restored)
    })
}

impl Trees {
    /// Copies or makes up the tree, and makes up the photos.
    fn make(bench: &mut Bench) -> Result<Self> {
        let (tree, photos) = (bench.path("tree"), bench.path("photos"));
        let (files, bytes) = make_tree(bench, &tree)?;
        let next = bench.args.next_tree.clone().map(|source| (source, bench.path("next-tree")));
        if let Some((source, place)) = &next {
            bench.say("copying its next version");
            copy(bench, &source.canonicalize()?, place)?;
            bench.report.works(NEXT, Work::Bytes(regular_files(place, &mut Vec::new())?));
        }
        bench.say("making up photos");
        let photo_bytes = make_photos(&photos, bench.size())?;
        for task in [FIRST, AGAIN, CHANGED, RESTORE] {
            bench.report.works(task, Work::Bytes(bytes));
        }
        bench.report.works(PHOTOS, Work::Bytes(photo_bytes));
        let room = bytes + files.len() as u64 * FILE_ROOM;
        Ok(Trees { tree, files, room, photos, next: next.map(|(_, place)| place) })
    }

    /// What any program does that looks at each entry once.
    fn find(&self) -> Command {
        let mut command = Command::new("find");
        command.arg(&self.tree).args(["-printf", "%s %T@ %i\n"]);
        command
    }

    fn photos(&self) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        regular_files(&self.photos, &mut files)?;
        Ok(files)
    }

    /// A line more in some files, other ones each round.
    fn change(&self, round: u64) -> Result<()> {
        let changing = self.files.iter().skip((round % CHANGE_ONE_OF) as usize);
        for file in changing.step_by(CHANGE_ONE_OF as usize) {
            writeln!(File::options().append(true).open(file)?, "changed in round {round}")?;
        }
        Ok(())
    }
}

/// Copies or makes up the tree; its files, and their bytes.
pub fn make_tree(bench: &mut Bench, tree: &Path) -> Result<(Vec<PathBuf>, u64)> {
    let what = match bench.args.tree.clone() {
        Some(source) => {
            bench.say("copying the tree");
            let source = source.canonicalize()?;
            copy(bench, &source, tree)?;
            source.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
        }
        None => {
            bench.say("making up a tree");
            let mut out = Splitter { folder: tree.to_owned(), files: 0, left: 0, file: None };
            Shop::of_size(bench.size(), Business::Usual).write(&mut out)?;
            "made up".to_owned()
        }
    };
    let mut files = Vec::new();
    let bytes = regular_files(tree, &mut files)?;
    files.sort();
    bench.report.tree(&what, files.len(), bytes);
    Ok((files, bytes))
}

/// Cuts what is written to it into small files of many lengths, so many to a folder.
struct Splitter {
    folder: PathBuf,
    files: u64,
    /// What the present file lacks.
    left: usize,
    file: Option<File>,
}

impl Write for Splitter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            let number = self.files;
            let folder = self.folder.join(format!("{}", number / FILES_IN_A_FOLDER));
            fs::create_dir_all(&folder)?;
            self.file = Some(File::create(folder.join(format!("part-{number}.txt")))?);
            // From a seventh of the average to almost twice of it.
            self.left =
                (FILE_LEN / 7 + number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (FILE_LEN * 12 / 7)) as usize;
            self.files += 1;
        }
        let len = bytes.len().min(self.left);
        if let Some(file) = &mut self.file {
            file.write_all(&bytes[..len])?;
        }
        self.left -= len;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn copy(bench: &mut Bench, source: &Path, target: &Path) -> Result<()> {
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(source).arg(target);
    bench.run(Run::new(copy)).map(drop)
}

/// All regular files below `folder`; their bytes.
fn regular_files(folder: &Path, into: &mut Vec<PathBuf>) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let about = entry.metadata()?;
        if about.is_dir() {
            bytes += regular_files(&entry.path(), into)?;
        } else if about.is_file() {
            bytes += about.len();
            into.push(entry.path());
        }
    }
    Ok(bytes)
}

/// Photos of about `bytes` in all: what nothing can be left out of.
fn make_photos(folder: &Path, bytes: u64) -> Result<u64> {
    fs::create_dir(folder)?;
    let count = bytes.div_ceil(PHOTO_LEN as u64);
    let mut photo = vec![0; PHOTO_LEN];
    for n in 0..count {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&n.to_le_bytes());
        crypto::expand("kamba-vault bench photo", &Secret32(seed), &mut photo);
        fs::write(folder.join(format!("{n}.jpg")), &photo)?;
    }
    Ok(count * PHOTO_LEN as u64)
}
