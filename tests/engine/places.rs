//! Files read at any place: what comes is what a reader from the start would have got there, whoever else
//! reads.

use std::sync::Arc;

use kamba_vault::base::clock::Cancel;
use kamba_vault::base::id::SessionId;
use kamba_vault::base::monitor::Silent;
use kamba_vault::ops::look;
use kamba_vault::ops::select::Which;
use kamba_vault::repo::{Error, Repository};
use kamba_vault::vfs::{Entry, OpenFile, ReadCache, View};

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

#[test]
fn a_directory_has_no_bytes() {
    let vault = Vault::new();
    let id = support::snapshot_streams(&vault.repo, &Streams::new()).unwrap();
    let view = view(&vault.repo, &id);
    let opened = view.open(&view.root(), &ReadCache::new(1 << 20));
    assert!(matches!(opened, Err(Error::Usage(_))));
}
