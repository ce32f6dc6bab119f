//! What goes in comes out, whatever it is and however it arrives.

use std::sync::Arc;

use kamba_vault::base::clock::Cancel;
use kamba_vault::repo::read::{ChunkReader, ContentReader, Entries};
use kamba_vault::repo::session::Content;
use kamba_vault::repo::{Repository, index};
use kamba_vault::storage::{Backend, Memory};
use proptest::prelude::*;

use crate::support::views::{Model, assert_reads};
use crate::support::{self, Streams, Vault};

pub fn read_back(repo: &Repository, content: &Content) -> Vec<u8> {
    let reader = Arc::new(ChunkReader::new(repo));
    let entries = Entries::new(content.entries.clone());
    let mut reading = ContentReader::new(reader, entries, Cancel::new()).unwrap();
    let mut out = Vec::new();
    loop {
        let bytes = reading.next_bytes().unwrap();
        if bytes.is_empty() {
            return out;
        }
        out.extend_from_slice(bytes);
    }
}

#[test]
fn streams_of_many_lengths_come_back() {
    let backend: Arc<dyn Backend> = Arc::new(Memory::new());
    support::init(&backend);
    let cache = tempfile::tempdir().unwrap();
    let repo = support::open(&backend, cache.path());
    let session = support::begin(&repo).unwrap();
    let mut kept = Vec::new();
    for (seed, len) in [(1, 0), (2, 1), (3, 5_000), (4, 300_000), (5, 9_000_000)] {
        for data in [support::rows(seed, len), support::noise(seed, len)] {
            let mut stream = session.stream();
            for piece in data.chunks(70_001) {
                stream.write(piece).unwrap();
            }
            kept.push((data, stream.finish().unwrap()));
        }
    }
    session.abandon();
    // Abandoned, but not yet closed packs are lost: only a commit promises anything.
    let session = support::begin(&repo).unwrap();
    for (data, content) in &kept {
        let mut stream = session.stream();
        stream.write(data).unwrap();
        assert_eq!(stream.finish().unwrap(), *content);
    }
    let added = session.commit(|_, _| Err(kamba_vault::repo::Error::Worker));
    assert!(added.is_err(), "no root, no snapshot");
    index::refresh(&repo, &kamba_vault::base::monitor::Silent, &Cancel::new()).unwrap();
    for (data, content) in &kept {
        assert_eq!(content.len, data.len() as u64);
        assert!(read_back(&repo, content) == *data);
    }
    // With a new cache, and a second session that finds everything known.
    let other = tempfile::tempdir().unwrap();
    let repo = support::open(&backend, other.path());
    let session = support::begin(&repo).unwrap();
    for (data, content) in &kept {
        assert!(read_back(&repo, content) == *data);
        let mut stream = session.stream();
        stream.write(data).unwrap();
        assert_eq!(stream.finish().unwrap(), *content);
    }
    let mut seen = None;
    let _ = session.commit(|_, added| {
        seen = Some(added);
        Err(kamba_vault::repo::Error::Worker)
    });
    assert_eq!(seen.unwrap().new_chunks, 0);
}

/// What a stream is made of, piece after piece.
#[derive(Clone, Debug)]
enum Piece {
    Zeros(usize),
    Noise(u64, usize),
    Rows(u64, usize),
    /// The bytes from the stream's own beginning.
    Again(usize),
    /// A short text over and over.
    Text(u8, usize),
}

fn piece() -> impl Strategy<Value = Piece> {
    // Often short, sometimes longer than a pack's segments.
    let len = || prop_oneof![0..200_usize, 1_000..70_000_usize, 100_000..1_500_000_usize];
    prop_oneof![
        len().prop_map(Piece::Zeros),
        (0..5_u64, len()).prop_map(|(seed, len)| Piece::Noise(seed, len)),
        (0..5_u64, len()).prop_map(|(seed, len)| Piece::Rows(seed, len)),
        len().prop_map(Piece::Again),
        (1..255_u8, len()).prop_map(|(period, len)| Piece::Text(period, len)),
    ]
}

fn bytes_of(pieces: &[Piece]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in pieces {
        match *piece {
            Piece::Zeros(len) => bytes.resize(bytes.len() + len, 0),
            Piece::Noise(seed, len) => bytes.extend(support::noise(seed, len)),
            Piece::Rows(seed, len) => bytes.extend(support::rows(seed, len)),
            Piece::Again(len) => bytes.extend_from_within(..len.min(bytes.len())),
            Piece::Text(period, len) => bytes.extend((0..period).cycle().take(len)),
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any stream, any chunk setting, arriving in portions of any size: snapshot then restore is
    /// identity, for who wrote it and for another machine.
    #[test]
    fn any_stream_comes_back_at_any_chunk_setting(
        chunk_avg in (14..=20_u32).prop_map(|log| 1 << log),
        streams in prop::collection::vec(prop::collection::vec(piece(), 0..5), 1..4),
        portions in prop::collection::vec(prop_oneof![1..10_usize, 1_000..300_000_usize], 1..6),
    ) {
        let vault = Vault::with_chunks(chunk_avg);
        let session = support::begin(&vault.repo).unwrap();
        let (mut model, mut stored) = (Streams::new(), Vec::new());
        for (n, pieces) in streams.iter().enumerate() {
            let data = bytes_of(pieces);
            let mut stream = session.stream();
            let mut rest = &data[..];
            // Tiny portions at first; a long stream in nothing else would take for ever.
            let mut sizes = portions.iter().copied().chain(std::iter::repeat(100_003));
            while !rest.is_empty() {
                let (portion, after) = rest.split_at(sizes.next().unwrap().min(rest.len()));
                stream.write(portion).unwrap();
                rest = after;
            }
            stored.push((format!("{n}"), stream.finish().unwrap()));
            model.insert(format!("{n}"), data);
        }
        let contents = stored.iter().map(|(name, content)| (name.as_str(), content));
        let id = support::commit_contents(session, &vault.repo, contents).unwrap();
        let model = Model::from([(id, model)]);
        assert_reads(&vault.repo, &model);
        assert_reads(&vault.elsewhere().repo, &model);
        support::assert_clean(&vault.repo);
    }
}
