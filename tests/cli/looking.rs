//! `ls`, `find` and `diff` as their user meets them. What they find is tested in `looking`; here is
//! what is printed, and what is refused.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::program::{Sandbox, finish};

/// Three snapshots of streams, two of them of one name.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    for (name, bytes) in [("uploads.tar", "one"), ("uploads.tar", "two!"), ("logs.txt", "two!")] {
        sandbox.feed(bytes.as_bytes(), &["snapshot", "stdin", "--name", name, "--host", "web1"]).text();
    }
    sandbox
}

/// Replaces what differs from run to run.
fn stable(f: impl FnOnce()) {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\b[0-9a-f]{32}\b", "[ID]");
    settings.add_filter(r"\b[0-9a-f]{8}\b", "[SHORT]");
    settings.add_filter(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[TIME]");
    settings.bind(f);
}

#[test]
fn looking_prints_what_it_finds() {
    let sandbox = sandbox();
    let mut session = String::new();
    for args in [
        &["ls", "--long", "latest"][..],
        &["find", "*.tar"],
        &["find", "--json", "--larger", "3", "--latest", "1"],
        &["find", "nowhere"],
        &["find", "-s", "latest~1", "-s", "latest~2", "--type", "f"],
        &["diff", "latest~2", "latest~1"],
        &["diff", "latest~1", "latest"],
        &["diff", "latest", "latest"],
        &["diff", "--stat", "latest~2", "latest"],
        &["diff", "--json", "latest~2", "latest"],
        &["diff", "latest~1:uploads.tar", "latest:logs.txt"],
    ] {
        session.push_str(&format!("$ kamba-vault {}\n{}\n", args.join(" "), sandbox.run(args).text()));
    }
    stable(|| insta::assert_snapshot!(session));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let sandbox = sandbox();
    let mut session = String::new();
    for args in [
        &["find", "["][..],
        &["find", "--newer", "yesterday"],
        &["find", "--type", "x"],
        &["find", "--larger", "much"],
        &["find", "--snapshot", "latest:logs.txt"],
        &["find", "--snapshot", "latest", "--latest", "2"],
        &["diff", "latest"],
    ] {
        session.push_str(&format!("$ kamba-vault {}\n{}\n", args.join(" "), sandbox.run(args).failed(2)));
    }
    insta::assert_snapshot!(session);
    assert!(sandbox.run(&["diff", "latest", "latest:none"]).failed(1).contains("has no none"));
    assert!(sandbox.run(&["find", "-s", "latest~9"]).failed(1).contains("latest~9"));
}

#[test]
fn a_path_on_the_command_line_is_bytes() {
    let sandbox = sandbox();
    let path = OsStr::from_bytes(b"latest:logs.txt\xff");
    for command in ["ls", "cat"] {
        let run = finish(sandbox.program().arg(command).arg(path));
        assert!(run.failed(1).contains("has no logs.txt\u{fffd}"), "{run:?}");
    }
    let run = finish(sandbox.program().arg("find").arg(OsStr::from_bytes(b"logs\xff*")));
    assert_eq!(run.text(), "");
}
