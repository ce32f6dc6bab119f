//! S3, over real connections to a real server, and through a proxy that spoils them.

use std::collections::HashSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kamba_vault::base::clock::Cancel;
use kamba_vault::base::monitor::Recorder;
use kamba_vault::storage::{
    Backend, Context, CreateIfAbsent, ErrorKind, LookFirst, Options, Probe, Probed, RetryPolicy, open, probe,
};

use crate::conformance::{self, kind, listed};
use crate::probe::SOUND;
use crate::servers::Server;
use crate::servers::proxy::{Fate, Proxy};
use crate::servers::s3::{S3, options_at};

/// Retries without pauses worth mentioning.
fn quick(mut options: Options) -> Options {
    options.retry = RetryPolicy { delay_first: Duration::from_millis(1), ..RetryPolicy::default() };
    options
}

fn through(proxy: &Proxy, s3: &S3, folder: &str) -> Arc<dyn Backend> {
    open(&s3.url(folder), &quick(options_at(proxy.address)), &Context::simulated()).unwrap()
}

#[test]
fn s3_conforms() {
    let s3 = S3::start();
    let proxy = s3.one_put_at_a_time();
    let at = |place: &str| open(&s3.url(place), &options_at(proxy.address), &Context::simulated()).unwrap();
    conformance::run(&at);
    let backend = at("probed");
    assert_eq!(backend.create_if_absent(), CreateIfAbsent::Atomic);
    assert_eq!(probe(&*backend).unwrap(), SOUND);
    assert_eq!(listed(&*backend, "").len(), 0);
    assert_eq!((backend.location().as_str(), backend.is_local()), ("s3://vault/probed", false));
}

#[test]
fn a_server_that_ignores_if_none_match_is_recognised() {
    let s3 = S3::start();
    let proxy = Proxy::start(s3.server.address, |_, _| Fate::Without("if-none-match"));
    let backend = through(&proxy, &s3, "ignores");
    assert_eq!(backend.create_if_absent(), CreateIfAbsent::Atomic, "it claims to");
    assert_eq!(probe(&*backend).unwrap(), Probe { create_if_absent: Probed::Ignored, ..SOUND });
    assert_eq!(listed(&*backend, "").len(), 0);
    // With looking first it is at least not overwritten by those who come later.
    let backend = LookFirst::new(backend);
    backend.put_new("root", b"first").unwrap();
    assert_eq!(kind(backend.put_new("root", b"other")), ErrorKind::Exists);
    assert_eq!(probe(&backend).unwrap(), Probe { create_if_absent: Probed::LookFirst, ..SOUND });
}

#[test]
fn a_creation_whose_reply_is_lost_on_the_way_succeeds() {
    let s3 = S3::start();
    let left = AtomicUsize::new(2);
    let proxy = Proxy::start(s3.server.address, move |method, _| {
        let lose = method == "PUT"
            && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        if lose { Fate::LoseReply } else { Fate::Pass }
    });
    let backend = through(&proxy, &s3, "lost");
    backend.put_new("lease", b"mine").unwrap();
    assert_eq!(kind(backend.put_new("lease", b"another's")), ErrorKind::Exists);
    assert_eq!(backend.get("lease", 100).unwrap(), b"mine");
    // Two lost, a third refused and then compared.
    let seen: Vec<String> = proxy.seen().into_iter().take(4).collect();
    let put = "PUT /vault/lost/lease".to_owned();
    assert_eq!(seen, [put.clone(), put.clone(), put, "GET /vault/lost/lease".to_owned()]);
}

#[test]
fn only_passing_failures_are_tried_again() {
    let s3 = S3::start();
    for (status, expected, calls) in [
        (503, ErrorKind::Temporary, 3),
        (500, ErrorKind::Temporary, 3),
        (429, ErrorKind::Temporary, 3),
        (408, ErrorKind::Temporary, 3),
        (403, ErrorKind::Permission, 1),
        (401, ErrorKind::Permission, 1),
        (507, ErrorKind::Full, 1),
        (400, ErrorKind::Other, 1),
        (404, ErrorKind::NotFound, 1),
    ] {
        let proxy = Proxy::start(s3.server.address, move |_, _| Fate::Answer(status));
        let mut options = quick(options_at(proxy.address));
        options.retry.deadline = Duration::ZERO;
        let backend = open(&s3.url("x"), &options, &Context::simulated()).unwrap();
        let error = backend.get("config", 100).unwrap_err();
        assert_eq!((error.kind, proxy.seen().len()), (expected, calls), "{status}: {error}");
    }
}

#[test]
fn replies_cut_short_are_asked_for_again() {
    let s3 = S3::start();
    let bytes = conformance::noise(5, 300_000);
    open(&s3.url("cut"), &s3.options(), &Context::simulated()).unwrap().put_new("pack", &bytes).unwrap();
    let cuts = AtomicUsize::new(0);
    let proxy = Proxy::start(s3.server.address, move |_, _| match cuts.fetch_add(1, Ordering::SeqCst) % 3 {
        0 => Fate::CutReply(10),
        1 => Fate::CutReply(100_000),
        _ => Fate::Pass,
    });
    let backend = through(&proxy, &s3, "cut");
    assert!(backend.get("pack", 1 << 20).unwrap() == bytes);
    let mut part = Vec::new();
    backend.get_range("pack", 1000..290_000, &mut part).unwrap();
    assert!(part == bytes[1000..290_000]);
    assert_eq!(proxy.seen().len(), 6);
}

#[test]
fn a_request_a_call_and_no_more() {
    let s3 = S3::start();
    let proxy = Proxy::start(s3.server.address, |_, _| Fate::Pass);
    let backend = through(&proxy, &s3, "count");
    backend.put_new("data/x", &[1; 100]).unwrap();
    backend.get("data/x", 100).unwrap();
    backend.get_range("data/x", 10..20, &mut Vec::new()).unwrap();
    backend.stat("data/x").unwrap();
    backend.list("data/", &mut |_| ()).unwrap();
    backend.delete("data/x").unwrap();
    let methods: Vec<String> =
        proxy.seen().iter().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect();
    assert_eq!(methods, ["PUT", "GET", "GET", "HEAD", "GET", "DELETE"]);
}

#[test]
fn errors_name_the_place_and_no_secret() {
    let s3 = S3::start();
    let backend = open("s3://no-such-bucket/x", &s3.options(), &Context::simulated()).unwrap();
    let error = backend.get("config", 100).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config, "{error}");
    assert!(error.to_string().contains("s3://no-such-bucket/x"), "{error}");
    // Nobody listens there.
    let mut options = options_at(crate::servers::NOBODY);
    options.retry.deadline = Duration::ZERO;
    let backend = open("s3://b/x", &options, &Context::simulated()).unwrap();
    let error = backend.put_new("config", b"x").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Temporary, "{error}");
    assert!(error.to_string().contains("Connection refused"), "{error}");
    for secret in ["wJalrXUtnFEMIsecret", "AKIDEXAMPLE"] {
        assert!(!format!("{error} {error:?} {backend:?} {options:?}").contains(secret));
    }
}

#[test]
fn missing_credentials_are_no_passing_failure() {
    let mut options = options_at(crate::servers::NOBODY);
    options.settings.take("access_key_id");
    options.settings.take("secret_access_key");
    // Neither the machine's own configuration nor its cloud's.
    options.settings.set("disable_config_load", "true");
    options.settings.set("disable_ec2_metadata", "true");
    let backend = open("s3://vault/x", &options, &Context::simulated()).unwrap();
    let error = backend.get("config", 100).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Permission, "{error}");
    assert!(error.hint().unwrap().contains("credentials"));
}

#[test]
fn settings_are_checked() {
    let mut options = options_at(crate::servers::NOBODY);
    options.settings.set("acess_key_id", "typo");
    let error = open("s3://b/x", &options, &Context::simulated()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config);
    assert!(error.to_string().contains("no option \"acess_key_id\""), "{error}");
    for url in ["opendal:nonsense", "opendal:sftp?endpoint=x", "azblob://c/x", "b2://b/x"] {
        let error = open(url, &Options::default(), &Context::simulated()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Config, "{error}");
    }
}

#[test]
fn any_service_of_the_library_opens() {
    let s3 = S3::start();
    let url = format!("opendal:s3?bucket=vault&root=/any&endpoint=http://{}&region=x", s3.server.address);
    let mut options = s3.options();
    options.settings.take("endpoint");
    options.settings.take("region");
    let backend = open(&url, &options, &Context::simulated()).unwrap();
    backend.put_new("x", b"x").unwrap();
    let same = open(&s3.url("any"), &s3.options(), &Context::simulated()).unwrap();
    assert_eq!(same.get("x", 1).unwrap(), b"x");
}

#[test]
fn a_server_that_hangs_is_given_up() {
    let s3 = S3::start();
    // The first reader and the first writer wait for ever.
    let mut hung = HashSet::new();
    let proxy = Proxy::start(s3.server.address, move |method, _| match hung.insert(method.to_owned()) {
        true => Fate::Hang,
        false => Fate::Pass,
    });
    let told = Arc::new(Recorder::default());
    let mut options = quick(options_at(proxy.address));
    // A busy machine may be as slow as that once in a while: then there are more attempts.
    options.stall_timeout = Duration::from_secs(2);
    let backend = open(&s3.url("x"), &options, &Context::new(Cancel::new(), told.clone())).unwrap();
    backend.put_new("x", &conformance::noise(1, 1 << 20)).unwrap();
    assert_eq!(backend.get("x", 1 << 20).unwrap().len(), 1 << 20);
    for action in ["cannot create x", "cannot read x"] {
        let given_up = |line: &String| line.contains(action) && line.contains("nothing moved for");
        assert!(told.lines().iter().any(given_up), "{:?}", told.lines());
    }
}

#[test]
fn a_pause_of_the_limit_is_no_stall() {
    let s3 = S3::start();
    let told = Arc::new(Recorder::default());
    let mut options = quick(s3.options());
    // A piece takes twice as long as anything may stand still.
    (options.limit_upload, options.stall_timeout) = (Some(8 << 10), Duration::from_secs(2));
    let context = Context::new(Cancel::new(), told.clone());
    let backend = open(&s3.url("x"), &options, &context).unwrap();
    backend.put_new("x", &conformance::noise(1, 48 << 10)).unwrap();
    let stalled = |line: &String| line.contains("nothing moved");
    assert!(!told.lines().iter().any(stalled), "{:?}", told.lines());
}

#[test]
fn what_is_on_its_way_unseen_is_no_stall() {
    let s3 = S3::start();
    let stall = Duration::from_secs(2);
    let proxy = Proxy::start(s3.server.address, move |method, _| match method {
        // As if the last megabyte took that long to leave this machine.
        "PUT" => Fate::Late(stall * 2),
        _ => Fate::Pass,
    });
    let told = Arc::new(Recorder::default());
    let mut options = quick(options_at(proxy.address));
    options.stall_timeout = stall;
    let backend = open(&s3.url("x"), &options, &Context::new(Cancel::new(), told.clone())).unwrap();
    backend.put_new("x", &conformance::noise(1, 1 << 20)).unwrap();
    let stalled = |line: &String| line.contains("nothing moved");
    assert!(!told.lines().iter().any(stalled), "{:?}", told.lines());
}

#[test]
fn an_answer_without_an_end_is_not_read_to_its_end() {
    let s3 = S3::start();
    let proxy = Proxy::start(s3.server.address, |_, _| Fate::Explain(80 << 20));
    let backend = through(&proxy, &s3, "x");
    let error = backend.get("config", 100).unwrap_err();
    assert_eq!((error.kind, proxy.seen().len()), (ErrorKind::Other, 1), "{error}");
    assert!(error.to_string().contains("the answer has more than"), "{error}");
}

#[test]
fn limited_transfers_are_under_way_for_long_and_can_be_cancelled() {
    let s3 = S3::start();
    let megabyte = conformance::noise(1, 1 << 20);
    open(&s3.url("x"), &s3.options(), &Context::simulated()).unwrap().put_new("there", &megabyte).unwrap();
    for upload in [true, false] {
        let cancel = Cancel::new();
        let raised = cancel.clone();
        // The user loses patience at once. Without the limit it would all be over by then.
        let proxy = Proxy::start(s3.server.address, move |_, _| {
            raised.cancel();
            Fate::Pass
        });
        let mut options = options_at(proxy.address);
        (options.limit_upload, options.limit_download) = (Some(1000), Some(1000));
        let context = Context::new(cancel, Arc::new(Recorder::default()));
        let backend = open(&s3.url("x"), &options, &context).unwrap();
        let ended = match upload {
            true => backend.put_new("new", &megabyte),
            false => backend.get("there", 1 << 20).map(drop),
        };
        assert_eq!((kind(ended), proxy.seen().len()), (ErrorKind::Cancelled, 1));
    }
    assert_eq!(open(&s3.url("x"), &s3.options(), &Context::simulated()).unwrap().stat("new").unwrap(), None);
}

#[test]
fn a_cancel_ends_a_transfer_that_hangs() {
    let s3 = S3::start();
    let cancel = Cancel::new();
    let raised = cancel.clone();
    // The user loses patience once the request is on its way; it is never answered.
    let proxy = Proxy::start(s3.server.address, move |_, _| {
        raised.cancel();
        Fate::Hang
    });
    let context = Context { cancel, ..Context::simulated() };
    let backend = open(&s3.url("x"), &options_at(proxy.address), &context).unwrap();
    assert_eq!(kind(backend.get("config", 100)), ErrorKind::Cancelled);
}

#[test]
fn an_untrusted_certificate_is_no_passing_failure() {
    let server = Server::start(|port, _| {
        let mut command = Command::new("moto_server");
        command.args(["-H", "127.0.0.1", "--ssl", "-p", &port.to_string()]);
        command
    });
    let mut options = options_at(server.address);
    options.settings.set("endpoint", format!("https://{}", server.address));
    let told = Arc::new(Recorder::default());
    let backend = open("s3://vault/x", &options, &Context::new(Cancel::new(), told.clone())).unwrap();
    let error = backend.get("config", 100).unwrap_err();
    assert_eq!((error.kind, told.lines().len()), (ErrorKind::Other, 0), "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[test]
fn every_service_opens_without_a_question() {
    for (url, settings, claims) in [
        ("gs://bucket/x", &[][..], CreateIfAbsent::Atomic),
        (
            "azblob://container/x",
            &["account_name=me", "endpoint=https://me.blob.core.windows.net"],
            CreateIfAbsent::Atomic,
        ),
        (
            "b2://bucket/x",
            &["bucket_id=1", "application_key_id=2", "application_key=hush"],
            CreateIfAbsent::LookFirst,
        ),
    ] {
        let mut options = Options::default();
        for pair in settings {
            options.settings.set_pair(pair).unwrap();
        }
        let backend = open(url, &options, &Context::simulated()).unwrap();
        assert_eq!((backend.location().as_str(), backend.create_if_absent()), (url, claims));
    }
}
