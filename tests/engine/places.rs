//! Files read at any place: what comes is what a reader from the start would have got there, whoever else
//! reads.

use std::sync::Arc;

use kamba_vault::base::class::Class;
use kamba_vault::base::clock::Cancel;
use kamba_vault::base::id::SessionId;
use kamba_vault::base::monitor::Silent;
use kamba_vault::ops::look;
use kamba_vault::ops::select::Which;
use kamba_vault::repo::{Error, Repository};
use kamba_vault::vfs::{Entry, OpenFile, ReadCache, View};

use crate::deltas::Table;
use crate::support::{self, Streams, Vault, noise, rows};

/// What threads hand each other.
fn shared<T: Send + Sync>() {}

#[test]
fn views_entries_and_open_files_are_shared_between_threads() {
    shared::<View>();
    shared::<Entry>();
    shared::<OpenFile>();
    shared::<Arc<ReadCache>>();
}

pub fn view(repo: &Repository, id: &SessionId) -> View {
    let (id, cancel) = (id.to_hex(), Cancel::new());
    let snapshot = look::find(repo, &Which::Id(id.clone()), &id, &Silent, &cancel).unwrap();
    look::view(repo, &snapshot, &Silent, &cancel).unwrap()
}

/// The bytes at a place, as a file system's client gets them.
pub fn read(file: &OpenFile, offset: u64, len: usize) -> Result<Vec<u8>, Error> {
    let mut out = b"before".to_vec();
    file.read_at(offset, len, &mut out)?;
    assert_eq!(&out[..6], b"before");
    Ok(out.split_off(6))
}

/// What `read` should give.
pub fn part(data: &[u8], offset: u64, len: usize) -> &[u8] {
    let start = data.len().min(offset.try_into().unwrap_or(usize::MAX));
    &data[start..start + len.min(data.len() - start)]
}

/// Places and lengths of reads in `len` bytes, those at the ends among them.
pub fn places(seed: u64, len: usize, count: usize) -> Vec<(u64, usize)> {
    let numbers = noise(seed, count * 8);
    let number = |at: usize| u32::from_le_bytes(numbers[at..at + 4].try_into().unwrap()) as usize;
    let lens = [1, 100, 4096, 70_000, 300_000];
    let any = (0..count).map(|n| ((number(n * 8) % (len + 1)) as u64, lens[number(n * 8 + 4) % lens.len()]));
    let ends = [(0, len), (0, len + 1), (len as u64, 1), (len as u64 + 1, 1), (u64::MAX, 10), (0, 0)];
    any.chain(ends).collect()
}

/// Reads at random from several threads at once, and compares.
pub fn assert_places(file: &OpenFile, data: &[u8], count: usize) {
    std::thread::scope(|scope| {
        for seed in 0..4 {
            scope.spawn(move || {
                for (offset, len) in places(seed, data.len(), count) {
                    let got = read(file, offset, len).unwrap();
                    assert!(got == part(data, offset, len), "{len} bytes at {offset} differ");
                }
            });
        }
    });
}

#[test]
fn any_place_of_a_stream_reads_as_it_was_stored() {
    let vault = Vault::new();
    let mut holes = rows(3, 500_000);
    holes.resize(9_000_000, 0);
    holes.extend(noise(4, 300_000));
    let streams = Streams::from([
        ("empty".to_owned(), Vec::new()),
        ("holes".to_owned(), holes),
        ("noise".to_owned(), noise(1, 3_000_000)),
        ("one".to_owned(), vec![7]),
        ("rows".to_owned(), rows(2, 5_000_000)),
    ]);
    let id = support::snapshot_streams(&vault.repo, &streams).unwrap();
    let view = view(&vault.repo, &id);
    let cache = ReadCache::new(1 << 20);
    for (name, data) in &streams {
        let entry = view.find(name.as_bytes()).unwrap().unwrap();
        let file = view.open(&entry, &cache).unwrap();
        assert_eq!(file.size(), Some(data.len() as u64), "{name}");
        assert_places(&file, data, 60);
    }
}

/// A view of one stream, and what of it was fetched until now.
fn one_stream(data: &[u8]) -> (Vault, View, Entry) {
    let vault = Vault::new();
    let id = support::snapshot(&vault.repo, "it", data).unwrap().id;
    let view = view(&vault.repo, &id);
    let entry = view.find(b"it").unwrap().unwrap();
    (vault, view, entry)
}

/// Bytes of the packs with metadata, and some for seals: what is fetched beside the data.
fn beside(vault: &Vault, data: u64) -> u64 {
    let len = |name: String| vault.backend.get(&name, u64::MAX).unwrap().len() as u64;
    support::names(&*vault.backend, "meta/").into_iter().map(len).sum::<u64>() + data / 100
}

#[test]
fn who_reads_in_order_has_each_segment_fetched_once() {
    let data = noise(1, 9_000_000);
    let (vault, view, entry) = one_stream(&data);
    let cache = ReadCache::new(64 << 20);
    let file = view.open(&entry, &cache).unwrap();
    let before = view.reader().fetched();
    // Two threads, each every other piece: what a kernel's requests look like.
    let piece = 128 << 10;
    std::thread::scope(|scope| {
        for first in 0..2 {
            let (file, data) = (&file, &data);
            scope.spawn(move || {
                for number in (first..=data.len() / piece).step_by(2) {
                    let offset = (number * piece) as u64;
                    assert!(read(file, offset, piece).unwrap() == part(data, offset, piece));
                }
            });
        }
    });
    assert!(cache.reads_ahead());
    let (fetched, len) = (view.reader().fetched() - before, data.len() as u64);
    assert!((len..=len + beside(&vault, len)).contains(&fetched), "{fetched} of {len} were fetched");
}

#[test]
fn a_cache_far_smaller_than_a_file_is_enough_for_who_reads_in_order() {
    let data = noise(1, 9_000_000);
    let (vault, view, entry) = one_stream(&data);
    let cache = ReadCache::new(4 << 20);
    let file = view.open(&entry, &cache).unwrap();
    let before = view.reader().fetched();
    for offset in (0..data.len()).step_by(100_000) {
        assert!(read(&file, offset as u64, 100_000).unwrap() == part(&data, offset as u64, 100_000));
    }
    assert!(cache.reads_ahead() && cache.kept_bytes() <= 4 << 20);
    // Those who read ahead may come a little late, and fetch what was just fetched and went.
    let (fetched, len) = (view.reader().fetched() - before, data.len() as u64);
    assert!(fetched <= len + len / 4 + beside(&vault, len), "{fetched} of {len} were fetched");
}

#[test]
fn who_jumps_about_has_only_the_segments_fetched_that_he_touches() {
    let data = noise(1, 20_000_000);
    let (vault, view, entry) = one_stream(&data);
    let cache = ReadCache::new(64 << 20);
    let file = view.open(&entry, &cache).unwrap();
    let before = view.reader().fetched();
    let offsets = [3_000_000, 17_000_000, 9_000_000, 3_000_100, 17_000_000, 13_000_000];
    for offset in offsets {
        assert!(read(&file, offset, 4096).unwrap() == part(&data, offset, 4096));
    }
    // Four places, each in one segment or two, whose chunks have up to 64 KiB.
    let most = 8 * (256 + 64) * 1024;
    let fetched = view.reader().fetched() - before;
    assert!(fetched <= most + beside(&vault, most), "{fetched} were fetched");
    assert!(!cache.reads_ahead());
}

#[test]
fn small_files_share_segments_and_those_who_read_ahead() {
    let vault = Vault::new();
    let streams: Streams = (0..500).map(|n| (format!("{n:03}"), noise(n, 2_000))).collect();
    let id = support::snapshot_streams(&vault.repo, &streams).unwrap();
    let view = view(&vault.repo, &id);
    let cache = ReadCache::new(64 << 20);
    let before = view.reader().fetched();
    for (name, data) in &streams {
        let entry = view.find(name.as_bytes()).unwrap().unwrap();
        assert!(read(&view.open(&entry, &cache).unwrap(), 0, 4096).unwrap() == *data);
    }
    // One after another, as a program reads a folder: the next segments come before they are asked for.
    assert!(cache.reads_ahead());
    let (fetched, len) = (view.reader().fetched() - before, 500 * 2_000);
    assert!(fetched <= len + beside(&vault, len), "{fetched} of {len} were fetched");
}

#[test]
fn a_little_cache_gives_the_same_and_a_limit_is_kept() {
    let data = [rows(1, 3_000_000), noise(2, 2_000_000)].concat();
    let (_vault, view, entry) = one_stream(&data);
    for limit in [0, 1 << 20] {
        let cache = ReadCache::new(limit);
        assert_places(&view.open(&entry, &cache).unwrap(), &data, 20);
        assert!(cache.kept_bytes() <= limit);
    }
}

#[test]
fn chains_of_deltas_are_read_at_any_place() {
    let vault = Vault::new();
    let mut table = Table::new(20_000);
    let mut last = None;
    for _ in 0..6 {
        table.pass_day();
        let text = table.text();
        last = Some((support::snapshot(&vault.repo, "orders", &text).unwrap().id, text));
    }
    let (id, text) = last.unwrap();
    let view = view(&vault.repo, &id);
    let entry = view.find(b"orders").unwrap().unwrap();
    let len = |name: String| vault.backend.get(&name, u64::MAX).unwrap().len() as u64;
    let stored: u64 = support::names(&*vault.backend, "").into_iter().map(len).sum();
    let before = view.reader().fetched();
    let file = view.open(&entry, &ReadCache::new(64 << 20)).unwrap();
    assert_places(&file, &text, 40);
    let fetched = view.reader().fetched() - before;
    assert!(fetched <= 2 * stored, "{fetched} of {stored} were fetched");
}

#[test]
fn damage_costs_the_place_it_is_at_and_no_other() {
    let data = noise(1, 3_000_000);
    let (vault, view, entry) = one_stream(&data);
    let pack = support::names(&*vault.backend, "data/").into_iter().next().unwrap();
    let mut bytes = vault.backend.get(&pack, u64::MAX).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    vault.memory.overwrite(&pack, &bytes);
    let file = view.open(&entry, &ReadCache::new(64 << 20)).unwrap();
    let mut lost = 0;
    for offset in (0..data.len()).step_by(10_000) {
        match read(&file, offset as u64, 10_000) {
            Ok(bytes) => assert!(bytes == part(&data, offset as u64, 10_000)),
            Err(error) => {
                assert_eq!(error.class(), Class::Damaged, "{error}");
                lost += 1;
            }
        }
    }
    assert!((1..=50).contains(&lost), "{lost} of 300 were lost");
}

#[test]
fn a_directory_has_no_bytes() {
    let vault = Vault::new();
    let id = support::snapshot_streams(&vault.repo, &Streams::new()).unwrap();
    let view = view(&vault.repo, &id);
    let opened = view.open(&view.root(), &ReadCache::new(1 << 20));
    assert!(matches!(opened, Err(Error::Usage(_))));
}
