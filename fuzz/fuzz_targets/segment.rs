//! Segments: hostile frames, hostile sealed bytes, and any plaintext there and back.
//!
//! An input is a length of plaintext (4 bytes), what to tamper with (3 bytes), and coded bytes.
#![no_main]

use std::cell::RefCell;

use kamba_vault::base::id::ChunkId;
use kamba_vault::base::kind::{ChunkKind, Coding, PackKind};
use kamba_vault::base::limits::SEGMENT_PLAIN_MAX;
use kamba_vault::base::secret::Secret32;
use kamba_vault::codec::{Coded, Compressor, Decompressor, Level};
use kamba_vault::crypto::{AeadKey, Domain, Place};
use kamba_vault::format::pack::{ChunkEntry, Directory, Stored};
use kamba_vault::repo::pack::{Scratch, Sealed};
use kamba_vault_fuzz::input::Input;
use libfuzzer_sys::fuzz_target;

thread_local! {
    // As a reader has them: kept from segment to segment, also after one that was damaged.
    static DECOMPRESSOR: RefCell<(Decompressor, Vec<u8>)> = RefCell::default();
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

const KEY: Secret32 = Secret32([3; 32]);
const HEADER: [u8; 64] = [4; 64];

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let (plain_len, level) = (input.u32(), input.u8());
    let (at, change) = (input.u8(), input.u8());
    let coded = input.rest();
    round_trip(coded, level);
    for coding in [Coding::Raw, Coding::Zstd] {
        let decoded = decode(coding, coded, plain_len);
        assert!(decoded.as_ref().is_none_or(|plain| plain.len() == plain_len as usize));
        assert_eq!(open(coding, coded, plain_len, 0, 0), decoded.filter(|_| readable(coded, plain_len)));
        if change != 0 {
            assert_eq!(open(coding, coded, plain_len, at.into(), change), None, "a broken seal opens");
        }
    }
    AeadKey::new(&KEY).open(place(0), &mut coded.to_vec()).expect_err("nobody can seal without the key");
});

fn place(ordinal: u64) -> Place<'static> {
    Place { header: &HEADER, domain: Domain::Segment, ordinal, tail: b"" }
}

/// Whether a directory may name such a segment.
fn readable(coded: &[u8], plain_len: u32) -> bool {
    !coded.is_empty() && (1..=SEGMENT_PLAIN_MAX).contains(&plain_len)
}

fn decode(coding: Coding, coded: &[u8], plain_len: u32) -> Option<Vec<u8>> {
    if coding == Coding::Raw {
        return (coded.len() == plain_len as usize).then(|| coded.to_vec());
    }
    DECOMPRESSOR.with_borrow_mut(|(decompressor, out)| {
        decompressor.zstd(coded, plain_len, out).ok().map(|()| out.clone())
    })
}

/// Seals `coded` as a segment, changes one byte of it, and opens it as a reader does.
fn open(coding: Coding, coded: &[u8], plain_len: u32, at: usize, change: u8) -> Option<Vec<u8>> {
    let key = AeadKey::new(&KEY);
    let mut sealed = coded.to_vec();
    key.seal(place(0), &mut sealed, 0).unwrap();
    let at = at % sealed.len();
    sealed[at] ^= change;
    let mut directory = Directory::new(PackKind::Data);
    let stored = Stored { len: sealed.len() as u32, coding, depth: 0 };
    let chunk = ChunkEntry { id: ChunkId([0; 32]), len: plain_len, kind: ChunkKind::Data };
    directory.push(stored, &[], &[chunk]).ok()?;
    let segment = directory.segments().first()?;
    SCRATCH.with_borrow_mut(|scratch| {
        let opened = scratch.open(&key, &HEADER, 0, segment, Sealed { bytes: &sealed, prefix: &[] });
        opened.ok().map(<[u8]>::to_vec)
    })
}

/// What is compressed comes back.
fn round_trip(plain: &[u8], level: u8) {
    let level = match level {
        0 => Level::Store,
        1..=127 => Level::Auto,
        _ => Level::Zstd(i32::from(level) % 10),
    };
    let mut coded = Vec::new();
    let again = match Compressor::new(level).unwrap().compress(plain, &mut coded).unwrap() {
        Coded::Raw => decode(Coding::Raw, plain, plain.len() as u32),
        Coded::Zstd => decode(Coding::Zstd, &coded, plain.len() as u32),
    };
    assert_eq!(again.as_deref(), Some(plain));
}
