//! The engine over real servers: a repository made, written, checked and read through S3, SFTP and
//! WebDAV, by the library and by the program; several writers at once; and the program killed at
//! every request that changes something.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use kamba_vault::base::clock::Cancel;
use kamba_vault::format::keyslot::encode_key_file;
use kamba_vault::repo::roots;
use kamba_vault::storage::{Backend, Context, Options, open};
use rustix::process::{Pid, Signal, kill_process};

use crate::program::{Sandbox, finish};
use crate::servers::proxy::{Fate, Proxy};
use crate::servers::s3::{S3, options_at};
use crate::servers::sftp::Sftp;
use crate::servers::webdav::Webdav;
use crate::support::views::{Model, assert_reads};
use crate::support::{self, Streams, names, noise, rows, wait_for};
use crate::writers::many_writers;

fn backend(url: &str, options: &Options) -> Arc<dyn Backend> {
    open(url, options, &Context::simulated()).unwrap()
}

/// Makes a repository, writes and reads: every byte through a connection of its own.
fn engine_works(connect: &dyn Fn() -> Arc<dyn Backend>) {
    support::init(&connect());
    let cache = support::folder();
    let mut model = Model::new();
    let streams = |extra: &[u8]| {
        let long = [&rows(1, 900_000), extra].concat();
        Streams::from([
            ("empty".into(), Vec::new()),
            ("long".into(), long),
            ("noise".into(), noise(2, 300_000)),
        ])
    };
    for extra in [&b""[..], b"one line more\n"] {
        let repo = support::open(&connect(), cache.path());
        let streams = streams(extra);
        model.insert(support::snapshot_streams(&repo, &streams).unwrap(), streams);
    }
    // The same once more costs a root.
    let repo = support::open(&connect(), cache.path());
    let again = support::snapshot(&repo, "noise", &noise(2, 300_000)).unwrap();
    assert_eq!(again.added.new_chunks, 1, "the tree alone is new: {:?}", again.added);
    let elsewhere = support::folder();
    let repo = support::open(&connect(), elsewhere.path());
    assert_eq!(support::assert_clean(&repo).snapshots, 3);
    assert_reads(&repo, &model);
    // A pack that vanishes is missed.
    let other = connect();
    let pack = names(&*other, "data/").remove(0);
    other.delete(&pack).unwrap();
    let report = support::check_all(&repo);
    assert!(report.damaged.iter().any(|damage| damage.object == pack) && !report.hurt.is_empty());
    assert!(names(&*other, "leases/").is_empty());
}

#[test]
fn over_s3() {
    let s3 = S3::start();
    engine_works(&|| backend(&s3.url("engine"), &s3.options()));
}

#[test]
fn over_sftp() {
    let sftp = Sftp::start();
    engine_works(&|| backend(&sftp.url("engine"), &sftp.options()));
}

#[test]
fn over_webdav() {
    let webdav = Webdav::start();
    engine_works(&|| backend(&webdav.url("engine"), &webdav.options()));
}

#[test]
fn two_and_eight_writers_on_s3() {
    let s3 = S3::start();
    for writers in [2, 8] {
        many_writers(&|| backend(&s3.url(&format!("writers-{writers}")), &s3.options()), writers);
    }
}

/// A home whose configuration names the S3 server at the end of `proxy`.
fn sandbox(proxy: &Proxy, url: &str) -> Sandbox {
    let sandbox = Sandbox::empty();
    fs::write(sandbox.path("key"), encode_key_file(&support::credentials().key_file.unwrap())).unwrap();
    let mut config = format!("[repository]\nurl = \"{url}\"\n[repository.options]\n");
    for (key, value) in options_at(proxy.address).settings.iter() {
        config.push_str(&format!("{key} = \"{value}\"\n"));
    }
    fs::write(sandbox.path("config.toml"), config).unwrap();
    for secret in ["key", "config.toml"] {
        fs::set_permissions(sandbox.path(secret), Permissions::from_mode(0o600)).unwrap();
    }
    sandbox
}

/// The program in that home.
fn program(sandbox: &Sandbox) -> std::process::Command {
    let mut command = sandbox.program();
    command.env_remove("KAMBA_REPO").env("KAMBA_CONFIG", sandbox.path("config.toml")).arg("-q");
    command
}

#[test]
fn the_program_over_s3() {
    let s3 = S3::start();
    let proxy = Proxy::start(s3.server.address, |_, _| Fate::Pass);
    let sandbox = sandbox(&proxy, &s3.url("program"));
    let run = |args: &[&str]| finish(program(&sandbox).args(args));
    assert_eq!(run(&["init"]).status, 0);
    run(&["snapshot", "command", "--name", "a", "--", "seq", "100000"]).text();
    run(&["check", "--read-data"]).text();
    let numbers: String = (1..=100_000).map(|n| format!("{n}\n")).collect();
    assert!(run(&["cat", "latest:a"]).text() == numbers);
    assert!(proxy.seen().iter().any(|line| line.starts_with("PUT /vault/program/roots/")));
}

#[test]
fn the_program_uploads_what_changed_and_reads_no_bases() {
    let s3 = S3::start();
    let proxy = Proxy::start(s3.server.address, |_, _| Fate::Pass);
    let sandbox = sandbox(&proxy, &s3.url("changes"));
    finish(program(&sandbox).arg("init"));
    let day = |edit: &str, more: &[&str]| {
        let numbers = format!("seq 300000 | sed 's/^[0-9]*{edit}7$/& was edited/'");
        let words = ["--json", "snapshot", "command", "--name", "a"];
        let made = finish(program(&sandbox).args(words).args(more).args(["--", "sh", "-c", &numbers]));
        let made = made.json();
        assert_eq!(made["base_fetched_bytes"], 0);
        made["stats"].clone()
    };
    let number = |stats: &serde_json::Value, field: &str| stats[field].as_u64().unwrap();
    let first = day("0123", &[]);
    for edit in ["0023", "0045"] {
        let before = proxy.seen().len();
        let stats = day(edit, &[]);
        assert!(number(&stats, "delta_bytes") > number(&stats, "new_bytes") / 2, "{stats}");
        assert!(number(&stats, "stored_bytes") < number(&first, "stored_bytes") / 5, "{stats} after {first}");
        let seen = proxy.seen().split_off(before);
        let is_read = |line: &String| line.starts_with("GET /vault/changes/data/");
        assert!(!seen.iter().any(is_read), "{seen:?}");
    }
    let none = day("0067", &["--base-cache", "0"]);
    assert_eq!(number(&none, "delta_bytes"), 0);
    assert_eq!(finish(program(&sandbox).args(["check", "--read-data"])).status, 0);
}

/// A proxy before `s3` that kills the program before its request number `at` that changes something
/// reaches the server; and where to put the program's process id.
fn executioner(s3: &S3, at: usize) -> (Proxy, Arc<Mutex<Option<Pid>>>) {
    let victim: Arc<Mutex<Option<Pid>>> = Arc::default();
    let (known, changes) = (victim.clone(), AtomicUsize::new(0));
    let proxy = Proxy::start(s3.server.address, move |method, _| {
        if method == "GET" || method == "HEAD" {
            return Fate::Pass;
        }
        match changes.fetch_add(1, Ordering::SeqCst).cmp(&at) {
            std::cmp::Ordering::Less => Fate::Pass,
            std::cmp::Ordering::Equal => {
                wait_for("the victim", || known.lock().unwrap().is_some());
                kill_process(known.lock().unwrap().unwrap(), Signal::KILL).unwrap();
                Fate::Hang
            }
            // Others that were on their way with it.
            std::cmp::Ordering::Greater => Fate::Hang,
        }
    });
    (proxy, victim)
}

#[test]
fn killed_at_every_request_it_leaves_garbage_at_most() {
    let s3 = S3::start();
    let data = rows(7, 600_000);
    let mut steps = 0;
    loop {
        let url = s3.url(&format!("killed-{steps}"));
        let direct = backend(&url, &s3.options());
        support::init(&direct);
        let (proxy, victim) = executioner(&s3, steps);
        let sandbox = sandbox(&proxy, &url);
        fs::write(sandbox.path("stream"), &data).unwrap();
        let mut command = program(&sandbox);
        command.args(["snapshot", "stdin", "--name", "stream"]);
        command.stdin(fs::File::open(sandbox.path("stream")).unwrap()).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        *victim.lock().unwrap() = Some(Pid::from_child(&child));
        let died = !child.wait().unwrap().success();
        let cache = support::folder();
        let repo = support::open(&direct, cache.path());
        assert!(died || names(&*direct, "leases/").is_empty());
        let there = support::assert_clean(&repo).snapshots;
        // Whoever was killed at his lease's removal had committed.
        let indexed = !names(&*direct, "index/").is_empty();
        assert!(there == 0 && died || there == 1 && indexed, "step {steps}: {there}");
        let again = support::snapshot(&repo, "stream", &data).unwrap();
        assert_eq!(again.added.new_chunks == 0, indexed, "step {steps}: what is in the index is used");
        assert_eq!(support::assert_clean(&repo).snapshots, there + 1);
        for snapshot in roots::list(&repo, &Cancel::new()).unwrap().snapshots {
            assert!(support::views::cat(&repo, &snapshot.id, "stream").unwrap() == data);
        }
        if !died {
            break;
        }
        steps += 1;
    }
    assert!(steps >= 6, "lease, two packs, index part, root, lease: {steps} steps");
}
