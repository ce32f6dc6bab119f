//! A mount of a repository that is reached over a network: what fails is tried again, what stays away is an
//! error, and no wrong byte comes out.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::maker::Dice;
use crate::program::finish;
use crate::scene::{Mounted, Scene};
use crate::servers::proxy::{Fate, Proxy};
use crate::servers::s3::{S3, options_at};

#[test]
fn a_bad_network_costs_time_and_a_lost_one_is_an_error() {
    let s3 = S3::start();
    let (bad, lost) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (is_bad, is_lost, count) = (bad.clone(), lost.clone(), AtomicU32::new(0));
    let proxy = Proxy::start(s3.server.address, move |method, path| {
        let is_data = method == "GET" && path.contains("/data/");
        if is_data && is_lost.load(Ordering::SeqCst) {
            // Nothing that trying again would help against, so that nobody has to wait for it.
            return Fate::Answer(403);
        }
        match count.fetch_add(1, Ordering::SeqCst) % 3 {
            0 if is_data && is_bad.load(Ordering::SeqCst) => Fate::CutReply(700),
            1 if is_data && is_bad.load(Ordering::SeqCst) => Fate::Answer(503),
            _ => Fate::Pass,
        }
    });
    let scene = Scene::new();
    let mut config = format!("[repository]\nurl = \"{}\"\n[repository.options]\n", s3.url("mount"));
    for (key, value) in options_at(proxy.address).settings.iter() {
        config.push_str(&format!("{key} = \"{value}\"\n"));
    }
    fs::write(scene.path("config.toml"), config).unwrap();
    fs::set_permissions(scene.path("config.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    let program = || {
        let mut command = scene.sandbox.program();
        command.env_remove("KAMBA_REPO").env("KAMBA_CONFIG", scene.path("config.toml"));
        command.env("KAMBA_KEY_FILE", scene.path("key of its own"));
        command
    };
    assert_eq!(finish(program().arg("init")).status, 0);
    let names = ["one", "two", "three"];
    let data = |name: &str| Dice(1 + name.len() as u64 * 7 + u64::from(name.as_bytes()[0])).bytes(3 << 20);
    let tree = scene.path("tree");
    for name in names {
        // Each in a pack of its own.
        fs::write(tree.join(name), data(name)).unwrap();
        assert_eq!(finish(program().args(["snapshot", "files"]).arg(&tree)).status, 0);
    }

    let mounted = Mounted::start(program(), scene.path("mnt"), &[], &scene.path("log"));
    let read = |name: &str| fs::read(scene.latest().join(name));
    bad.store(true, Ordering::SeqCst);
    assert!(read("one").unwrap() == data("one"));
    bad.store(false, Ordering::SeqCst);
    lost.store(true, Ordering::SeqCst);
    let error = read("two").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
    assert!(mounted.log().contains("tree/two"), "{}", mounted.log());
    lost.store(false, Ordering::SeqCst);
    assert!(read("three").unwrap() == data("three"));
    assert!(read("two").unwrap() == data("two"));
}
