//! What a snapshot says it brought: that it is what the repository holds and grew by, whatever the level
//! of compression, and that what does not shrink is stored as it is.

use std::sync::Arc;

use kamba_vault::base::clock::Cancel;
use kamba_vault::base::kind::{Coding, PackKind};
use kamba_vault::base::monitor::Silent;
use kamba_vault::codec::Level;
use kamba_vault::ops::snapshot::{Made, Provenance, StreamRequest, snapshot_stdin};
use kamba_vault::ops::stats::{Brought, stats};
use kamba_vault::repo::{Repository, index, roots};

use crate::support::views::cat;
use crate::support::{self, Vault, noise, objects, provenance, rows};

/// Bytes of a segment's seal (`format-spec/segments-and-packs.md`).
const TAG: u64 = 16;

const LEVELS: [Level; 8] = [
    Level::Store,
    Level::Auto,
    Level::Swift,
    Level::Thorough,
    Level::Zstd(1),
    Level::Zstd(3),
    Level::Zstd(9),
    Level::Zstd(19),
];

fn snapshot_at(repo: &Repository, level: Level, name: &str, data: &[u8]) -> Made {
    let provenance = Provenance { level, ..provenance() };
    let request = StreamRequest { name: name.into(), allow_empty: true };
    let source = support::source(data);
    snapshot_stdin(repo, &provenance, &request, source, Arc::new(Silent), &Cancel::new()).unwrap()
}

/// Bytes of all objects.
fn size(vault: &Vault) -> u64 {
    objects(&vault.memory).values().map(|bytes| bytes.len() as u64).sum()
}

/// What the index says of all segments of a kind: plaintext, coded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Segments {
    plain: u64,
    coded: u64,
}

impl Segments {
    fn add(&mut self, plain: u32, stored: u32) {
        self.plain += u64::from(plain);
        self.coded += u64::from(stored) - TAG;
    }
}

/// What the index says of all segments, of deltas, and of data stored as it is.
fn indexed(repo: &Repository) -> [Segments; 3] {
    index::refresh(repo, &Silent, &Cancel::new()).unwrap();
    let [mut all, mut deltas, mut raw] = [Segments::default(); 3];
    repo.index()
        .each_pack(&mut |_, pack| {
            for segment in &pack.segments {
                all.add(segment.plain_len, segment.stored_len);
                match segment.coding {
                    Coding::Prefix => deltas.add(segment.plain_len, segment.stored_len),
                    Coding::Raw if pack.kind == PackKind::Data => {
                        raw.add(segment.plain_len, segment.stored_len);
                    }
                    _ => {}
                }
            }
            Ok(())
        })
        .unwrap();
    [all, deltas, raw]
}

/// `data` with another word in each of its parts of 5,000 bytes.
fn edited(data: &[u8]) -> Vec<u8> {
    let edit =
        |part: &[u8]| [&part[..part.len().min(100)], b"edited", part.get(100..).unwrap_or_default()].concat();
    data.chunks(5_000).flat_map(edit).collect()
}

/// Three days of a stream: as it is, the same again, and edited all over.
fn three_days(repo: &Repository, level: Level) -> [(Made, Vec<u8>); 3] {
    let first = [rows(1, 900_000), noise(1, 300_000)].concat();
    let days = [first.clone(), first.clone(), edited(&first)];
    days.map(|data| (snapshot_at(repo, level, "orders", &data), data))
}

#[test]
fn a_repository_grows_by_what_its_snapshots_say_they_added() {
    for level in LEVELS {
        let vault = Vault::new();
        let empty = size(&vault);
        let days = three_days(&vault.repo, level);
        let said: u64 = days.iter().map(|(made, _)| made.added_bytes()).sum();
        assert_eq!(size(&vault) - empty, said, "{level:?}");
        let listing = roots::list(&vault.repo, &Cancel::new()).unwrap();
        let listed = listing.snapshots.iter().map(|snapshot| (snapshot.id, snapshot.added_bytes()));
        assert!(listed.eq(days.iter().map(|(made, _)| (made.id, made.added_bytes()))), "{level:?}");
        let read: Vec<_> = listing.snapshots.iter().map(|snapshot| &snapshot.root.stats).collect();
        assert!(read.into_iter().eq(&days.each_ref().map(|(made, _)| made.stats())), "{level:?}");
    }
}

#[test]
fn figures_are_those_of_the_segments_at_every_level() {
    for level in LEVELS {
        let vault = Vault::new();
        let days = three_days(&vault.repo, level);
        let brought = Brought::by_all(&stats(&vault.repo, &Silent, &Cancel::new()).unwrap().snapshots);
        let [all, deltas, _] = indexed(&vault.repo);
        let whole = Segments { plain: brought.new_bytes, coded: brought.coded_bytes };
        let coded = Segments { plain: brought.delta_bytes, coded: brought.delta_coded_bytes };
        assert_eq!((whole, coded), (all, deltas), "{level:?}");
        assert!(brought.is_recorded());
        for (made, data) in &days {
            assert!(cat(&vault.repo, &made.id, "orders").unwrap() == *data, "{level:?}");
        }
        support::assert_clean(&vault.repo);

        let [first, again, edited] = days.map(|(made, _)| made.added);
        assert_eq!((first.delta_bytes, first.base_bytes), (0, 0), "{level:?}");
        assert!(again.new_bytes < 1_000 && again.delta_bytes == 0, "{level:?}: {again:?}");
        if level == Level::Store {
            assert_eq!((edited.delta_bytes, brought.coded_bytes), (0, brought.new_bytes));
            continue;
        }
        // What differs in every chunk is nearly all deltas, and their bases are about as much.
        assert!(edited.new_bytes > 1_000_000 && edited.delta_bytes > 900_000, "{level:?}: {edited:?}");
        assert!(edited.base_bytes > edited.delta_bytes / 2, "{level:?}: {edited:?}");
        assert!(brought.delta_ratio().unwrap() > 20.0, "{level:?}: {brought:?}");
        let compression = brought.compression_ratio().unwrap();
        assert!((1.3..4.0).contains(&compression), "{level:?}: {brought:?}");
    }
}

#[test]
fn a_higher_level_takes_less() {
    let coded = [Level::Store, Level::Swift, Level::Zstd(19)].map(|level| {
        let vault = Vault::new();
        let [first, _, edited] = three_days(&vault.repo, level).map(|(made, _)| made.added);
        (first.coded_bytes, edited.coded_bytes)
    });
    assert!(coded.is_sorted_by(|low, high| low.0 > high.0 && low.1 > high.1), "{coded:?}");
}

#[test]
fn what_does_not_shrink_is_stored_as_it_is() {
    for level in LEVELS {
        let vault = Vault::with_chunks(64 << 10);
        let data = noise(7, 8_000_000);
        let added = snapshot_at(&vault.repo, level, "films", &data).added;
        let [_, _, raw] = indexed(&vault.repo);
        let len = data.len() as u64;
        assert_eq!(raw, Segments { plain: len, coded: len }, "{level:?}");
        assert!(added.coded_bytes <= len + len / 1000, "{level:?}: {added:?}");
    }
}
