//! Deltas: what is coded against what, that every byte comes back through every chain, and what damage
//! does to a chain.

use std::sync::Arc;

use kamba_vault::base::clock::Cancel;
use kamba_vault::base::id::SessionId;
use kamba_vault::base::kind::Coding;
use kamba_vault::base::monitor::Silent;
use kamba_vault::codec::Level;
use kamba_vault::format::node::{Node, NodeType};
use kamba_vault::ops::check::{self, ReadData};
use kamba_vault::ops::snapshot::{Provenance, StreamRequest, snapshot_stdin};
use kamba_vault::repo::{Repository, index};
use kamba_vault::storage::{Backend, Op, Record};
use proptest::prelude::*;

use crate::support::views::cat;
use crate::support::{self, Vault, names, noise, provenance, rows, snapshot};

/// Rows of which, after a day, one in fifty has another value, some are gone, and some are new.
pub struct Table {
    rows: Vec<(u32, u32)>,
    day: u32,
}

impl Table {
    pub fn new(rows: u32) -> Self {
        Table { rows: (0..rows).map(|id| (id, 0)).collect(), day: 0 }
    }

    pub fn pass_day(&mut self) {
        self.day += 1;
        let day = self.day;
        let luck = |id: u32| blake3::hash(&[id.to_le_bytes(), day.to_le_bytes()].concat()).as_bytes()[0];
        self.rows.retain(|(id, _)| luck(*id) != 0);
        self.rows.iter_mut().filter(|(id, _)| luck(*id) < 6).for_each(|(_, version)| *version += 1);
        let next = 1_000_000 * day;
        self.rows.extend((next..next + 20).map(|id| (id, 0)));
    }

    pub fn text(&self) -> Vec<u8> {
        let row = |(id, version): &(u32, u32)| {
            let noise = blake3::hash(&[id.to_le_bytes(), version.to_le_bytes()].concat()).to_hex();
            format!("{id}\t{}\tdelivered\t{version}\n", &noise[..40])
        };
        self.rows.iter().map(row).collect::<String>().into_bytes()
    }
}

/// The depth of every segment of data.
fn depths(repo: &Repository) -> Vec<u8> {
    index::refresh(repo, &Silent, &Cancel::new()).unwrap();
    let mut depths = Vec::new();
    repo.index()
        .each_pack(&mut |_, pack| {
            assert!(pack.segments.iter().all(|s| (s.depth > 0) == (s.coding == Coding::Prefix)));
            depths.extend(pack.segments.iter().map(|segment| segment.depth));
            Ok(())
        })
        .unwrap();
    depths
}

/// A snapshot each day; their ids and what went in.
fn days(repo: &Repository, table: &mut Table, days: u32) -> Vec<(SessionId, Vec<u8>, u64)> {
    let day = |_| {
        let text = table.text();
        let made = snapshot(repo, "orders", &text).unwrap();
        table.pass_day();
        (made.id, text, made.added.stored_bytes)
    };
    (0..days).map(day).collect()
}

fn assert_come_back(repo: &Repository, made: &[(SessionId, Vec<u8>, u64)]) {
    for (day, (id, text, _)) in made.iter().enumerate() {
        assert!(cat(repo, id, "orders").unwrap() == *text, "day {day}");
    }
}

#[test]
fn every_day_comes_back_and_costs_what_changed() {
    let vault = Vault::new();
    let made = days(&vault.repo, &mut Table::new(12_000), 24);
    let (first, second) = (made[0].2, made[1].2);
    // Three rows of a hundred change or go, and half of each is noise.
    assert!(second < first / 5, "the second day added {second} of {first}");
    // On some days chains end: in so few segments many of them on one.
    let mean = made[1..].iter().map(|day| day.2).sum::<u64>() / 23;
    assert!(mean < first / 3, "{mean} a day of {first}");
    assert_come_back(&vault.repo, &made);
    assert_come_back(&vault.elsewhere().repo, &made);
    support::assert_clean(&vault.repo);
    let depths = depths(&vault.repo);
    let limit = vault.repo.config().delta_depth;
    assert!(depths.iter().all(|depth| *depth <= limit));
    assert!(depths.contains(&(limit - limit / 4)), "chains grow: {depths:?}");
}

#[test]
fn the_last_of_ten_is_read_link_by_link_once() {
    let vault = Vault::new();
    let made = days(&vault.repo, &mut Table::new(12_000), 10);
    let record = Arc::new(Record::new(vault.memory.clone()));
    let backend: Arc<dyn Backend> = record.clone();
    let cache = support::folder();
    let repo = support::open(&backend, cache.path());
    index::refresh(&repo, &Silent, &Cancel::new()).unwrap();
    record.clear();
    let (id, text, _) = &made[9];
    assert!(cat(&repo, id, "orders").unwrap() == *text);
    let stored: u64 = made.iter().map(|day| day.2).sum();
    let read = record.total(Op::GetRange);
    assert!(read.amount < stored * 2, "{} bytes fetched of {stored}", read.amount);
    assert!(read.calls < 80, "{} requests for ten links", read.calls);
}

#[test]
fn without_compression_nothing_is_coded_against_anything() {
    let vault = Vault::new();
    let mut table = Table::new(4_000);
    let as_it_is = Provenance { level: Level::Store, ..provenance() };
    for _ in 0..2 {
        let request = StreamRequest { name: "orders".into(), allow_empty: false };
        let source = support::source(&table.text());
        snapshot_stdin(&vault.repo, &as_it_is, &request, source, Arc::new(Silent), &Cancel::new()).unwrap();
        table.pass_day();
    }
    assert!(depths(&vault.repo).iter().all(|depth| *depth == 0));
    support::assert_clean(&vault.repo);
}

#[test]
fn a_stream_that_nothing_is_known_of_follows_nobody() {
    let vault = Vault::new();
    let mut table = Table::new(4_000);
    snapshot(&vault.repo, "orders", &table.text()).unwrap();
    table.rows.iter_mut().step_by(3).for_each(|(_, version)| *version += 1);
    let made = snapshot(&vault.repo, "customers", &table.text()).unwrap();
    assert!(made.added.new_bytes > table.text().len() as u64, "{:?}", made.added);
    assert!(depths(&vault.repo).iter().all(|depth| *depth == 0));
    table.pass_day();
    snapshot(&vault.repo, "orders", &[&table.text()[..], b"one more\n"].concat()).unwrap();
    table.pass_day();
    snapshot(&vault.repo, "orders", &table.text()).unwrap();
    assert!(depths(&vault.repo).contains(&1));
}

/// What is the same every day, and what is not.
fn with_head(table: &Table) -> Vec<u8> {
    [rows(9, 100_000), table.text()].concat()
}

#[test]
fn a_stream_of_another_name_follows_what_it_begins_like() {
    let vault = Vault::new();
    let mut table = Table::new(12_000);
    snapshot(&vault.repo, "orders", &with_head(&table)).unwrap();
    let mut made = Vec::new();
    // By the second day what is found lies in two packs, and where the place is lost between them it takes
    // eight chunks to be found again: of so few, most.
    for (name, share) in [("purchases", 50), ("sales", 20)] {
        table.pass_day();
        let text = with_head(&table);
        let day = snapshot(&vault.repo, name, &text).unwrap();
        assert!(day.added.new_bytes > 500_000, "{:?}", day.added);
        assert!(day.added.delta_bytes * 100 > day.added.new_bytes * share, "{:?}", day.added);
        made.push((day.id, name, text));
    }
    for vault in [vault.elsewhere(), vault] {
        for (id, name, text) in &made {
            assert!(cat(&vault.repo, id, name).unwrap() == *text);
        }
        support::assert_clean(&vault.repo);
    }
}

/// The pack of data that the first snapshot wrote.
fn first_pack(vault: &Vault) -> String {
    let packs = names(&*vault.backend, "data/");
    assert_eq!(packs.len(), 1);
    packs[0].clone()
}

fn hurt(report: &check::Report) -> Vec<SessionId> {
    let mut hurt: Vec<SessionId> = report.hurt.iter().map(|hurt| hurt.snapshot).collect();
    hurt.dedup();
    hurt
}

#[test]
fn damage_of_a_base_is_named_there_and_hurts_all_that_go_through_it() {
    for read in [ReadData::All, ReadData::None] {
        let vault = Vault::new();
        let mut table = Table::new(6_000);
        let mut made = days(&vault.repo, &mut table, 1);
        let pack = first_pack(&vault);
        made.extend(days(&vault.repo, &mut table, 2));
        let whole = snapshot(&vault.repo, "other", &noise(9, 50_000)).unwrap();
        let bytes = vault.backend.get(&pack, u64::MAX).unwrap();
        match read {
            ReadData::All => {
                let mut bytes = bytes.clone();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 4;
                vault.memory.overwrite(&pack, &bytes);
            }
            _ => vault.backend.delete(&pack).unwrap(),
        }
        let fresh = vault.elsewhere();
        let report = check::check(&fresh.repo, read, &Silent, &Cancel::new()).unwrap();
        let damaged: Vec<&str> = report.damaged.iter().map(|damage| &damage.object[..]).collect();
        assert_eq!(damaged, [&pack], "the packs of deltas on top of it are sound");
        let ids: Vec<SessionId> = made.iter().map(|day| day.0).collect();
        assert_eq!(hurt(&report), ids, "{report:#?}");
        assert!(cat(&fresh.repo, &ids[2], "orders").is_err());
        assert!(cat(&fresh.repo, &whole.id, "other").is_ok());
        vault.memory.overwrite(&pack, &bytes);
        assert_come_back(&vault.elsewhere().repo, &made);
        support::assert_clean(&vault.repo);
    }
}

#[test]
fn what_hangs_on_a_missing_pack_is_stored_anew() {
    let vault = Vault::new();
    let mut table = Table::new(6_000);
    days(&vault.repo, &mut table, 1);
    let pack = first_pack(&vault);
    let last = days(&vault.repo, &mut table, 2).pop().unwrap();
    vault.backend.delete(&pack).unwrap();
    let fresh = vault.elsewhere();
    // Nothing changed, and yet the chains of what is known have lost their ends. Only what came new since,
    // and so was stored whole, is still there.
    let again = snapshot(&fresh.repo, "orders", &last.1).unwrap();
    assert!(again.added.new_bytes as usize > last.1.len() / 2, "{:?}", again.added);
    assert!(cat(&fresh.repo, &again.id, "orders").unwrap() == last.1);
    assert!(cat(&fresh.repo, &last.0, "orders").unwrap() == last.1, "the one before is healed with it");
}

#[test]
fn a_base_that_is_damaged_is_no_base() {
    let vault = Vault::new();
    let mut table = Table::new(6_000);
    days(&vault.repo, &mut table, 1);
    let pack = first_pack(&vault);
    let mut bytes = vault.backend.get(&pack, u64::MAX).unwrap();
    let len = bytes.len();
    bytes[200..len - 400].iter_mut().for_each(|byte| *byte ^= 1);
    vault.memory.overwrite(&pack, &bytes);
    let fresh = vault.elsewhere();
    let text = noise(3, 40_000).into_iter().chain(rows(4, 400_000)).collect::<Vec<u8>>();
    let made = snapshot(&fresh.repo, "orders", &text).unwrap();
    assert!(cat(&fresh.repo, &made.id, "orders").unwrap() == text);
    assert!(depths(&fresh.repo).iter().all(|depth| *depth == 0));
}

/// One change of a content: where (in thousandths), how much goes, what comes.
fn edit() -> impl Strategy<Value = (u64, usize, Vec<u8>)> {
    let come = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        (0..200u64).prop_map(|seed| rows(seed, 60_000)),
        (0..200u64).prop_map(|seed| noise(seed, 30_000)),
    ];
    (0..1000u64, 0..90_000usize, come)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn any_changes_come_back(edits in prop::collection::vec(edit(), 1..12)) {
        let vault = Vault::new();
        let mut content = rows(1, 400_000);
        let mut made = vec![(snapshot(&vault.repo, "s", &content).unwrap().id, content.clone())];
        for (at, gone, come) in edits {
            let at = (content.len() as u64 * at / 1000) as usize;
            let end = (at + gone).min(content.len());
            content.splice(at..end, come);
            made.push((snapshot(&vault.repo, "s", &content).unwrap().id, content.clone()));
        }
        for (id, content) in &made {
            prop_assert!(cat(&vault.repo, id, "s").unwrap() == *content);
        }
        support::assert_clean(&vault.repo);
    }
}

/// Pages of which some change each day, where they are: what a relation is.
fn pages(day: u64) -> Vec<u8> {
    const PAGE: usize = 8 << 10;
    let mut pages = rows(3, 512 * PAGE);
    for day in 1..=day {
        for page in (0..512).filter(|page| (page * 7 + day) % 61 == 0) {
            let at = page as usize * PAGE + 100;
            pages[at..at + 200].copy_from_slice(&noise(day << 16 | page, 200));
        }
    }
    // The same page everywhere does not move what follows it.
    let same = pages[..PAGE * 8].to_vec();
    [pages, same, noise(1000 + day, PAGE)].concat()
}

#[test]
fn what_changes_in_place_is_coded_against_the_same_range() {
    let vault = Vault::new();
    let mut made: Vec<(SessionId, Vec<u8>)> = Vec::new();
    let mut earlier = Vec::new();
    for day in 0..6 {
        let bytes = pages(day);
        let session = support::begin(&vault.repo).unwrap();
        let mut stream = session.ranges_after(earlier, 64 << 10);
        bytes.chunks(50_000).for_each(|piece| stream.write(piece).unwrap());
        let content = stream.finish().unwrap();
        earlier = content.entries.clone();
        let node = Node::with_content("pages", NodeType::Stream, content.entries).unwrap();
        let children = support::listing(&session, &[node]).unwrap();
        let body = |id, _| Ok(support::root_body(&vault.repo, id, children));
        let (id, added) = session.commit(body).unwrap();
        if day > 0 {
            // Eight or nine pages changed, each in another range. The last range always does, which is a page; a
            // list and a listing come to that, in as many chunks as the repository's own keys cut them into.
            assert!([8 << 16, 9 << 16].contains(&added.delta_bytes), "{added:?}");
            let others = added.new_bytes - added.delta_bytes;
            assert!((8 << 10..16 << 10).contains(&others), "{added:?}");
            assert!(added.coded_bytes < 40_000, "{added:?}");
        }
        made.push((id, bytes));
    }
    for vault in [vault.elsewhere(), vault] {
        for (id, bytes) in &made {
            assert!(cat(&vault.repo, id, "pages").unwrap() == *bytes);
        }
        support::assert_clean(&vault.repo);
    }
}
