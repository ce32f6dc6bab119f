//! Disks that fill up: that of the repository, and that of the cache. The program says which, ends
//! with status 1, leaves nothing half-made, and goes on where there is room.

use std::fs;
use std::path::Path;

use crate::program::{Run, Sandbox, files, finish};
use crate::servers::SmallDisk;
use crate::support::{copy_folder, noise};

/// A home whose repository or cache may be elsewhere.
struct Homes {
    sandbox: Sandbox,
    repository: std::path::PathBuf,
    cache: std::path::PathBuf,
}

impl Homes {
    fn run(&self, args: &[&str]) -> Run {
        let mut command = self.sandbox.program();
        command.env("KAMBA_REPO", &self.repository).env("KAMBA_CACHE_DIR", &self.cache).arg("-q").args(args);
        if args.contains(&"stdin") {
            command.stdin(fs::File::open(self.sandbox.path("stream")).unwrap());
        }
        finish(&mut command)
    }

    fn snapshot(&self) -> Run {
        self.run(&["snapshot", "stdin", "--name", "stream"])
    }

    fn snapshots(&self) -> usize {
        self.run(&["snapshots", "--json"]).json().as_array().unwrap().len()
    }

    /// The snapshots are sound, and the newest is `data`.
    fn assert_holds(&self, data: &[u8]) {
        self.run(&["check", "--read-data"]).text();
        let read = self.run(&["cat", "latest:stream"]);
        assert!(read.status == 0 && read.stdout == data, "{}", read.stderr);
    }
}

#[test]
fn a_full_repository_is_named_and_goes_on_on_a_larger_disk() {
    // Room for two packs of the four.
    let disk = SmallDisk::mount(40 << 20);
    let sandbox = Sandbox::empty();
    let (repository, cache) = (disk.path().join("repository"), sandbox.path("cache"));
    let mut homes = Homes { sandbox, repository, cache };
    let data = noise(1, 60_000_000);
    fs::write(homes.sandbox.path("stream"), &data).unwrap();
    assert_eq!(homes.run(&["init"]).status, 0);
    let full = homes.snapshot();
    let said = full.failed(1);
    assert!(said.contains(homes.repository.to_str().unwrap()), "{said}");
    assert!(said.contains("No space left") && said.contains("hint: "), "{said}");
    assert_eq!(homes.snapshots(), 0);
    homes.run(&["check", "--read-data"]).text();
    let names = files(&homes.repository);
    assert!(!names.iter().any(|path| is_half_made(path)), "{names:?}");
    // Its objects on a larger disk: what was stored is used.
    homes.repository = homes.sandbox.path("repository");
    fs::create_dir(&homes.repository).unwrap();
    copy_folder(&disk.path().join("repository"), &homes.repository);
    assert_eq!(homes.snapshot().status, 0);
    homes.assert_holds(&data);
    let stats = &homes.run(&["snapshots", "--json"]).json()[0]["stats"];
    assert!(stats["new_bytes"].as_u64().unwrap() < 50_000_000, "{stats}");
}

fn is_half_made(path: &Path) -> bool {
    let text = path.to_str().unwrap();
    text.contains(".tmp-") || text.contains("/leases/") || text.contains("/roots/")
}

#[test]
fn a_full_cache_costs_no_snapshot() {
    let data = noise(2, 8_000_000);
    for kib in [8, 64, 128, 256, 2_048] {
        let disk = SmallDisk::mount(kib << 10);
        let sandbox = Sandbox::new();
        let (repository, cache) = (sandbox.path("repository"), disk.path().join("cache"));
        let mut homes = Homes { sandbox, repository, cache };
        fs::write(homes.sandbox.path("stream"), &data).unwrap();
        let run = homes.snapshot();
        assert_eq!(run.status, 0, "{kib} KiB: {run:?}");
        // Where it had no room from the start, the user is told which folder that is.
        if kib == 8 {
            assert!(run.stderr.contains(homes.cache.to_str().unwrap()), "{run:?}");
        }
        // The repository never depends on it.
        homes.cache = homes.sandbox.path("cache");
        assert_eq!(homes.snapshots(), 1, "{kib} KiB: {run:?}");
        assert_eq!(homes.snapshot().status, 0);
        homes.assert_holds(&data);
    }
}
