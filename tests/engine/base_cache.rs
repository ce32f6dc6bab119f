//! Copies of packs on this machine: what changes is coded against them where the repository is far
//! away or its key may not read, and whatever becomes of them, every byte comes back.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kamba_vault::base::kind::PackKind;
use kamba_vault::format::keyring::Role;
use kamba_vault::ops::snapshot::Made;
use kamba_vault::repo::{Environment, Repository};
use kamba_vault::storage::{Backend, Context, Fault, Memory, Op, Record};

use crate::deltas::Table;
use crate::support::views::cat;
use crate::support::{self, Vault, names, roles, snapshot};

/// A repository at the end of a network, and a table that changes from day to day.
struct Far {
    memory: Arc<Memory>,
    record: Arc<Record>,
    cache: tempfile::TempDir,
    repo: Repository,
    table: Table,
    made: Vec<(Made, Vec<u8>)>,
}

/// A network without latency.
fn network(inner: Arc<dyn Backend>) -> Arc<dyn Backend> {
    Arc::new(Fault::new(inner).with_network(Duration::ZERO, 1 << 40, &Context::simulated()))
}

impl Far {
    fn new() -> Self {
        Far::with_copies(1 << 30)
    }

    fn with_copies(copies_limit: u64) -> Self {
        let memory = Vault::new().memory;
        let record = Arc::new(Record::new(memory.clone()));
        let cache = support::folder();
        let environment =
            Environment { copies_limit, ..support::environment(network(record.clone()), cache.path()) };
        let repo = Repository::open(environment, &support::credentials()).unwrap();
        Far { memory, record, cache, repo, table: Table::new(12_000), made: Vec::new() }
    }

    /// A day's snapshot.
    fn day(&mut self) -> &Made {
        let text = self.table.text();
        self.table.pass_day();
        self.record.clear();
        let made = snapshot(&self.repo, "orders", &text).unwrap();
        self.made.push((made, text));
        &self.made[self.made.len() - 1].0
    }

    /// Requests for what lies in packs since the day began.
    fn packs_read(&self) -> usize {
        let reads = |op| matches!(op, Op::Get | Op::GetRange);
        let of_packs = |name: &str| name.starts_with("data/") || name.starts_with("meta/");
        self.record.calls().iter().filter(|call| reads(call.op) && of_packs(&call.name)).count()
    }

    fn copies(&self) -> Vec<PathBuf> {
        copies(self.cache.path())
    }

    /// That all of it comes back, on a machine that has no copies.
    fn assert_comes_back(&self) {
        let other = Vault::of(self.memory.clone());
        for (day, (made, text)) in self.made.iter().enumerate() {
            assert!(cat(&other.repo, &made.id, "orders").unwrap() == *text, "day {day}");
        }
        support::assert_clean(&other.repo);
    }
}

/// Files of copies below a cache folder.
fn copies(cache: &Path) -> Vec<PathBuf> {
    let repository = fs::read_dir(cache).unwrap().next().unwrap().unwrap().path();
    let Ok(entries) = fs::read_dir(repository.join("packs")) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn what_changes_is_coded_without_a_look_at_the_packs_far_away() {
    let mut far = Far::new();
    let first = far.day().added;
    assert_eq!(first.delta_bytes, 0);
    for day in 1..8 {
        let added = far.day().added;
        assert!(added.delta_bytes > added.new_bytes * 3 / 4, "day {day}: {added:?}");
        assert!(added.stored_bytes < first.stored_bytes / 5, "day {day}: {added:?}");
        assert!(added.base_bytes > 0 && added.base_fetched_bytes == 0, "day {day}: {added:?}");
        assert_eq!(far.packs_read(), 0, "day {day}");
    }
    assert_eq!(far.copies().len(), names(&*far.memory, "data/").len() + names(&*far.memory, "meta/").len());
    far.assert_comes_back();
}

#[test]
fn bases_that_are_read_in_the_repository_are_counted() {
    let vault = Vault::new();
    let mut table = Table::new(12_000);
    snapshot(&vault.repo, "orders", &table.text()).unwrap();
    table.pass_day();
    let record = Arc::new(Record::new(vault.memory.clone()));
    let repo = support::open(&(record.clone() as Arc<dyn Backend>), vault.cache.path());
    let added = snapshot(&repo, "orders", &table.text()).unwrap().added;
    assert!(added.delta_bytes > 0);
    assert_eq!(added.base_fetched_bytes, record.total(Op::GetRange).amount);
    assert!(copies(vault.cache.path()).is_empty(), "what is near needs no copies");
}

#[test]
fn the_copies_can_be_deleted_and_are_made_anew() {
    let mut far = Far::new();
    far.day();
    far.day();
    far.copies().into_iter().for_each(|path| fs::remove_file(path).unwrap());
    let cold = far.day().added;
    assert_eq!((cold.delta_bytes, far.packs_read()), (0, 0), "{cold:?}");
    let warm = far.day().added;
    // What did not change on the cold day has no copy: only what does so from then on.
    assert!(warm.delta_bytes > warm.new_bytes / 2, "{warm:?}");
    far.assert_comes_back();
}

#[test]
fn damaged_copies_are_no_bases_and_go() {
    let mut far = Far::new();
    far.day();
    let whole = far.copies();
    for (n, path) in whole.iter().enumerate() {
        let mut bytes = fs::read(path).unwrap();
        // In the key, and all over what is sealed.
        let from = if n == 0 { 0 } else { 1000 };
        bytes[from..].iter_mut().step_by(512).for_each(|byte| *byte ^= 1);
        fs::write(path, bytes).unwrap();
    }
    assert_eq!(far.day().added.delta_bytes, 0);
    far.day();
    assert!(far.day().added.delta_bytes > 0);
    far.assert_comes_back();
}

#[test]
fn they_stay_within_their_limit() {
    let limit = 400_000;
    let mut far = Far::with_copies(limit);
    for _ in 0..6 {
        far.day();
        let size: u64 = far.copies().iter().map(|path| path.metadata().unwrap().len()).sum();
        assert!(size <= limit, "{size}");
    }
    assert!(!far.copies().is_empty());
    far.assert_comes_back();

    let mut none = Far::with_copies(0);
    none.day();
    assert_eq!((none.day().added.delta_bytes, none.copies().len()), (0, 0));
}

#[test]
fn a_pack_that_the_repository_lost_is_no_base_whatever_copy_there_is() {
    let mut far = Far::new();
    far.day();
    for pack in names(&*far.memory, "data/") {
        far.memory.delete(&pack).unwrap();
    }
    let added = far.day().added;
    assert_eq!(added.delta_bytes, 0, "{added:?}");
    let (made, text) = &far.made[1];
    assert!(cat(&Vault::of(far.memory.clone()).repo, &made.id, "orders").unwrap() == *text);
}

#[test]
fn a_writer_that_may_not_read_codes_against_what_it_wrote_itself() {
    let vault = Vault::new();
    let cache = support::folder();
    let writer = roles::open_as(&vault.memory, &roles::writer(vault.repo.keys().ring()), cache.path());
    assert_eq!(writer.keys().role(), Role::Writer);
    assert!(
        writer.keys().may_read(PackKind::Data).is_err() && writer.keys().may_read(PackKind::Meta).is_err()
    );
    let mut table = Table::new(12_000);
    let days: Vec<_> = (0..4)
        .map(|_| {
            let text = table.text();
            table.pass_day();
            (snapshot(&writer, "orders", &text).unwrap(), text)
        })
        .collect();
    for (made, _) in &days[1..] {
        assert!(made.added.delta_bytes > made.added.new_bytes * 3 / 4, "{:?}", made.added);
    }
    for (made, text) in &days {
        assert!(cat(&vault.repo, &made.id, "orders").unwrap() == *text);
        assert!(cat(&writer, &made.id, "orders").is_err(), "the copies are for bases alone");
    }
    support::assert_clean(&vault.repo);
    // Copies are of use to whoever wrote them, and to nobody else.
    let (seed, bytes) = ([1; 32], fs::read(&copies(cache.path())[0]).unwrap());
    let other = kamba_vault::format::keyring::Keyring {
        signing_seed: kamba_vault::base::secret::Secret32(seed),
        ..vault.repo.keys().ring().clone()
    };
    let header: [u8; 64] = *bytes[48..].first_chunk().unwrap();
    let open =
        |keys: &kamba_vault::repo::keys::Keys| keys.open_own_key(&header, bytes.first_chunk().unwrap());
    assert!(open(writer.keys()).is_some());
    assert!(open(&kamba_vault::repo::keys::Keys::new(other).unwrap()).is_none());
}
