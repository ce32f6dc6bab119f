//! How fast the parts are, each by itself and on one core: what `commands` measures as a whole is
//! made of these. Data in memory, made up; only the archives need PostgreSQL installed.
//!
//! `cargo bench --bench parts`, or `-- splitter` for what has that in its name.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::convert::Infallible;
use std::hint::black_box;
use std::io::Read;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use criterion::{BatchSize, Bencher, Criterion, Throughput, criterion_group, criterion_main};

use kamba_vault::base::clock::{Cancel, SystemClock};
use kamba_vault::base::id::{ChunkId, SignerId};
use kamba_vault::base::secret::Secret32;
use kamba_vault::chunker::{Chunker, GEAR_BYTES, Settings};
use kamba_vault::codec::prefix::{Decoder, Encoder};
use kamba_vault::codec::{Coded, Compressor, Decompressor, Level};
use kamba_vault::crypto::{self, AeadKey, Domain, Place, StreamHasher, SystemRandom};
use kamba_vault::format::index::{self, IndexPart};
use kamba_vault::postgres::archive::shadow::Shadow;
use kamba_vault::postgres::archive::split::{ObjectEnd, ObjectKey, Sink, Splitter};
use kamba_vault::postgres::cluster::{Cluster, ClusterOptions};
use kamba_vault::postgres::dump::{PassedOn, dump};
use kamba_vault::postgres::server::Server;
use kamba_vault::postgres::shop::Shop;
use kamba_vault::postgres::tools::{Program, Tools};
use kamba_vault::repo::index::write_part;
use kamba_vault::repo::{self, Credentials, Environment, InitOptions, Repository};
use kamba_vault::storage::{Backend, Memory};
use support::{packs, shop};

const SIZE: usize = 16 << 20;
const CHUNK: usize = 64 << 10;
const SEGMENT: usize = 256 << 10;
/// As many packs as a full index part names: 262,080 chunks.
const PACKS: u64 = (1 << 18) / packs::CHUNKS;
/// Portions in which a dump is read.
const PORTION: usize = 1 << 20;

/// COPY text, as most of a dump is.
static TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut text = Vec::new();
    let shop = shop::Shop::of_size(SIZE as u64 * 9 / 8, shop::Business::Usual);
    shop.write(&mut text).unwrap();
    text.truncate(SIZE);
    text
});

/// What does not shrink, as pictures in a dump are.
static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut noise = vec![0; SIZE];
    crypto::expand("kamba-vault bench noise", &Secret32([1; 32]), &mut noise);
    noise
});

/// A dump of a real database: 30 MB in pg_dump's custom format.
static DUMP: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let tools = Tools::new(None, std::env::var_os("PATH"), &Cancel::new());
    let options = ClusterOptions { may_lose_data: true, settings: Vec::new() };
    let cluster = Cluster::start(&tools, &std::env::temp_dir(), &options).unwrap();
    let server = Server::new(&tools, &cluster.settings()).unwrap();
    server.create_database("shop", None).unwrap();
    let server = server.database("shop");
    Shop::create(&server, 0.3, 1).unwrap();
    let pg_dump = tools.find(Program::PgDump, "the server", cluster.version()).unwrap();
    let nothing = PassedOn::new(Vec::new()).unwrap();
    let mut running = dump(&pg_dump, server.settings(), &nothing, &Cancel::new()).unwrap();
    let mut bytes = Vec::new();
    running.read_to_end(&mut bytes).unwrap();
    running.finish().unwrap();
    cluster.stop().unwrap();
    bytes
});

fn inputs() -> [(&'static str, &'static [u8]); 2] {
    [("text", &TEXT), ("noise", &NOISE)]
}

fn chunker(c: &mut Criterion) {
    let mut group = c.benchmark_group("chunker");
    group.throughput(Throughput::Bytes(SIZE as u64));
    let mut gear = [0; GEAR_BYTES];
    crypto::expand(crypto::context::GEAR, &Secret32([7; 32]), &mut gear);
    let chunker = Chunker::new(Settings::new(CHUNK as u32).unwrap(), &gear);
    for (name, data) in inputs() {
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut rest = data;
                while !rest.is_empty() {
                    rest = &rest[chunker.cut(black_box(rest))..];
                }
            });
        });
    }
    group.finish();
}

fn ids(c: &mut Criterion) {
    let mut group = c.benchmark_group("keyed ids");
    group.throughput(Throughput::Bytes(SIZE as u64));
    let key = Secret32([7; 32]);
    group.bench_function("chunks of 64 KiB", |b| {
        b.iter(|| {
            TEXT.chunks(CHUNK).for_each(|chunk| {
                black_box(crypto::keyed_id(&key, chunk));
            });
        });
    });
    group.finish();
}

fn compression(c: &mut Criterion) {
    let mut group = c.benchmark_group("compress");
    group.throughput(Throughput::Bytes(SIZE as u64)).sample_size(10);
    for (name, data) in inputs() {
        let levels = [Level::Auto, Level::Swift, Level::Thorough, Level::Zstd(3)];
        for (level, named) in levels.into_iter().zip(["auto", "swift", "thorough", "level 3"]) {
            let mut compressor = Compressor::new(level).unwrap();
            let mut out = Vec::new();
            group.bench_function(format!("{name}, {named}"), |b| {
                b.iter(|| {
                    data.chunks(SEGMENT).for_each(|segment| {
                        black_box(compressor.compress(segment, &mut out).unwrap());
                    });
                });
            });
        }
    }
    group.finish();
}

/// A dump after a day on which every stretch of it changed, against the one before.
fn deltas(c: &mut Criterion) {
    let mut shop = shop::Shop::of_size(SIZE as u64, shop::Business::Everywhere);
    let (mut old, mut new) = (Vec::new(), Vec::new());
    shop.write(&mut old).unwrap();
    shop.pass_day();
    shop.write(&mut new).unwrap();
    let len = old.len().min(new.len());
    let pairs = || old[..len].chunks(SEGMENT + CHUNK).zip(new[..len].chunks(SEGMENT + CHUNK));
    let mut group = c.benchmark_group("delta");
    group.throughput(Throughput::Bytes(len as u64)).sample_size(10);
    let (mut encoder, mut decoder) = (Encoder::new(Level::DEFAULT).unwrap(), Decoder::default());
    let mut coded = vec![Vec::new(); pairs().count()];
    group.bench_function("encode", |b| {
        b.iter(|| {
            pairs().zip(&mut coded).for_each(|((old, new), coded)| encoder.encode(old, new, coded).unwrap());
        });
    });
    let mut back = Vec::new();
    group.bench_function("decode", |b| {
        b.iter(|| {
            pairs().zip(&coded).for_each(|((old, new), coded)| {
                decoder.decode(old, coded, new.len() as u32, &mut back).unwrap();
                black_box(&back);
            });
        });
    });
    group.finish();
}

fn decompression(c: &mut Criterion) {
    let mut group = c.benchmark_group("decompress");
    group.throughput(Throughput::Bytes(SIZE as u64));
    let mut compressor = Compressor::new(Level::DEFAULT).unwrap();
    let frame = |segment: &[u8]| {
        let mut out = Vec::new();
        assert_eq!(compressor.compress(segment, &mut out).unwrap(), Coded::Zstd);
        out
    };
    let frames: Vec<Vec<u8>> = TEXT.chunks(SEGMENT).map(frame).collect();
    let (mut decompressor, mut out) = (Decompressor::default(), Vec::new());
    group.bench_function("text", |b| {
        b.iter(|| {
            frames.iter().for_each(|frame| {
                decompressor.zstd(frame, SEGMENT as u32, &mut out).unwrap();
                black_box(&out);
            });
        });
    });
    group.finish();
}

fn sealing(c: &mut Criterion) {
    let mut group = c.benchmark_group("aead");
    group.throughput(Throughput::Bytes(CHUNK as u64));
    let (key, header) = (AeadKey::new(&Secret32([7; 32])), [1; 64]);
    let place = Place { header: &header, domain: Domain::Segment, ordinal: 3, tail: b"" };
    let mut sealed = TEXT[..CHUNK].to_vec();
    key.seal(place, &mut sealed, 0).unwrap();
    let mut buffer = sealed.clone();
    group.bench_function("seal 64 KiB", |b| {
        b.iter(|| {
            buffer.truncate(CHUNK);
            key.seal(place, &mut buffer, 0).unwrap();
        });
    });
    group.bench_function("open 64 KiB", |b| {
        let again = || sealed.clone();
        b.iter_batched_ref(again, |sealed| key.open(place, sealed).unwrap().len(), BatchSize::SmallInput);
    });
    group.finish();
}

fn index_parts(c: &mut Criterion) {
    let mut group = c.benchmark_group("index part");
    group.throughput(Throughput::Elements(PACKS * packs::CHUNKS)).sample_size(20);
    let record = |n| packs::record(n, 1, SignerId([1; 16])).unwrap();
    let part = LazyLock::new(|| index::encode(&[], &(0..PACKS).map(record).collect::<Vec<_>>()).unwrap());
    group.bench_function("decode", |b| {
        let bytes: &[u8] = &part;
        b.iter(|| IndexPart::decode(black_box(bytes)).unwrap().rows().count());
    });
    group.finish();
}

/// A sink that only counts.
struct Counting(u64);

impl Sink for Counting {
    type Error = Infallible;

    fn object_begin(&mut self, _: &ObjectKey) -> Result<(), Infallible> {
        Ok(())
    }

    fn object_bytes(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.0 += black_box(bytes).len() as u64;
        Ok(())
    }

    fn object_end(&mut self, _: &ObjectEnd) -> Result<(), Infallible> {
        Ok(())
    }

    fn recipe(&mut self, operations: &[u8]) -> Result<(), Infallible> {
        self.0 += black_box(operations).len() as u64;
        Ok(())
    }
}

fn split<S: Sink<Error: std::fmt::Debug>>(sink: &mut S) {
    let mut splitter = Splitter::new();
    DUMP.chunks(PORTION).for_each(|portion| splitter.push(portion, sink).unwrap());
    let summary = splitter.finish(sink).unwrap();
    assert!(summary.fallback.is_none(), "the dump was not understood");
}

/// Times `work` over the dump as if that had `SIZE` bytes: how many it has is known only when it is
/// made, and it is made only for benches that were asked for.
fn per_size(b: &mut Bencher<'_>, mut work: impl FnMut()) {
    let share = SIZE as f64 / DUMP.len() as f64;
    b.iter_custom(|times| {
        let start = Instant::now();
        (0..times).for_each(|_| work());
        start.elapsed().mul_f64(share)
    });
}

fn archives(c: &mut Criterion) {
    let mut group = c.benchmark_group("archive");
    group.throughput(Throughput::Bytes(SIZE as u64)).sample_size(20);
    group.bench_function("splitter", |b| {
        per_size(b, || {
            let mut sink = Counting(0);
            split(&mut sink);
            black_box(sink.0);
        });
    });
    group.bench_function("splitter and shadow, both hashed", |b| {
        per_size(b, || {
            let (mut read, mut joined) = (StreamHasher::plain(), StreamHasher::plain());
            DUMP.chunks(PORTION).for_each(|portion| read.update(portion));
            let mut shadow = Shadow::new(Counting(0), |bytes: &[u8]| joined.update(bytes));
            split(&mut shadow);
            let (_, _, length) = shadow.finish().unwrap();
            assert_eq!(length, DUMP.len() as u64);
            assert_eq!(read.finish(), joined.finish());
        });
    });
    group.finish();
}

/// A repository in memory whose index names `PACKS` packs, and the folder of its cache.
fn indexed() -> (Repository, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let backend: Arc<dyn Backend> = Arc::new(Memory::new());
    let credentials = Credentials { passphrase: None, key_file: Some(Secret32([7; 32])) };
    repo::init(&*backend, &credentials, &InitOptions::default(), &SystemClock, &SystemRandom).unwrap();
    let environment = Environment {
        backend,
        cache_dir: folder.path().to_owned(),
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        copies_limit: 0,
    };
    let repo = Repository::open(environment, &credentials).unwrap();
    let record = |n| packs::record(n, repo.keys().epoch(), repo.keys().signer().id()).unwrap();
    write_part(&repo, &mut (0..PACKS).map(record).collect()).unwrap();
    (repo, folder)
}

fn index_cache(c: &mut Criterion) {
    let mut group = c.benchmark_group("index cache");
    const LOOKUPS: u64 = 10_000;
    group.throughput(Throughput::Elements(LOOKUPS)).sample_size(20);
    let chunks = PACKS * packs::CHUNKS;
    let made = LazyLock::new(indexed);
    // Ids are hashes: their order has nothing to do with where they lie.
    let known: Vec<ChunkId> = (0..LOOKUPS).map(|n| packs::chunk_id(n * (chunks / LOOKUPS))).collect();
    let unknown: Vec<ChunkId> = (0..LOOKUPS).map(|n| packs::chunk_id(chunks + n)).collect();
    let count = |ids: &[ChunkId]| {
        let cache = made.0.index();
        ids.iter().filter(|id| cache.contains(id).unwrap()).count() as u64
    };
    group.bench_function("filter: is an unknown chunk there", |b| b.iter(|| assert_eq!(count(&unknown), 0)));
    group.bench_function("is a known chunk there", |b| b.iter(|| assert_eq!(count(&known), LOOKUPS)));
    group.bench_function("where is a known chunk", |b| {
        let cache = made.0.index();
        b.iter(|| known.iter().for_each(|id| assert_eq!(cache.places(id).unwrap().len(), 1)));
    });
    group.throughput(Throughput::Elements(PACKS));
    group.bench_function("what is in a pack", |b| {
        let cache = made.0.index();
        b.iter(|| (0..PACKS as u32).for_each(|no| assert!(cache.pack(no).unwrap().is_some())));
    });
    group.finish();
}

criterion_group!(
    parts,
    chunker,
    ids,
    compression,
    deltas,
    decompression,
    sealing,
    index_parts,
    archives,
    index_cache
);
criterion_main!(parts);
