//! SFTP, over real connections to a real server.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use kamba_vault::base::clock::Cancel;
use kamba_vault::base::monitor::{Recorder, Silent};
use kamba_vault::storage::{Backend, Context, CreateIfAbsent, ErrorKind, Options, RetryPolicy, open, probe};
use rustix::process::{Pid, Signal};

use crate::conformance::{self, kind, listed, noise};
use crate::probe::SOUND;
use crate::servers::sftp::{Sftp, make_key};
use crate::servers::{SmallDisk, processes, wait_until};

/// Time that passes by itself: a connection on which nothing moves would never be given up in a
/// simulated one.
fn real() -> Context {
    Context::new(Cancel::new(), Arc::new(Silent))
}

fn at(sftp: &Sftp, folder: &str) -> Arc<dyn Backend> {
    open(&sftp.url(folder), &sftp.options(), &real()).unwrap()
}

/// Fails at once rather than after minutes.
fn hasty(mut options: Options) -> Options {
    options.retry = RetryPolicy { attempts_min: 1, deadline: Duration::ZERO, ..options.retry };
    options
}

#[test]
fn sftp_conforms() {
    let sftp = Sftp::start();
    conformance::run(&|place| at(&sftp, place));
    let backend = at(&sftp, "a/deep/place");
    assert_eq!(backend.create_if_absent(), CreateIfAbsent::Atomic);
    assert_eq!(probe(&*backend).unwrap(), SOUND);
    assert_eq!(listed(&*backend, "").len(), 0);
    assert_eq!((backend.location(), backend.is_local()), (sftp.url("a/deep/place"), false));
}

#[test]
fn objects_are_private_files_and_nothing_else_is_left() {
    let sftp = Sftp::start();
    let backend = at(&sftp, "repo");
    backend.put_new("data/3f/x", b"x").unwrap();
    assert_eq!(kind(backend.put_new("data/3f/x", b"y")), ErrorKind::Exists);
    for (path, mode) in [("", 0o700), ("data", 0o700), ("data/3f", 0o700), ("data/3f/x", 0o600)] {
        let metadata = fs::metadata(sftp.root().join("repo").join(path)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, mode, "{path}");
    }
    let names = |backend: &dyn Backend| {
        // Answers come in order: whatever was removed before is gone by now.
        assert_eq!(backend.stat("nothing").unwrap(), None);
        let files = fs::read_dir(sftp.root().join("repo/data/3f")).unwrap().flatten();
        files.map(|file| file.file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(names(&*backend), ["x"]);
}

#[test]
fn foreign_files_are_not_listed_and_links_are_followed() {
    let sftp = Sftp::start();
    let backend = at(&sftp, "repo");
    backend.put_new("data/x", b"x").unwrap();
    let root = sftp.root().join("repo");
    for foreign in ["data/.tmp-0011", ".DS_Store", "data/README.TXT", "lost+found"] {
        fs::write(root.join(foreign), b"y").unwrap();
    }
    fs::write(root.join(OsStr::from_bytes(b"data/\xff")), b"y").unwrap();
    std::os::unix::fs::symlink(sftp.root().join("elsewhere"), root.join("index")).unwrap();
    fs::create_dir(sftp.root().join("elsewhere")).unwrap();
    backend.put_new("index/y", b"y").unwrap();
    assert_eq!(listed(&*backend, "").into_keys().collect::<Vec<_>>(), ["data/x", "index/y"]);
}

#[test]
fn a_path_in_the_home_folder_opens() {
    let sftp = Sftp::start();
    // Whatever the home folder is, nothing is made in it by looking.
    let url = sftp.url("x").replace(sftp.root().to_str().unwrap(), "/~/no-such-folder-of-a-test");
    let backend = open(&url, &sftp.options(), &real()).unwrap();
    assert_eq!(kind(backend.get("config", 10)), ErrorKind::NotFound);
    assert_eq!(listed(&*backend, "").len(), 0);
}

#[test]
fn strangers_are_refused_both_ways() {
    let sftp = Sftp::start();
    let folder = tempfile::tempdir().unwrap();
    // A key that the server does not know.
    make_key(&folder.path().join("key"));
    let mut options = sftp.options();
    options.settings.set("key", folder.path().join("key").to_str().unwrap());
    let backend = open(&sftp.url("x"), &options, &real()).unwrap();
    let error = backend.get("config", 10).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Permission, "{error}");
    assert!(error.to_string().contains("Permission denied"), "{error}");
    // A server that we do not know.
    let known_hosts = folder.path().join("known_hosts");
    let mut options = sftp.options();
    options.settings.set("known_hosts", known_hosts.to_str().unwrap());
    let backend = open(&sftp.url("x"), &options, &real()).unwrap();
    let error = backend.get("config", 10).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Permission, "{error}");
    assert!(error.to_string().contains("Host key verification failed"), "{error}");
    assert!(!known_hosts.exists());
    // Unless we say that we trust it the first time.
    options.settings.set("accept_new_host", "true");
    let backend = open(&sftp.url("x"), &options, &real()).unwrap();
    assert_eq!(kind(backend.get("config", 10)), ErrorKind::NotFound);
    assert!(fs::read_to_string(&known_hosts).unwrap().contains("127.0.0.1"));
}

#[test]
fn nobody_there_is_a_passing_failure() {
    let address = crate::servers::NOBODY;
    let url = format!("sftp://nobody@{address}/x");
    let mut options = Options::default();
    options.settings.set("config", "/dev/null");
    let backend = open(&url, &hasty(options), &real()).unwrap();
    let error = backend.put_new("config", b"x").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Temporary, "{error}");
    assert!(error.to_string().contains("Connection refused"), "{error}");
}

#[test]
fn what_will_not_pass_is_not_tried_again() {
    let sftp = Sftp::start();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let missing = folder.path().join("missing").to_str().unwrap().to_owned();
    let (typo, alien) = (file("typo", "Prot 22\n"), file("alien", "Ciphers 3des-cbc\n"));
    // An account whose shell greets everybody.
    let (key, authorized) = (folder.path().join("key"), sftp.server.folder.path().join("authorized"));
    make_key(&key);
    let public = fs::read_to_string(key.with_extension("pub")).unwrap();
    let known = fs::read_to_string(&authorized).unwrap();
    fs::write(&authorized, format!("{known}command=\"echo Welcome to this machine\" {public}")).unwrap();
    for (setting, value, expected) in [
        ("config", missing.as_str(), "Can't open user config file"),
        ("config", &typo, "Bad configuration option"),
        ("config", &alien, "Unable to negotiate"),
        ("key", key.to_str().unwrap(), "does the account's login shell print something?"),
    ] {
        let told = Arc::new(Recorder::default());
        let mut options = sftp.options();
        options.settings.set(setting, value);
        let backend = open(&sftp.url("x"), &options, &Context::new(Cancel::new(), told.clone())).unwrap();
        let error = backend.get("config", 10).unwrap_err();
        assert_eq!((error.kind, told.lines()), (ErrorKind::Config, Vec::new()), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn settings_are_checked() {
    for (key, value) in [("password", "hush-hush"), ("accept_new_host", "perhaps")] {
        let mut options = Options::default();
        options.settings.set(key, value);
        let error = open("sftp://host/x", &options, &real()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Config);
        assert!(!error.to_string().contains(value), "{error}");
    }
}

#[test]
fn a_connection_that_breaks_in_the_middle_is_made_anew() {
    let sftp = Sftp::start();
    let told = Arc::new(Recorder::default());
    let context = Context::new(Cancel::new(), told.clone());
    // Slow enough to be met on its way.
    let mut options = sftp.options();
    options.limit_upload = Some(1 << 20);
    options.retry.delay_first = Duration::from_millis(1);
    let backend = open(&sftp.url("repo"), &options, &context).unwrap();
    let bytes = noise(1, 3 << 20);
    thread::scope(|scope| {
        let put = scope.spawn(|| backend.put_new("pack", &bytes));
        let under_way = || {
            let files = fs::read_dir(sftp.root().join("repo")).into_iter().flatten().flatten();
            files.into_iter().any(|file| file.metadata().is_ok_and(|metadata| metadata.len() > 64 << 10))
        };
        wait_until("the transfer is under way", || {
            assert!(!put.is_finished(), "it ended before it was interrupted");
            under_way()
        });
        assert_eq!(signal_ssh_to(&sftp, Signal::KILL), 1);
        put.join().unwrap().unwrap();
    });
    assert!(told.lines().iter().any(|line| line.contains("the connection was lost")), "{:?}", told.lines());
    assert!(backend.get("pack", 64 << 20).unwrap() == bytes);
    assert_eq!(
        listed(&*backend, "").into_keys().collect::<Vec<_>>(),
        ["pack"],
        "the first attempt is not seen"
    );
}

#[test]
fn a_server_that_hangs_is_given_up() {
    let sftp = Sftp::start();
    let told = Arc::new(Recorder::default());
    let mut options = sftp.options();
    // A busy machine may be as slow as that once in a while: then there are more attempts.
    options.stall_timeout = Duration::from_secs(2);
    options.retry.delay_first = Duration::from_millis(1);
    let backend = open(&sftp.url("repo"), &options, &Context::new(Cancel::new(), told.clone())).unwrap();
    backend.put_new("x", b"x").unwrap();
    assert_eq!(signal_ssh_to(&sftp, Signal::STOP), 1);
    assert_eq!(backend.get("x", 1).unwrap(), b"x", "by another connection");
    assert!(told.lines().iter().any(|line| line.contains("gave no answer")), "{:?}", told.lines());
    assert_eq!(signal_ssh_to(&sftp, Signal::CONT), 1, "the hanging one is gone");
}

#[test]
fn a_full_disk_on_the_server_is_reported() {
    let sftp = Sftp::start();
    let disk = SmallDisk::mount(2 << 20);
    let backend = open(&sftp.url_of(&disk.path().join("repo")), &sftp.options(), &real()).unwrap();
    backend.put_new("data/small", b"fits").unwrap();
    let error = backend.put_new("data/large", &noise(1, 4 << 20)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Full, "{error}");
    assert_eq!(listed(&*backend, "").into_keys().collect::<Vec<_>>(), ["data/small"]);
    backend.put_new("data/medium", &noise(1, 1 << 20)).expect("the space is free again");
}

#[test]
fn an_object_that_ends_early_is_truncated() {
    let sftp = Sftp::start();
    // The kernel says 4096 bytes of each of its own files, and has less.
    let backend = open(&sftp.url_of(Path::new("/sys/kernel")), &sftp.options(), &real()).unwrap();
    assert_eq!(kind(backend.get("profiling", 1 << 20)), ErrorKind::Truncated);
    assert_eq!(kind(backend.get_range("profiling", 0..4096, &mut Vec::new())), ErrorKind::Truncated);
}

#[test]
fn a_cancel_ends_a_transfer() {
    let sftp = Sftp::start();
    let cancel = Cancel::new();
    let context = Context { cancel: cancel.clone(), ..real() };
    let mut options = sftp.options();
    options.limit_upload = Some(1 << 20);
    let backend = open(&sftp.url("repo"), &options, &context).unwrap();
    thread::scope(|scope| {
        let put = scope.spawn(|| backend.put_new("pack", &noise(1, 64 << 20)));
        wait_until("the transfer is under way", || {
            assert!(!put.is_finished(), "it ended before it was interrupted");
            sftp.root().join("repo").exists()
        });
        cancel.cancel();
        assert_eq!(kind(put.join().unwrap()), ErrorKind::Cancelled);
    });
    drop(backend);
    wait_until("the server has removed what was begun", || {
        fs::read_dir(sftp.root().join("repo")).unwrap().count() == 0
    });
}

/// Sends a signal to the ssh processes that are connected to this very server (other tests run their
/// own beside this one) and returns how many there were.
fn signal_ssh_to(sftp: &Sftp, signal: Signal) -> usize {
    let port = format!("\0-p\0{}\0", sftp.server.address.port());
    let ours = processes().filter(|process| process.parent == std::process::id() && process.name == "ssh");
    let to_server = ours.filter(|process| {
        let arguments = fs::read(process.folder.join("cmdline")).unwrap_or_default();
        memchr::memmem::find(&arguments, port.as_bytes()).is_some()
    });
    let signalled = to_server.map(|process| {
        rustix::process::kill_process(Pid::from_raw(process.id).unwrap(), signal).unwrap();
    });
    signalled.count()
}

#[test]
fn a_refused_folder_is_no_passing_failure() {
    let sftp = Sftp::start();
    // Root may write anywhere, so something that even root cannot write to.
    let backend = open(&sftp.url_of(Path::new("/proc/1/vault")), &sftp.options(), &real()).unwrap();
    let error = backend.put_new("config", b"x").unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Other | ErrorKind::Permission), "{error}");
}
