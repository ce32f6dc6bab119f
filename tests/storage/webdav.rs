//! WebDAV, over real connections to a real server.

use std::fs;

use kamba_vault::storage::{Context, CreateIfAbsent, ErrorKind, Options, open, probe};

use crate::conformance::{self, kind, listed};
use crate::probe::SOUND;
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
