//! Random histories of a repository against a naive model of it: what was committed, and its bytes.
//! Machines come and go, sessions overlap, fail, die and are fenced, caches are deleted, objects are
//! harmed and mended. After every step all that the model holds reads back exactly; while there is
//! damage, `check` names it, nothing wrong is given, and what `check` calls unhurt reads back whole.
//!
//! A failed history prints its seed and steps; `KAMBA_TEST_SEED=N` plays that one (or any other) too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kamba_vault::base::class::Class;
use kamba_vault::base::clock::Cancel;
use kamba_vault::base::id::SessionId;
use kamba_vault::base::monitor::Silent;
use kamba_vault::crypto::Random;
use kamba_vault::format::name::pack_name;
use kamba_vault::ops;
use kamba_vault::repo::session::{Content, Session};
use kamba_vault::repo::{self, Environment, Repository, index, roots};
use kamba_vault::storage::{Backend, Fault, Memory};
use tempfile::TempDir;

use crate::support::views::{self, Model, read_damaged};
use crate::support::{self, SeededRandom, Streams, TestClock, names, noise, rows};

/// Histories that are always played.
const SEEDS: [u64; 4] = [1, 2, 3, 4];
/// Steps of one history.
const STEPS: usize = 40;
/// Machines, each with a cache of its own.
const MACHINES: usize = 3;
/// Sessions at work at once.
const SESSIONS: usize = 3;

/// Random choices that are the same in every run.
struct Dice(SeededRandom);

impl Dice {
    fn roll(&self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes).unwrap();
        u64::from_le_bytes(bytes)
    }

    fn below(&self, n: usize) -> usize {
        (self.roll() % n as u64) as usize
    }

    fn pick<'t, T>(&self, from: &'t [T]) -> &'t T {
        &from[self.below(from.len())]
    }

    /// Bytes as streams have them.
    fn data(&self) -> Vec<u8> {
        let len = *self.pick(&[1, 700, 15_000, 60_000, 150_000]) + self.below(500);
        match self.below(6) {
            0 => Vec::new(),
            1 => vec![0; len],
            2 => b"all work and no play makes jack a dull boy\n".iter().copied().cycle().take(len).collect(),
            3 => noise(self.roll(), len),
            _ => rows(self.roll(), len),
        }
    }

    /// What becomes of a stream until the next snapshot.
    fn edit(&self, mut data: Vec<u8>) -> Vec<u8> {
        let at = self.below(data.len() + 1);
        let end = at + self.below((data.len() - at).min(30_000) + 1);
        match self.below(5) {
            0 => data.truncate(at),
            1 => data.extend(rows(self.roll(), self.below(30_000))),
            2 => drop(data.splice(at..at, noise(self.roll(), self.below(5_000)))),
            3 => drop(data.drain(at..end)),
            _ => drop(data.splice(at..end, self.data())),
        }
        data
    }
}

/// A session at work, on a backend that can die under it.
struct Open {
    session: Session,
    repo: Repository,
    fault: Arc<Fault>,
    machine: usize,
    streams: Streams,
    stored: BTreeMap<String, Content>,
    fenced: bool,
}

impl Open {
    fn write(&mut self, name: String, data: Vec<u8>) {
        self.stored.insert(name.clone(), support::store(&self.session, &data).unwrap());
        self.streams.insert(name, data);
    }

    /// Commits; the streams, and whether it worked.
    fn commit(self) -> (SessionId, Streams, Result<SessionId, repo::Error>) {
        let id = self.session.id();
        let contents = self.stored.iter().map(|(name, content)| (name.as_str(), content));
        let done = support::commit_contents(self.session, &self.repo, contents);
        (id, self.streams, done)
    }
}

struct World {
    dice: Dice,
    random: Arc<SeededRandom>,
    clock: Arc<TestClock>,
    memory: Arc<Memory>,
    machines: Vec<TempDir>,
    open: Vec<Open>,
    model: Model,
    /// Steps so far, for whoever must understand a failure.
    history: Vec<String>,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.history.iter().for_each(|step| println!("{step}"));
        }
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let memory = Arc::new(Memory::new());
        support::init(&(memory.clone() as Arc<dyn Backend>));
        World {
            dice: Dice(SeededRandom::new(seed)),
            random: Arc::new(SeededRandom::new(!seed)),
            clock: TestClock::at(1_800_000_000_000_000_000),
            memory,
            machines: (0..MACHINES).map(|_| support::folder()).collect(),
            open: Vec::new(),
            model: Model::new(),
            history: vec![format!("KAMBA_TEST_SEED={seed}")],
        }
    }

    fn note(&mut self, step: impl Into<String>) {
        self.history.push(step.into());
    }

    fn environment(&self, backend: Arc<dyn Backend>, cache: &TempDir) -> Environment {
        Environment {
            clock: self.clock.clone(),
            random: self.random.clone(),
            copies_limit: 1 << 20,
            ..support::environment(backend, cache.path())
        }
    }

    fn open_with(&self, cache: &TempDir) -> Result<Repository, repo::Error> {
        Repository::open(self.environment(self.memory.clone(), cache), &support::credentials())
    }

    /// The repository as a machine sees it.
    fn seen_by(&self, machine: usize) -> Repository {
        self.open_with(&self.machines[machine]).unwrap()
    }

    fn step(&mut self) {
        match self.dice.below(20) {
            0..=3 => self.snapshot(),
            4 | 5 => self.begin(),
            6..=8 => self.write(),
            9 | 10 => self.commit(),
            11 => self.die(),
            12 => self.abandon(),
            13 => self.fence(),
            14 => self.fail_late(),
            15 => self.delete_cache(),
            16 => self.pass_time(),
            _ => self.harm(),
        }
    }

    fn begin(&mut self) {
        if self.open.len() == SESSIONS {
            return self.commit();
        }
        let machine = self.dice.below(MACHINES);
        let fault = Arc::new(Fault::new(self.memory.clone()));
        let environment = self.environment(fault.clone(), &self.machines[machine]);
        let repo = Repository::open(environment, &support::credentials()).unwrap();
        let session = support::begin(&repo).unwrap();
        self.note(format!("machine {machine} begins {}", session.id()));
        let (streams, stored) = (Streams::new(), BTreeMap::new());
        self.open.push(Open { session, repo, fault, machine, streams, stored, fenced: false });
    }

    /// Takes a session out of those at work.
    fn take(&mut self) -> Option<Open> {
        (!self.open.is_empty()).then(|| self.open.swap_remove(self.dice.below(self.open.len())))
    }

    /// A new stream, or a later state of one that is there.
    fn stream(&self) -> (String, Vec<u8>) {
        let known: Vec<(&String, &Vec<u8>)> = self.model.values().flatten().collect();
        if known.is_empty() || self.dice.below(3) == 0 {
            return (format!("s{}", self.dice.below(5)), self.dice.data());
        }
        let (name, data) = self.dice.pick(&known);
        let data = (*data).clone();
        ((*name).clone(), if self.dice.below(3) == 0 { data } else { self.dice.edit(data) })
    }

    fn write(&mut self) {
        if self.open.is_empty() {
            return self.begin();
        }
        let (name, data) = self.stream();
        let at = self.dice.below(self.open.len());
        let id = self.open[at].session.id();
        self.note(format!("{id} writes {name} of {} bytes", data.len()));
        self.open[at].write(name, data);
    }

    /// A whole session at once.
    fn snapshot(&mut self) {
        let machine = self.dice.below(MACHINES);
        let repo = self.seen_by(machine);
        let streams: Streams = (0..=self.dice.below(3)).map(|_| self.stream()).collect();
        let id = support::snapshot_streams(&repo, &streams).unwrap();
        self.note(format!("machine {machine} made {id}: {:?}", lens(&streams)));
        self.model.insert(id, streams);
    }

    fn commit(&mut self) {
        let Some(open) = self.take() else { return self.snapshot() };
        let fenced = open.fenced;
        let (id, streams, done) = open.commit();
        self.note(format!("{id} commits: {:?}", done.as_ref().map(drop).map_err(ToString::to_string)));
        match done {
            Ok(_) => {
                assert!(!fenced, "{id} was fenced, and committed");
                self.model.insert(id, streams);
            }
            Err(e) => assert!(fenced && matches!(e, repo::Error::Fenced { .. }), "{id}: {e}"),
        }
    }

    /// A machine dies at one of the last steps of a session.
    fn die(&mut self) {
        let Some(open) = self.take() else { return self.begin() };
        let fenced = open.fenced;
        open.fault.crash_after(self.dice.below(6) as u64, self.dice.below(2) == 0);
        let (id, streams, done) = open.commit();
        let cold = support::folder();
        let repo = self.open_with(&cold).unwrap();
        let there = roots::list(&repo, &Cancel::new()).unwrap().snapshots.iter().any(|s| s.id == id);
        self.note(format!("{id} dies; committed: {there}"));
        assert!(there || done.is_err(), "{id} said it had committed");
        assert!(!(there && fenced), "{id} was fenced, and committed");
        // Whole or not there at all.
        if there {
            self.model.insert(id, streams);
        }
    }

    fn abandon(&mut self) {
        let Some(open) = self.take() else { return self.begin() };
        self.note(format!("{} gives up", open.session.id()));
        open.session.abandon();
    }

    fn fence(&mut self) {
        if self.open.is_empty() {
            return self.begin();
        }
        let at = self.dice.below(self.open.len());
        let id = self.open[at].session.id();
        let machine = self.dice.below(MACHINES);
        self.note(format!("machine {machine} fences {id}"));
        assert!(roots::fence(&self.seen_by(machine), &id).unwrap());
        self.open[at].fenced = true;
    }

    /// All is stored and indexed, and then there is no root.
    fn fail_late(&mut self) {
        let Some(open) = self.take() else { return self.begin() };
        self.note(format!("{} fails at its root", open.session.id()));
        let failed = open.session.commit(|_, _| Err(repo::Error::Usage("no".into()))).unwrap_err();
        assert_eq!(failed.to_string(), "no");
    }

    fn delete_cache(&mut self) {
        let idle = |machine: &usize| self.open.iter().all(|open| open.machine != *machine);
        let Some(machine) = (0..MACHINES).find(idle) else { return self.commit() };
        self.note(format!("machine {machine} loses its cache"));
        self.machines[machine] = support::folder();
    }

    /// Hours forward, or a little back: clocks do that.
    fn pass_time(&mut self) {
        let hour = 3_600_000_000_000;
        let passes = if self.dice.below(4) == 0 { -hour / 60 } else { self.dice.below(48) as i64 * hour };
        self.note(format!("{} minutes pass", passes / hour * 60));
        self.clock.pass(passes);
    }

    /// Whatever happened: what was committed is there, and nothing else is.
    fn assert_whole(&self) {
        let cold = support::folder();
        let machine = self.dice.below(MACHINES);
        for repo in [self.seen_by(machine), self.open_with(&cold).unwrap()] {
            let listing = roots::list(&repo, &Cancel::new()).unwrap();
            let there: BTreeSet<SessionId> = listing.snapshots.iter().map(|s| s.id).collect();
            assert!(there.iter().eq(self.model.keys()), "{there:?}");
            assert!(listing.damaged.is_empty(), "{:?}", listing.damaged);
        }
        // One machine reads everything, to check another.
        views::assert_reads(&self.seen_by(machine), &self.model);
        let checked = support::assert_clean(&self.seen_by((machine + 1) % MACHINES));
        assert_eq!(checked.snapshots, self.model.len() as u64);
    }
}

fn lens(streams: &Streams) -> BTreeMap<&str, usize> {
    streams.iter().map(|(name, data)| (name.as_str(), data.len())).collect()
}

/// A harmed object.
struct Harmed {
    name: String,
    was: Vec<u8>,
    deleted: bool,
}

impl World {
    /// Harms some objects, looks at the repository with two machines' eyes, and mends it.
    fn harm(&mut self) {
        let indexed = self.indexed();
        let all = support::objects(&self.memory);
        let mut harmed: Vec<Harmed> = Vec::new();
        for _ in 0..=self.dice.below(3) {
            let prefix = *self.dice.pick(&["data/", "data/", "meta/", "index/", "roots/", "leases/", ""]);
            let candidates: Vec<&String> = all.keys().filter(|name| name.starts_with(prefix)).collect();
            if candidates.is_empty() {
                continue;
            }
            let name = (*self.dice.pick(&candidates)).clone();
            if !harmed.iter().any(|other| other.name == name) {
                harmed.extend(self.harm_object(name, &all));
            }
        }
        let trust = |harmed: &Harmed| {
            ["config", "keys/", "signers/"].iter().any(|prefix| harmed.name.starts_with(prefix))
        };
        if harmed.iter().any(trust) {
            let refused = self.open_with(&support::folder()).err().expect("nobody can trust this");
            let fitting = [Class::Damaged, Class::NoRepository, Class::Failed];
            assert!(fitting.contains(&refused.class()), "{refused}");
        } else {
            let machine = self.dice.below(MACHINES);
            self.look(&self.seen_by(machine), &harmed, &indexed, true);
            let cold = support::folder();
            let repo = self.open_with(&cold).unwrap();
            self.look(&repo, &harmed, &indexed, false);
            // What is new is whole, whatever happened to the old.
            let new = Streams::from([("new".to_owned(), noise(self.dice.roll(), 50_000))]);
            let id = support::snapshot_streams(&repo, &new).unwrap();
            self.note(format!("{id} is made amid the damage"));
            views::assert_reads(&self.seen_by(machine), &Model::from([(id, new.clone())]));
            self.model.insert(id, new);
        }
        harmed.iter().for_each(|harmed| self.memory.overwrite(&harmed.name, &harmed.was));
        self.note("all is mended");
    }

    /// Names of the packs in the index.
    fn indexed(&self) -> BTreeSet<String> {
        let cold = support::folder();
        let repo = self.open_with(&cold).unwrap();
        index::refresh(&repo, &Silent, &Cancel::new()).unwrap();
        let mut packs = BTreeSet::new();
        let mut take = |_, pack: index::PackInfo| {
            packs.insert(pack_name(pack.kind, &pack.id));
            Ok(())
        };
        repo.index().each_pack(&mut take).unwrap();
        packs
    }

    /// Harms an object in a random way; `None` if that would change nothing.
    fn harm_object(&mut self, name: String, all: &BTreeMap<String, Vec<u8>>) -> Option<Harmed> {
        let was = all[&name].clone();
        let folder = name.split_inclusive('/').next().unwrap_or_default();
        let alike: Vec<&Vec<u8>> =
            all.iter().filter(|(other, _)| other.starts_with(folder)).map(|(_, bytes)| bytes).collect();
        let mut bytes = was.clone();
        let how = self.dice.below(7);
        match how {
            0 | 1 => bytes[self.dice.below(was.len())] ^= 1 << self.dice.below(8),
            2 => bytes.truncate(self.dice.below(was.len())),
            3 => bytes.clear(),
            4 => bytes = (*self.dice.pick(&alike)).clone(),
            5 => bytes.extend(noise(self.dice.roll(), 1 + self.dice.below(5_000))),
            _ => self.memory.delete(&name).unwrap(),
        }
        let deleted = how == 6;
        if !deleted && bytes == was {
            return None;
        }
        let what = ["flipped", "flipped", "truncated", "emptied", "swapped", "extended", "deleted"][how];
        self.note(format!("{name} is {what}"));
        if !deleted {
            self.memory.overwrite(&name, &bytes);
        }
        Some(Harmed { name, was, deleted })
    }

    /// What a machine makes of the damage.
    fn look(&self, repo: &Repository, harmed: &[Harmed], indexed: &BTreeSet<String>, warm: bool) {
        let remembered: BTreeSet<String> = repo.index().objects("roots/").unwrap().into_iter().collect();
        let report = support::check_all(repo);
        let index_is_hurt = harmed.iter().any(|harmed| harmed.name.starts_with("index/"));
        let is_named = |name: &str| report.damaged.iter().any(|damage| damage.object == name);
        for Harmed { name, deleted, .. } in harmed {
            let must_be_named = match name.split('/').next().unwrap_or_default() {
                // What is in no index part belongs to nobody; and a part that is hurt tells nothing.
                "data" | "meta" => !index_is_hurt && indexed.contains(name),
                "roots" => !deleted || remembered.contains(name) && !self.is_tombstone(name),
                _ => !deleted,
            };
            assert!(!must_be_named || is_named(name), "{name}, warm: {warm}: {report:#?}");
        }
        // Of a root that is gone only those know who saw it.
        let gone = |id: &SessionId| {
            let name = format!("roots/{id}");
            !remembered.contains(&name) && harmed.iter().any(|harmed| harmed.deleted && harmed.name == name)
        };
        let (unknown, known): (Model, Model) = self.model.clone().into_iter().partition(|(id, _)| gone(id));
        let outcome = read_damaged(repo, &known, Some(&report));
        assert!(!report.is_clean() || outcome.lost == 0);
        for id in unknown.keys() {
            let lost = views::ls(repo, id).unwrap_err();
            assert!(matches!(lost, ops::Error::Repo(repo::Error::NoSnapshot { .. })), "{id}: {lost}");
        }
        // Where nothing is damaged that holds data, nothing is lost.
        let holds_data = |harmed: &Harmed| !harmed.name.starts_with("leases/");
        assert!(outcome.lost == 0 || harmed.iter().any(holds_data));
    }

    fn is_tombstone(&self, root: &str) -> bool {
        self.model.keys().all(|id| format!("roots/{id}") != root)
    }
}

/// Plays one history.
fn play(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
        world.assert_whole();
    }
    while !world.open.is_empty() {
        world.commit();
    }
    world.assert_whole();
    assert!(!world.model.is_empty() && names(&*world.memory, "data/").len() > 1);
}

#[test]
fn random_histories_agree_with_the_model() {
    SEEDS.into_iter().for_each(play);
    if let Ok(asked) = std::env::var("KAMBA_TEST_SEED") {
        play(asked.parse().expect("a number"));
    }
}
