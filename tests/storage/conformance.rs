//! What `Backend` promises, checked the same way on every implementation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use kamba_vault::storage::{Backend, CreateIfAbsent, ErrorKind};

/// Opens the place called by the argument; the same argument means the same place again.
pub type Open<'a> = &'a (dyn Fn(&str) -> Arc<dyn Backend> + Sync);

type Check = fn(Open<'_>, &str);

const CHECKS: &[(&str, Check)] = &[
    ("round-trip", what_is_created_is_read_back),
    ("no-overwrite", nothing_is_overwritten),
    ("limit", a_limit_is_kept),
    ("ranges", ranges_are_exact),
    ("absent", absent_objects_are_reported),
    ("list", listings_are_complete),
    ("pages", long_listings_are_complete),
    ("delete", deletion_leaves_nothing),
    ("names", hostile_names_are_refused),
    ("race", one_of_eight_creators_wins),
    ("same", eight_creators_of_the_same_bytes_all_succeed),
    ("threads", threads_share_a_backend),
    ("large", large_objects_work),
];

/// Runs every check, each in a place of its own.
pub fn run(open: Open<'_>) {
    for (place, check) in CHECKS {
        println!("{place}");
        check(open, place);
    }
}

/// Bytes that do not repeat, different for each seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

/// Everything that is listed below `prefix`; fails if anything is listed twice.
pub fn listed(backend: &dyn Backend, prefix: &str) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    backend
        .list(prefix, &mut |entry| {
            let twice = found.insert(entry.name.clone(), entry.size);
            assert_eq!(twice, None, "{} is listed twice", entry.name);
        })
        .unwrap();
    found
}

pub fn kind<T: std::fmt::Debug>(result: Result<T, kamba_vault::storage::Error>) -> ErrorKind {
    result.unwrap_err().kind
}

fn what_is_created_is_read_back(open: Open<'_>, place: &str) {
    let backend = open(place);
    for len in [0, 1, 100, 4096, (1 << 20) + 3] {
        let (name, bytes) = (format!("data/ab/{len}"), noise(len as u64, len));
        backend.put_new(&name, &bytes).unwrap();
        assert_eq!(backend.stat(&name).unwrap(), Some(len as u64));
        assert!(backend.get(&name, 1 << 30).unwrap() == bytes, "{len} bytes differ");
    }
    backend.put_new("config", b"top level").unwrap();
    // A second instance, as another process would have it.
    let again = open(place);
    assert_eq!(again.get("config", 100).unwrap(), b"top level");
    assert_eq!(listed(&*again, "").len(), 6);
    assert_eq!(again.location(), backend.location());
}

fn nothing_is_overwritten(open: Open<'_>, place: &str) {
    let backend = open(place);
    for name in ["lease", "leases/0123"] {
        backend.put_new(name, b"first").unwrap();
        backend.put_new(name, b"first").expect("the same bytes again are as good as created");
        for other in [&b"other"[..], b"", b"firs", b"first and more"] {
            assert_eq!(kind(backend.put_new(name, other)), ErrorKind::Exists, "{other:?}");
            assert_eq!(kind(open(place).put_new(name, other)), ErrorKind::Exists);
        }
        assert_eq!(backend.get(name, 100).unwrap(), b"first");
    }
    backend.put_new("empty", b"").unwrap();
    backend.put_new("empty", b"").unwrap();
    assert_eq!(kind(backend.put_new("empty", b"x")), ErrorKind::Exists);
    assert_eq!(listed(&*backend, "").len(), 3);
}

fn a_limit_is_kept(open: Open<'_>, place: &str) {
    let backend = open(place);
    backend.put_new("object", &noise(1, 1000)).unwrap();
    assert_eq!(backend.get("object", 1000).unwrap().len(), 1000);
    assert_eq!(kind(backend.get("object", 999)), ErrorKind::TooLarge);
    assert_eq!(kind(backend.get("object", 0)), ErrorKind::TooLarge);
}

fn ranges_are_exact(open: Open<'_>, place: &str) {
    let backend = open(place);
    let bytes = noise(2, 100_000);
    backend.put_new("data/x", &bytes).unwrap();
    for range in [0..1, 0..100_000, 5..5, 0..0, 99_999..100_000, 1234..77_777, 100_000..100_000] {
        let mut into = b"kept".to_vec();
        backend.get_range("data/x", range.clone(), &mut into).unwrap();
        assert_eq!(&into[..4], b"kept");
        assert!(into[4..] == bytes[range.start as usize..range.end as usize], "{range:?}");
    }
    for range in
        [0..100_001, 99_999..100_001, 100_000..100_001, 200_000..200_001, 100_001..100_001, 0..1 << 62]
    {
        let mut into = b"kept".to_vec();
        assert_eq!(
            kind(backend.get_range("data/x", range.clone(), &mut into)),
            ErrorKind::Truncated,
            "{range:?}"
        );
        assert_eq!(into, b"kept", "a failed read leaves nothing behind");
    }
}

fn absent_objects_are_reported(open: Open<'_>, place: &str) {
    let backend = open(place);
    for name in ["nothing", "data/3f/nothing"] {
        assert_eq!(kind(backend.get(name, 10)), ErrorKind::NotFound);
        assert_eq!(kind(backend.get_range(name, 0..1, &mut Vec::new())), ErrorKind::NotFound);
        assert_eq!(kind(backend.get_range(name, 0..0, &mut Vec::new())), ErrorKind::NotFound);
        assert_eq!(backend.stat(name).unwrap(), None);
        backend.delete(name).unwrap();
    }
    assert_eq!(listed(&*backend, "").len(), 0);
    assert_eq!(listed(&*backend, "data/").len(), 0);
    // A folder is no object.
    backend.put_new("data/3f/x", b"x").unwrap();
    assert_eq!(backend.stat("data/3f").unwrap(), None);
    assert_eq!(backend.stat("data").unwrap(), None);
    let error = backend.get("data/3f/nothing", 10).unwrap_err().to_string();
    assert!(error.contains("data/3f/nothing") && error.contains(&backend.location()), "{error}");
}

fn listings_are_complete(open: Open<'_>, place: &str) {
    let backend = open(place);
    let names = ["a", "data/00/1", "data/00/2", "data/ff/3", "database/4", "data-5", "data.6", "x/y/z/w/5"];
    for (size, name) in names.iter().enumerate() {
        backend.put_new(name, &noise(3, size)).unwrap();
    }
    let all = listed(&*backend, "");
    assert_eq!(all.keys().map(String::as_str).collect::<Vec<_>>(), {
        let mut sorted = names.to_vec();
        sorted.sort_unstable();
        sorted
    });
    for (size, name) in names.iter().enumerate() {
        assert_eq!(all[*name], size as u64, "{name}");
    }
    assert_eq!(
        listed(&*backend, "data/").into_keys().collect::<Vec<_>>(),
        ["data/00/1", "data/00/2", "data/ff/3"]
    );
    assert_eq!(listed(&*backend, "data/00/").into_keys().collect::<Vec<_>>(), ["data/00/1", "data/00/2"]);
    assert_eq!(listed(&*backend, "x/").into_keys().collect::<Vec<_>>(), ["x/y/z/w/5"]);
    assert_eq!(listed(&*backend, "dat/").len(), 0);
}

fn long_listings_are_complete(open: Open<'_>, place: &str) {
    // S3 lists a thousand at a time.
    const THREADS: usize = 8;
    const EACH: usize = 132;
    let backend = open(place);
    thread::scope(|scope| {
        for t in 0..THREADS {
            let backend = &backend;
            scope.spawn(move || {
                for n in 0..EACH {
                    backend.put_new(&format!("index/{t}-{n}"), &[0; 3]).unwrap();
                }
            });
        }
    });
    let found = listed(&*backend, "index/");
    assert_eq!(found.len(), THREADS * EACH);
    assert!(found.values().all(|size| *size == 3));
}

fn deletion_leaves_nothing(open: Open<'_>, place: &str) {
    let backend = open(place);
    backend.put_new("data/a", b"a").unwrap();
    backend.put_new("data/b", b"b").unwrap();
    backend.delete("data/a").unwrap();
    backend.delete("data/a").unwrap();
    assert_eq!(backend.stat("data/a").unwrap(), None);
    assert_eq!(listed(&*backend, "").into_keys().collect::<Vec<_>>(), ["data/b"]);
    backend.put_new("data/a", b"another").expect("the name is free again");
    backend.delete("data/a").unwrap();
    backend.delete("data/b").unwrap();
    assert_eq!(listed(&*backend, "").len(), 0);
}

fn hostile_names_are_refused(open: Open<'_>, place: &str) {
    let backend = open(place);
    for name in [
        "",
        "..",
        "../x",
        "data/../../x",
        "/etc/x",
        "data//x",
        "data/",
        ".tmp-x",
        "data/.x",
        "X",
        "a\0",
        "a\nb",
        "a b",
        "%2e%2e/x",
    ] {
        assert_eq!(kind(backend.put_new(name, b"x")), ErrorKind::Other, "{name:?}");
        assert_eq!(kind(backend.get(name, 10)), ErrorKind::Other, "{name:?}");
        assert_eq!(kind(backend.get_range(name, 0..1, &mut Vec::new())), ErrorKind::Other, "{name:?}");
        assert_eq!(kind(backend.stat(name)), ErrorKind::Other, "{name:?}");
        assert_eq!(kind(backend.delete(name)), ErrorKind::Other, "{name:?}");
    }
    for prefix in ["..", "../", "/", "data", "data//", "DATA/"] {
        assert_eq!(kind(backend.list(prefix, &mut |_| ())), ErrorKind::Other, "{prefix:?}");
    }
    assert_eq!(listed(&*backend, "").len(), 0);
}

fn one_of_eight_creators_wins(open: Open<'_>, place: &str) {
    let backend = open(place);
    if backend.create_if_absent() != CreateIfAbsent::Atomic {
        return;
    }
    for round in 0..5 {
        let name = format!("leases/{round}");
        let bytes: Vec<Vec<u8>> = (0..8).map(|t| noise(t, 3000)).collect();
        let won: Vec<bool> = thread::scope(|scope| {
            let create = |bytes| match backend.put_new(&name, bytes) {
                Ok(()) => true,
                Err(error) if error.kind == ErrorKind::Exists => false,
                Err(error) => panic!("{error}"),
            };
            let threads: Vec<_> = bytes.iter().map(|bytes| scope.spawn(move || create(bytes))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(won.iter().filter(|won| **won).count(), 1, "round {round}");
        let winner = won.iter().position(|won| *won).unwrap();
        assert!(backend.get(&name, 10_000).unwrap() == bytes[winner]);
    }
    assert_eq!(listed(&*backend, "").len(), 5);
}

fn eight_creators_of_the_same_bytes_all_succeed(open: Open<'_>, place: &str) {
    let backend = open(place);
    let bytes = noise(9, 70_000);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| backend.put_new("data/same", &bytes).unwrap());
        }
    });
    assert!(backend.get("data/same", 70_000).unwrap() == bytes);
    assert_eq!(listed(&*backend, "").len(), 1);
}

fn threads_share_a_backend(open: Open<'_>, place: &str) {
    let backend = open(place);
    thread::scope(|scope| {
        for t in 0..8u64 {
            let backend = &backend;
            scope.spawn(move || {
                for n in 0..10 {
                    let (name, bytes) = (format!("data/{n:02}/{t}"), noise(t * 100 + n, 20_000));
                    backend.put_new(&name, &bytes).unwrap();
                    let mut part = Vec::new();
                    backend.get_range(&name, 10_000..11_000, &mut part).unwrap();
                    assert!(part == bytes[10_000..11_000]);
                }
            });
        }
    });
    assert_eq!(listed(&*backend, "data/").len(), 80);
}

fn large_objects_work(open: Open<'_>, place: &str) {
    let backend = open(place);
    let bytes = noise(11, (17 << 20) + 5);
    backend.put_new("data/large", &bytes).unwrap();
    assert!(backend.get("data/large", 64 << 20).unwrap() == bytes);
    let mut part = Vec::new();
    backend.get_range("data/large", (9 << 20)..(13 << 20), &mut part).unwrap();
    assert!(part == bytes[9 << 20..13 << 20]);
}
