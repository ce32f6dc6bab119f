//! Many readers at once, against bytes that are known, while the repository goes on changing.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::maker::Dice;
use crate::program::noise;
use crate::scene::Scene;

#[test]
fn readers_at_random_places_get_the_right_bytes_while_snapshots_come_and_go() {
    let scene = Scene::new();
    // Noise, and text that is compressed; the second snapshot has deltas.
    let mut data = noise(12 << 20);
    for (at, byte) in data[4 << 20..8 << 20].iter_mut().enumerate() {
        *byte = b"0123456789abcdef"[(at / 64 + at % 7) % 16];
    }
    fs::write(scene.path("tree/data"), &data).unwrap();
    scene.snapshot();
    for at in (0..data.len()).step_by(100_000) {
        data[at] ^= 0x55;
    }
    fs::write(scene.path("tree/data"), &data).unwrap();
    scene.snapshot();
    let mounted = scene.mount(&["latest"]);
    let path = crate::scene::below(&mounted.at, &scene.path("tree/data"));
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..64u64)
            .map(|number| {
                let (data, path) = (&data, &path);
                scope.spawn(move || {
                    let (file, mut dice) = (File::open(path).unwrap(), Dice(number + 1));
                    let mut bytes = vec![0; 300_000];
                    for _ in 0..40 {
                        let at = dice.roll(data.len() as u64) as usize;
                        let len = 1 + dice.roll(bytes.len() as u64 - 1) as usize;
                        let len = len.min(data.len() - at);
                        file.read_exact_at(&mut bytes[..len], at as u64).unwrap();
                        assert!(bytes[..len] == data[at..at + len], "{len} bytes at {at}");
                    }
                })
            })
            .collect();
        let writer = scope.spawn(|| {
            let mut made = 0;
            while !ended.load(Ordering::Relaxed) || made == 0 {
                fs::write(scene.path("tree/other"), noise(50_000 + made)).unwrap();
                let id = scene.snapshot();
                scene.forget(&id);
                made += 1;
            }
        });
        for reader in readers {
            reader.join().unwrap();
        }
        ended.store(true, Ordering::Relaxed);
        writer.join().unwrap();
    });
    // What was read may be kept by the kernel; the process keeps a bounded part of it.
    assert!(mounted.peak() < 200 << 20, "{}", mounted.peak());
    assert_eq!(mounted.log(), "");
}

#[test]
fn whole_files_are_read_from_several_places_at_once() {
    let scene = Scene::new();
    let data = noise(40 << 20);
    fs::write(scene.path("tree/data"), &data).unwrap();
    scene.snapshot();
    let _mounted = scene.mount(&[]);
    let path = scene.latest().join("data");
    std::thread::scope(|scope| {
        for from in 0..4usize {
            let (data, path) = (&data, &path);
            scope.spawn(move || {
                let file = File::open(path).unwrap();
                let mut bytes = vec![0; 256 << 10];
                let start = from * (10 << 20);
                for at in (start..start + (10 << 20)).step_by(bytes.len()) {
                    file.read_exact_at(&mut bytes, at as u64).unwrap();
                    assert!(bytes == data[at..at + bytes.len()], "at {at}");
                }
            });
        }
    });
    // Beyond the end there is nothing.
    let file = File::open(&path).unwrap();
    assert_eq!(file.read_at(&mut [0; 10], data.len() as u64).unwrap(), 0);
    assert_eq!(file.read_at(&mut [0; 10], data.len() as u64 - 3).unwrap(), 3);
}
