//! WebDAV, over real connections to a real server.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use kamba_vault::base::clock::{Cancel, Clock, SystemClock};
use kamba_vault::base::monitor::Silent;
use kamba_vault::storage::{Context, CreateIfAbsent, ErrorKind, Options, RetryPolicy, open, probe};

use crate::conformance::{self, kind, listed};
use crate::probe::SOUND;
use crate::servers::proxy::{Fate, Proxy};
use crate::servers::wait_until;
use crate::servers::webdav::{PASSWORD, USER, Webdav};

#[test]
fn webdav_conforms() {
    let webdav = Webdav::start();
    conformance::run(&|place| open(&webdav.url(place), &webdav.options(), &Context::simulated()).unwrap());
    let backend = open(&webdav.url("a/deep/place"), &webdav.options(), &Context::simulated()).unwrap();
    assert_eq!(backend.create_if_absent(), CreateIfAbsent::LookFirst);
    let found = probe(&*backend).unwrap();
    assert_eq!(found, kamba_vault::storage::Probe { create_if_absent: found.create_if_absent, ..SOUND });
    assert_eq!(found.create_if_absent, kamba_vault::storage::Probed::LookFirst);
    assert_eq!(listed(&*backend, "").len(), 0);
    let shown = format!("webdav://{USER}@{}/a/deep/place", webdav.server.address);
    assert_eq!(backend.location(), shown);
    // Nothing half-written was left behind.
    let mut names = Vec::new();
    let mut folders = vec![webdav.server.folder.path().join("root")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            names.push(entry.file_name().into_string().unwrap());
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
        }
    }
    assert!(names.iter().all(|name| !name.starts_with(".tmp-")), "{names:?}");
}

/// Whether the server holds anything that has no name of its own yet.
fn has_temporary(webdav: &Webdav, folder: &str) -> bool {
    let files = fs::read_dir(webdav.server.folder.path().join("root").join(folder)).into_iter().flatten();
    files.flatten().any(|file| file.file_name().as_encoded_bytes().starts_with(b".tmp-"))
}

#[test]
fn a_cancel_leaves_nothing_behind() {
    let webdav = Webdav::start();
    let cancel = Cancel::new();
    // Slow enough to be met on its way.
    let options = Options { limit_upload: Some(1 << 20), ..webdav.options() };
    let context = Context::new(cancel.clone(), Arc::new(Silent));
    let backend = open(&webdav.url("x"), &options, &context).unwrap();
    thread::scope(|scope| {
        let put = scope.spawn(|| backend.put_new("pack", &conformance::noise(1, 64 << 20)));
        wait_until("the transfer is under way", || {
            assert!(!put.is_finished(), "it ended before it was interrupted");
            has_temporary(&webdav, "x")
        });
        cancel.cancel();
        assert_eq!(kind(put.join().unwrap()), ErrorKind::Cancelled);
    });
    wait_until("nothing is left", || !has_temporary(&webdav, "x"));
}

#[test]
fn what_a_killed_writer_left_is_swept_when_it_is_old() {
    let webdav = Webdav::start();
    let backend = open(&webdav.url("x"), &webdav.options(), &Context::simulated()).unwrap();
    assert_eq!(backend.sweep_temporary(SystemClock.now()).unwrap(), 0, "there is no folder yet");
    backend.put_new("config", b"x").unwrap();
    let root = webdav.server.folder.path().join("root/x");
    let long_ago = SystemTime::now() - Duration::from_secs(2 * 86_400);
    for (name, old) in [(".tmp-old", true), (".tmp-young", false), ("config", true)] {
        let file =
            fs::File::options().write(true).create(true).truncate(false).open(root.join(name)).unwrap();
        if old {
            file.set_modified(long_ago).unwrap();
        }
    }
    let day_ago = SystemClock.now().plus_seconds(-86_400);
    assert_eq!(backend.sweep_temporary(day_ago).unwrap(), 1);
    assert!(!root.join(".tmp-old").exists() && root.join(".tmp-young").exists());
    assert_eq!(backend.get("config", 10).unwrap(), b"x");
}

#[test]
fn only_passing_failures_are_tried_again() {
    let webdav = Webdav::start();
    for (status, expected, calls) in [
        (503, ErrorKind::Temporary, 3),
        (429, ErrorKind::Temporary, 3),
        (408, ErrorKind::Temporary, 3),
        (403, ErrorKind::Permission, 1),
        (507, ErrorKind::Full, 1),
    ] {
        let proxy = Proxy::start(webdav.server.address, move |_, _| Fate::Answer(status));
        let mut options = webdav.options();
        options.retry = RetryPolicy {
            delay_first: Duration::from_millis(1),
            deadline: Duration::ZERO,
            ..RetryPolicy::default()
        };
        let url = webdav.url_at(proxy.address, "x");
        let error = open(&url, &options, &Context::simulated()).unwrap().get("config", 100).unwrap_err();
        assert_eq!((error.kind, proxy.seen().len()), (expected, calls), "{status}: {error}");
    }
}

#[test]
fn a_wrong_password_is_refused_and_not_shown() {
    let webdav = Webdav::start();
    let url = webdav.url("x").replace(PASSWORD, "wrong-horse");
    let backend = open(&url, &Options::default(), &Context::simulated()).unwrap();
    for error in [backend.get("config", 10).unwrap_err(), backend.put_new("config", b"x").unwrap_err()] {
        assert_eq!(error.kind, ErrorKind::Permission, "{error}");
        assert!(!format!("{error} {error:?} {backend:?}").contains("wrong-horse"), "{error:?}");
    }
    assert_eq!(kind(backend.list("", &mut |_| ())), ErrorKind::Permission);
}
