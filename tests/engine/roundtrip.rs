//! What goes in comes out.

use std::sync::Arc;

use kamba_vault::base::clock::Cancel;
use kamba_vault::repo::read::{ChunkReader, ContentReader, Entries};
use kamba_vault::repo::session::Content;
use kamba_vault::repo::{Repository, index};
use kamba_vault::storage::{Backend, Memory};

use crate::support;

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
