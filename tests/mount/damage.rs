//! Damage behind a mount: an error for what is hurt, the bytes of everything else, and a line in the log.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use crate::program::noise;
use crate::scene::Scene;

#[test]
fn a_damaged_chunk_is_an_error_for_its_range_alone() {
    let scene = Scene::new();
    let data = noise(6 << 20);
    fs::write(scene.path("tree/data"), &data).unwrap();
    let id = scene.snapshot();
    let pack = scene.damage();

    let mounted = scene.mount(&[]);
    let file = File::open(scene.latest().join("data")).unwrap();
    let page = 4096;
    let (mut lost, mut last) = (Vec::new(), vec![0; page]);
    for at in (0..data.len()).step_by(page) {
        match file.read_exact_at(&mut last, at as u64) {
            Ok(()) => assert!(last == data[at..at + page], "wrong bytes at {at}"),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
                lost.push(at);
            }
        }
    }
    // A segment at most, and all of it together.
    assert!(!lost.is_empty() && lost.len() * page <= 2 << 20, "{} pages", lost.len());
    assert!(lost.windows(2).all(|pair| pair[1] - pair[0] == page));
    let log = mounted.log();
    let pack = pack.file_name().unwrap().to_str().unwrap();
    for said in [&id[..8], scene.path("tree/data").to_str().unwrap().trim_start_matches('/'), pack] {
        assert!(log.contains(said), "{said} in {log}");
    }
    // The rest of the mount is well.
    assert!(fs::metadata(scene.latest()).is_ok());
}

#[test]
fn a_repository_that_is_gone_is_an_error_and_comes_back() {
    let scene = Scene::new();
    fs::write(scene.path("tree/data"), noise(1 << 20)).unwrap();
    fs::create_dir(scene.path("tree/folder")).unwrap();
    fs::write(scene.path("tree/folder/b"), "two").unwrap();
    scene.snapshot();
    let mounted = scene.mount(&[]);
    assert!(fs::metadata(scene.latest().join("data")).is_ok());
    fs::rename(scene.path("repository/data"), scene.path("away")).unwrap();
    assert!(fs::read(scene.latest().join("data")).is_err());
    assert!(!mounted.log().is_empty());
    fs::rename(scene.path("away"), scene.path("repository/data")).unwrap();
    assert_eq!(fs::read(scene.latest().join("data")).unwrap(), noise(1 << 20));
}
