//! The damage matrix: every kind of object × every way to harm it. `check` finds it or the repository
//! does not open; what is read is right or an error that `check` foretold; nothing panics.

use std::collections::BTreeMap;
use std::sync::Arc;

use kamba_vault::base::class::Class;
use kamba_vault::base::clock::Cancel;
use kamba_vault::base::id::SessionId;
use kamba_vault::base::monitor::Silent;
use kamba_vault::ops::check::{self, ReadData, Report};
use kamba_vault::repo::index::PackInfo;
use kamba_vault::repo::{Repository, roots};
use kamba_vault::storage::{Backend, Memory};

use crate::support::views::{Model, Outcome, read_damaged};
use crate::support::{self, Streams, Vault, names, noise, objects, rows, snapshot_streams};

/// A way to harm an object.
#[derive(Clone, Debug)]
enum Harm {
    /// Flips a bit of the byte at this place.
    Flip(usize, u8),
    Truncate(usize),
    Empty,
    Delete,
    /// Puts another object's bytes in its place.
    Swap(Vec<u8>),
    Extend(Vec<u8>),
}

impl Harm {
    fn apply(&self, memory: &Memory, name: &str, bytes: &[u8]) {
        match self {
            Harm::Flip(at, bit) => {
                let mut bytes = bytes.to_vec();
                bytes[*at] ^= 1 << bit;
                memory.overwrite(name, &bytes);
            }
            Harm::Truncate(len) => memory.overwrite(name, &bytes[..*len]),
            Harm::Empty => memory.overwrite(name, b""),
            Harm::Delete => memory.delete(name).unwrap(),
            Harm::Swap(other) => memory.overwrite(name, other),
            Harm::Extend(more) => memory.overwrite(name, &[bytes, more].concat()),
        }
    }
}

/// Ways to harm an object of these bytes, apart from swaps: bits of every field of a header, a pack's
/// trailer and what lies between.
fn harms(bytes: &[u8]) -> Vec<Harm> {
    let len = bytes.len();
    let from_start = [0, 8, 9, 10, 11, 12, 16, 32, 63, 64, 68, 80, 93, 130, 144, 145];
    let from_end = [1, 8, 9, 13, 16, 64, 65, 80, 81, 150, 161, 190, 400];
    let between = [len / 4, len / 3, len / 2, len * 2 / 3, len * 9 / 10];
    let flips =
        from_start.into_iter().chain(between).chain(from_end.into_iter().filter_map(|n| len.checked_sub(n)));
    let mut harms: Vec<Harm> =
        flips.filter(|at| *at < len).map(|at| Harm::Flip(at, (at % 8) as u8)).collect();
    let lens = [1, 63, 64, 100, len / 2, len - 161.min(len), len - 1];
    harms.extend(lens.into_iter().filter(|to| *to < len).map(Harm::Truncate));
    harms.extend([Harm::Empty, Harm::Delete]);
    harms.extend([vec![0], vec![0x5a; 5000], bytes.to_vec()].map(Harm::Extend));
    harms
}

/// A sound repository and what is in it.
struct Sound {
    objects: BTreeMap<String, Vec<u8>>,
    /// Another repository, with the same key file.
    foreign: BTreeMap<String, Vec<u8>>,
    model: Model,
    /// The cache of the machine that wrote it.
    cache: tempfile::TempDir,
}

fn streams<const N: usize>(streams: [(&str, Vec<u8>); N]) -> Streams {
    streams.into_iter().map(|(name, data)| (name.to_owned(), data)).collect()
}

/// Three snapshots that share data; the leases of two sessions that died; and one that was fenced.
fn make(seed: u64, model: &mut Model) -> Vault {
    let vault = Vault::new();
    let first = [
        ("a", rows(seed, 120_000)),
        ("b", noise(seed, 90_000)),
        ("empty", Vec::new()),
        ("tiny", b"x".to_vec()),
    ];
    let mut grown = rows(seed, 120_000);
    grown.splice(50_000..50_010, rows(seed + 1, 40_000));
    let second = [("a", grown), ("long", noise(seed + 2, 600_000))];
    let third = [("b", noise(seed, 90_000)), ("d", rows(seed + 3, 50_000))];
    for streams in [streams(first), streams(second), streams(third)] {
        model.insert(snapshot_streams(&vault.repo, &streams).unwrap(), streams);
    }
    assert!(roots::fence(&vault.repo, &SessionId([9; 16])).unwrap());
    let mut leases = Vec::new();
    for _ in 0..2 {
        let session = support::begin(&vault.repo).unwrap();
        let name = names(&*vault.memory, "leases/").remove(0);
        leases.push((name.clone(), vault.memory.get(&name, 1 << 20).unwrap()));
        session.abandon();
    }
    for (name, bytes) in leases {
        vault.memory.overwrite(&name, &bytes);
    }
    vault
}

impl Sound {
    fn new() -> Self {
        let mut model = Model::new();
        let Vault { memory, backend, cache, repo } = make(1, &mut model);
        let report = support::assert_clean(&repo);
        assert_eq!((report.snapshots, report.packs), (3, 6));
        // Closing the last connection leaves one file to copy.
        drop((repo, backend));
        let foreign = objects(&make(100, &mut Model::new()).memory);
        Sound { objects: objects(&memory), foreign, model, cache }
    }

    /// A stream on four days, each coded against the one before, and one beside it.
    fn chain() -> Self {
        let (mut model, mut data) = (Model::new(), rows(7, 150_000));
        let Vault { memory, backend, cache, repo } = Vault::new();
        let beside = [("beside", noise(8, 40_000))];
        model.insert(support::snapshot(&repo, beside[0].0, &beside[0].1).unwrap().id, streams(beside));
        for day in 0..4 {
            let made = support::snapshot(&repo, "rows", &data).unwrap();
            model.insert(made.id, streams([("rows", data.clone())]));
            data.splice(70_000..70_010, noise(20 + day, 40));
        }
        let mut deepest = 0;
        let deeper = |pack: &PackInfo| pack.segments.iter().map(|segment| segment.depth).max();
        let each = &mut |_, pack: PackInfo| {
            deepest = deepest.max(deeper(&pack).unwrap_or_default());
            Ok(())
        };
        repo.index().each_pack(each).unwrap();
        assert_eq!(deepest, 3, "each day is a link");
        support::assert_clean(&repo);
        drop((repo, backend));
        let foreign = objects(&make(100, &mut Model::new()).memory);
        Sound { objects: objects(&memory), foreign, model, cache }
    }

    /// The objects below `prefix`.
    fn of(&self, prefix: &str) -> Vec<&String> {
        self.objects.keys().filter(|name| name.starts_with(prefix)).collect()
    }

    /// What to do to the object `name` of those below `prefix`.
    fn harms(&self, prefix: &str, name: &str) -> Vec<Harm> {
        let mut harms = harms(&self.objects[name]);
        let others = self.objects.iter().filter(|(other, _)| other.starts_with(prefix) && *other != name);
        harms.extend(others.map(|(_, bytes)| Harm::Swap(bytes.clone())));
        let foreign = self.foreign.iter().find(|(other, _)| other.starts_with(prefix));
        let (_, bytes) = foreign.unwrap();
        harms.push(Harm::Swap(bytes.clone()));
        harms
    }

    fn memory(&self) -> Arc<Memory> {
        let memory = Memory::new();
        self.objects.iter().for_each(|(name, bytes)| memory.overwrite(name, bytes));
        Arc::new(memory)
    }

    fn harmed(&self, name: &str, harm: &Harm) -> Arc<Memory> {
        let memory = self.memory();
        harm.apply(&memory, name, &self.objects[name]);
        memory
    }

    /// A copy of the writer's cache.
    fn warm_cache(&self) -> tempfile::TempDir {
        let to = support::folder();
        support::copy_folder(self.cache.path(), to.path());
        to
    }
}

fn structure(repo: &Repository) -> Report {
    check::check(repo, ReadData::None, &Silent, &Cancel::new()).unwrap()
}

/// What came of one harm.
struct Seen<'a> {
    name: &'a str,
    harm: &'a Harm,
    report: Report,
    outcome: Outcome,
    /// Seen by the machine that wrote the repository, not by a new one.
    warm: bool,
}

impl Seen<'_> {
    fn found(&self) -> bool {
        self.report.damaged.iter().any(|damage| damage.object == self.name) || !self.report.hurt.is_empty()
    }

    fn assert_found(&self) {
        assert!(self.found(), "{} {:?} (warm: {}): {:#?}", self.name, self.harm, self.warm, self.report);
    }
}

/// Harms `name` in every way; each result, as two machines see it, goes to `judge`.
fn harm_all(sound: &Sound, prefix: &str, name: &str, judge: &mut dyn FnMut(Seen<'_>)) {
    let total: usize = sound.model.values().map(BTreeMap::len).sum();
    for harm in sound.harms(prefix, name) {
        for warm in [false, true] {
            let backend = sound.harmed(name, &harm) as Arc<dyn Backend>;
            let cache = if warm { sound.warm_cache() } else { support::folder() };
            let opened = support::try_open(&backend, cache.path());
            let repo = opened.unwrap_or_else(|e| panic!("{name} {harm:?}: it does not open: {e}"));
            let report = support::check_all(&repo);
            // The structure alone: says no more than the whole check does.
            let quick = structure(&repo);
            assert!(report.is_clean() <= quick.is_clean(), "{name} {harm:?}: {quick:#?}\n{report:#?}");
            // What only the writer's memory knows is not foretold.
            let foretold = warm || !(prefix == "roots/" && matches!(harm, Harm::Delete));
            let outcome = read_damaged(&repo, &sound.model, foretold.then_some(&report));
            assert_eq!(outcome.intact + outcome.lost, total);
            judge(Seen { name, harm: &harm, report, outcome, warm });
        }
    }
}

fn packs(prefix: &str) {
    let sound = Sound::new();
    let names = sound.of(prefix);
    assert_eq!(names.len(), 3);
    for name in names {
        let mut lost = 0;
        harm_all(&sound, prefix, name, &mut |seen| {
            seen.assert_found();
            assert!(seen.report.damaged.iter().any(|damage| damage.object == seen.name));
            // Each pack serves one or two of three snapshots.
            assert!(seen.outcome.intact >= 2, "{} {:?}: nothing is left", seen.name, seen.harm);
            lost += seen.outcome.lost;
        });
        assert!(lost > 0, "no harm hurts {name}");
    }
}

#[test]
fn data_packs() {
    packs("data/");
}

#[test]
fn data_packs_of_a_chain() {
    let sound = Sound::chain();
    let names = sound.of("data/");
    assert_eq!(names.len(), 5);
    let mut most = Vec::new();
    for name in names {
        let mut lost = 0;
        harm_all(&sound, "data/", name, &mut |seen| {
            seen.assert_found();
            let damaged: Vec<&str> = seen.report.damaged.iter().map(|damage| &damage.object[..]).collect();
            assert_eq!(damaged, [seen.name], "{:?}: only where the harm was done", seen.harm);
            lost = lost.max(seen.outcome.lost);
        });
        most.push(lost);
    }
    most.sort_unstable();
    // What stands beside; and of the chain the last link, the one before with all that goes through it, and so on.
    assert_eq!(most, [1, 1, 2, 3, 4]);
}

#[test]
fn meta_packs() {
    packs("meta/");
}

#[test]
fn index_parts() {
    let sound = Sound::new();
    let names = sound.of("index/");
    assert_eq!(names.len(), 3);
    for name in names {
        harm_all(&sound, "index/", name, &mut |seen| {
            seen.assert_found();
            // A machine that remembers the part reads on, unless it was taken away.
            let remembers = seen.warm && !matches!(seen.harm, Harm::Delete);
            assert_eq!(seen.outcome.lost == 0, remembers, "{:?}: {:?}", seen.harm, seen.outcome);
            assert!(seen.outcome.intact > 0);
        });
    }
}

#[test]
fn roots() {
    let sound = Sound::new();
    for (id, streams) in &sound.model {
        let (name, streams) = (format!("roots/{id}"), streams.len());
        let newest = *id == newest(&sound);
        harm_all(&sound, "roots/", &name, &mut |seen| {
            // Nothing is left that could tell that the newest was there, but who made it remembers.
            let unknowable = newest && !seen.warm && matches!(seen.harm, Harm::Delete);
            assert_eq!(seen.report.is_clean(), unknowable, "{:?}: {:#?}", seen.harm, seen.report);
            let remembers = seen.warm && !matches!(seen.harm, Harm::Delete);
            let lost = if remembers { 0 } else { streams };
            assert_eq!(seen.outcome.lost, lost, "{:?}, warm: {}", seen.harm, seen.warm);
        });
    }
}

#[test]
fn tombstones() {
    let sound = Sound::new();
    let is_snapshot = |name: &String| sound.model.keys().any(|id| format!("roots/{id}") == *name);
    let names: Vec<&String> = sound.of("roots/").into_iter().filter(|name| !is_snapshot(name)).collect();
    assert_eq!(names.len(), 1);
    harm_all(&sound, "roots/", names[0], &mut |seen| {
        // One that is gone is missed by a machine that saw it, and by nobody else.
        let gone = matches!(seen.harm, Harm::Delete) && !seen.warm;
        assert_eq!(seen.report.is_clean(), gone, "{:?}: {:#?}", seen.harm, seen.report);
        assert!(gone || seen.report.damaged.iter().any(|damage| damage.object == seen.name));
        assert_eq!(seen.outcome.lost, 0, "tombstones hold no data");
    });
}

/// The snapshot with the highest sequence number.
fn newest(sound: &Sound) -> SessionId {
    let vault = Vault::of(sound.memory());
    let listing = roots::list(&vault.repo, &Cancel::new()).unwrap();
    listing.snapshots.iter().max_by_key(|s| s.root.sequence).unwrap().id
}

#[test]
fn leases() {
    let sound = Sound::new();
    let names = sound.of("leases/");
    assert_eq!(names.len(), 2);
    for name in names {
        harm_all(&sound, "leases/", name, &mut |seen| {
            // A lease that is gone is one that ended.
            let gone = matches!(seen.harm, Harm::Delete);
            assert_eq!(seen.report.is_clean(), gone, "{:?}: {:#?}", seen.harm, seen.report);
            assert_eq!(seen.outcome.lost, 0, "leases hold no data");
        });
    }
}

/// Objects without which nothing opens: configuration, keyslots, signers.
fn trust(prefix: &str, gone: Class) {
    let sound = Sound::new();
    let names = sound.of(prefix);
    assert_eq!(names.len(), 1);
    let name = names[0];
    for harm in sound.harms(prefix, name) {
        let backend = sound.harmed(name, &harm) as Arc<dyn Backend>;
        let cache = support::folder();
        let error = support::try_open(&backend, cache.path()).err();
        let error = error.unwrap_or_else(|| panic!("{name} {harm:?}: it opens"));
        let expected = match &harm {
            Harm::Delete => error.class() == gone,
            // Least read version and suite: it reads as one of a later program.
            Harm::Flip(10 | 11, _) => matches!(error.class(), Class::Failed | Class::Damaged),
            _ => error.class() == Class::Damaged,
        };
        assert!(expected, "{name} {harm:?}: {:?}: {error}", error.class());
        open_before(&sound, name, &harm);
    }
}

/// Whoever had the repository open before the harm came reads on, and `check` finds the harm.
fn open_before(sound: &Sound, name: &str, harm: &Harm) {
    let vault = Vault::of(sound.memory());
    harm.apply(&vault.memory, name, &sound.objects[name]);
    let report = support::check_all(&vault.repo);
    assert!(!report.damaged.is_empty() && report.hurt.is_empty(), "{name} {harm:?}: {report:#?}");
    assert_eq!(read_damaged(&vault.repo, &sound.model, Some(&report)).lost, 0);
}

#[test]
fn config() {
    trust("config", Class::NoRepository);
}

#[test]
fn keyslots() {
    trust("keys/", Class::Damaged);
}

#[test]
fn signers() {
    trust("signers/", Class::Damaged);
}
