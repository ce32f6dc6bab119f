//! How a mount ends: asked to, unmounted by others, in use, killed.

use std::fs::{self, File};
use std::io::Read;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::program::wait_for;
use crate::scene::{Scene, is_mounted, output};

fn scene() -> Scene {
    let scene = Scene::new();
    fs::write(scene.path("tree/a"), "one").unwrap();
    scene.snapshot();
    scene
}

#[test]
fn signals_and_umount_end_it() {
    let scene = scene();
    for signal in [Some(Signal::INT), Some(Signal::TERM), None] {
        let mut mounted = scene.mount(&[]);
        assert_eq!(fs::read_to_string(scene.latest().join("a")).unwrap(), "one");
        match signal {
            Some(signal) => mounted.signal(signal),
            None => drop(output(Command::new("umount").arg(&mounted.at))),
        }
        assert_eq!(mounted.ended(), Some(0), "{}", mounted.log());
        assert!(!is_mounted(&mounted.at));
        assert_eq!(mounted.log(), "");
    }
    let mut mounted = scene.mount(&[]);
    output(Command::new("fusermount3").arg("-u").arg(&mounted.at));
    assert_eq!(mounted.ended(), Some(0));
}

#[test]
fn who_is_busy_is_told_and_waited_for() {
    let scene = scene();
    let mut mounted = scene.mount(&[]);
    let mut busy = Command::new("sleep").arg("1000").current_dir(scene.latest()).spawn().unwrap();
    mounted.signal(Signal::INT);
    wait_for("the message", || mounted.log().contains("is in use by sleep"));
    assert!(mounted.log().contains(&format!("sleep ({})", busy.id())), "{}", mounted.log());
    // Meanwhile it answers.
    assert_eq!(fs::read_to_string(scene.latest().join("a")).unwrap(), "one");
    busy.kill().unwrap();
    busy.wait().unwrap();
    assert_eq!(mounted.ended(), Some(0), "{}", mounted.log());
    assert!(!is_mounted(&mounted.at));
}

#[test]
fn who_asks_twice_gets_their_way() {
    let scene = scene();
    let mut mounted = scene.mount(&[]);
    let mut open = File::open(scene.latest().join("a")).unwrap();
    mounted.signal(Signal::INT);
    wait_for("the message", || mounted.log().contains("is in use by"));
    mounted.signal(Signal::INT);
    wait_for("the mount to go", || !is_mounted(&mounted.at));
    // Who has it open may read on, and holds the process up.
    let mut text = String::new();
    open.read_to_string(&mut text).unwrap();
    assert_eq!(text, "one");
    drop(open);
    assert_eq!(mounted.ended(), Some(0), "{}", mounted.log());
}

#[test]
fn a_process_that_is_killed_leaves_an_error_and_the_next_mounts_over_it() {
    let scene = scene();
    let mut mounted = scene.mount(&[]);
    let file = scene.latest().join("a");
    let open = File::open(&file).unwrap();
    mounted.process.kill().unwrap();
    mounted.ended();
    // An error at once, and no hang.
    let not_connected = Some(rustix::io::Errno::NOTCONN.raw_os_error());
    assert_eq!(fs::read(&file).unwrap_err().raw_os_error(), not_connected);
    assert!(is_mounted(&mounted.at));
    let again = scene.mount(&[]);
    assert!(again.log().contains("was unmounted"), "{}", again.log());
    assert_eq!(fs::read_to_string(&file).unwrap(), "one");
    drop(open);
}

#[test]
fn in_the_background_it_goes_on_alone() {
    let scene = scene();
    let at = scene.path("mnt");
    let log = scene.path("the log");
    let mount = ["mount", "--daemon", "--json", "--log", log.to_str().unwrap(), at.to_str().unwrap()];
    let document = scene.run(&mount).json();
    assert_eq!(document["mounted"], at.to_str().unwrap());
    assert_eq!(fs::read_to_string(scene.latest().join("a")).unwrap(), "one");
    let pid = Pid::from_raw(document["pid"].as_i64().unwrap() as i32).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    wait_for("its end", || !is_mounted(&at));
    assert!(log.exists());
    // What cannot be mounted is told by the one that was started.
    fs::write(scene.path("mnt/file"), "").unwrap();
    let refused = scene.run(&["mount", "--daemon", at.to_str().unwrap()]);
    assert!(refused.failed(2).contains("is not empty"));
}

#[test]
fn what_cannot_be_mounted_is_told() {
    let scene = scene();
    let mount = |args: &[&str]| scene.run(&[&["mount"], args].concat());
    let at = scene.path("mnt");
    assert!(mount(&["/nowhere/at/all"]).failed(2).contains("is not there"));
    assert!(mount(&[scene.path("tree").to_str().unwrap()]).failed(2).contains("is not empty"));
    assert!(mount(&[scene.path("tree/a").to_str().unwrap()]).failed(2).contains("is no folder"));
    assert!(mount(&[at.to_str().unwrap(), "latest:/etc"]).failed(2).contains("a whole snapshot"));
    mount(&[at.to_str().unwrap(), "0123"]).failed(1);
    assert!(!is_mounted(&at));
}
