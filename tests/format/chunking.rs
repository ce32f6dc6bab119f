//! Golden cut points, found twice: by the program, and by the specification's pseudo-code.

use kamba_vault::base::id::hex;
use kamba_vault::chunker::{Chunker, GEAR_BYTES, Settings};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::vectors::{Chapter, hash, xof};

/// Average, mask below it, mask from it on: the table of `format-spec/chunking.md`.
const MASKS: [(u32, u64, u64); 9] = [
    (16 << 10, 0x0000d90f03530000, 0x0000d90303530000),
    (32 << 10, 0x0000d90303537000, 0x0000d90313530000),
    (64 << 10, 0x0000d90703537000, 0x0000d90f03530000),
    (128 << 10, 0x0000d90707537000, 0x0000d90303537000),
    (256 << 10, 0x0000d91707537000, 0x0000d90703537000),
    (512 << 10, 0x0000d91747537000, 0x0000d90707537000),
    (1 << 20, 0x0000d91767537000, 0x0000d91707537000),
    (2 << 20, 0x0000d93767537000, 0x0000d91747537000),
    (4 << 20, 0x0000d93777537000, 0x0000d91767537000),
];

/// `cut(s)` of `format-spec/chunking.md`, word for word.
fn cut(s: &[u8], (avg, strict, loose): (u32, u64, u64), gear: &[u64; 256]) -> usize {
    let avg = avg as usize;
    let (min, max) = (avg / 4, avg * 4);
    let mut n = s.len();
    if n <= min {
        return n;
    }
    if n > max {
        n = max;
    }
    let mut h = 0u64;
    for i in min..n - n % 2 {
        h = (h << 1).wrapping_add(gear[usize::from(s[i])]);
        let mask = if i < avg { strict } else { loose };
        if h & mask == 0 {
            return i;
        }
    }
    n
}

fn lengths(mut stream: &[u8], cut: impl Fn(&[u8]) -> usize) -> Vec<usize> {
    let mut lengths = Vec::new();
    while !stream.is_empty() {
        let len = cut(stream);
        lengths.push(len);
        stream = &stream[len..];
    }
    lengths
}

fn input(recipe: &str, len: usize) -> Vec<u8> {
    let noise = xof("kamba-vault v1 test stream", b"chunking", len);
    match recipe {
        "noise" => noise,
        "few" => noise.iter().map(|byte| byte % 3).collect(),
        "text" => noise.iter().map(|byte| b"etaoin shrdlu\n\t0"[usize::from(byte % 16)]).collect(),
        "zeros" => vec![0; len],
        "0xff" => vec![0xff; len],
        other => panic!("no recipe {other}"),
    }
}

#[test]
fn golden_cut_points() {
    let mut chapter = Chapter::new(
        "chunking",
        "lengths of chunks. The gear table is XOF('kamba-vault v1 gear', 32 bytes 0x67). Streams are made \
         of XOF('kamba-vault v1 test stream', 'chunking'): 'noise' as it is; 'few' each byte mod 3; \
         'text' each byte b replaced by that at b mod 16 of 'etaoin shrdlu\\n\\t0'; and 'zeros' and '0xff' \
         of that byte alone",
    );
    let table: [u8; GEAR_BYTES] = xof("kamba-vault v1 gear", &[0x67; 32], GEAR_BYTES).try_into().unwrap();
    let gear: [u64; 256] =
        std::array::from_fn(|i| u64::from_le_bytes(table[8 * i..8 * i + 8].try_into().unwrap()));
    let first: Vec<String> = gear[..4].iter().map(|number| format!("{number:#018x}")).collect();
    let output = json!({ "first_numbers": first, "hash": hash(&table) });
    chapter.case("the gear table", json!({ "gear_secret": hex(&[0x67; 32]) }), output);
    let streams = [
        ("noise", 3_000_001usize),
        ("few", 1_000_000),
        ("text", 1_000_003),
        ("zeros", 200_001),
        ("0xff", 200_000),
    ];
    for masks in MASKS {
        let (avg, strict, loose) = masks;
        let chunker = Chunker::new(Settings::new(avg).unwrap(), &table);
        let mut case = |recipe: &str, len: usize| {
            let stream = input(recipe, len);
            let found = lengths(&stream, |rest| chunker.cut(rest));
            assert_eq!(found, lengths(&stream, |rest| cut(rest, masks, &gear)), "{recipe} at {avg}");
            assert_eq!(found.iter().sum::<usize>(), len);
            let input: Value = json!({
                "avg": avg, "S": format!("{strict:#018x}"), "L": format!("{loose:#018x}"),
                "stream": recipe, "length": len,
            });
            chapter.case(&format!("{recipe}, average {avg}"), input, json!({ "lengths": found }));
        };
        match avg {
            16_384 | 65_536 => streams.iter().for_each(|(recipe, len)| case(recipe, *len)),
            _ => case("noise", 20_000_000.min(avg as usize * 12)),
        }
        if avg == 16_384 {
            for len in [0, 1, 4096, 4097, 4098, 16_383, 16_385, 65_536, 65_537] {
                case("noise", len);
            }
        }
    }
    chapter.finish();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// The program cuts as the specification says, whatever the stream and the table.
    #[test]
    fn streams_at_random(
        seed in any::<[u8; 32]>(), masks in 0usize..2, len in 0usize..400_000,
        modulus in prop::sample::select(vec![1u8, 2, 5, 255]),
    ) {
        let masks = MASKS[masks];
        let table: [u8; GEAR_BYTES] = xof("kamba-vault v1 gear", &seed, GEAR_BYTES).try_into().unwrap();
        let gear = std::array::from_fn(|i| u64::from_le_bytes(table[8 * i..8 * i + 8].try_into().unwrap()));
        let mut stream = xof("kamba-vault v1 test stream", &seed, len);
        stream.iter_mut().for_each(|byte| *byte %= modulus);
        let chunker = Chunker::new(Settings::new(masks.0).unwrap(), &table);
        let found = lengths(&stream, |rest| chunker.cut(rest));
        prop_assert!(found.iter().all(|len| (1..=masks.0 as usize * 4).contains(len)));
        prop_assert_eq!(found, lengths(&stream, |rest| cut(rest, masks, &gear)));
    }
}
