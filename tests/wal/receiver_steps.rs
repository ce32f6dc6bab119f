//! `wal receive` is killed at the system calls that change its spool and the repository, while a server waits with
//! every commit until it is acknowledged: none that returned is missing.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::killing::{dying_at, has_died};
use crate::receiving::{Receiver, begun, caught_up, receive};
use crate::server::run;
use crate::support::wait_for;

/// Calls that come again and again as long as the server writes, and how many of the first are tried: a file of the
/// spool that is begun, what is appended to it, what is cut off it, and the way of a segment into the repository.
const CALLS: [(&str, u32); 7] = [
    ("write", 6),
    ("fdatasync", 4),
    ("fsync", 12),
    ("ftruncate", 1),
    ("mkdirat", 2),
    ("renameat2", 2),
    ("unlink", 2),
];

#[test]
fn a_receiver_may_be_killed_at_every_call() {
    let server = begun();
    let receiver = Receiver::start(&server);
    caught_up(&server);
    for setting in [
        "synchronous_standby_names = '\"kamba-vault\"'",
        "synchronous_commit = on",
        "archive_command = 'true'",
    ] {
        server.sql(&format!("ALTER SYSTEM SET {setting}"));
    }
    server.sql("SELECT pg_reload_conf()");
    wait_for("it to be waited for", || server.sql("SELECT sync_state FROM pg_stat_replication") == "sync");
    drop(receiver);
    let stop = AtomicBool::new(false);
    let rows = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut rows = 0;
            while !stop.load(Ordering::Relaxed) {
                server.sql("INSERT INTO t SELECT generate_series(1, 5000)");
                rows += 5000;
            }
            rows
        });
        for (call, times) in CALLS {
            for n in 1..=times {
                let command = receive(&server);
                let strace = server.command(Path::new("strace"));
                let status = Receiver::of(&server, dying_at(strace, &command, call, n)).wait();
                assert!(has_died(status), "{call} {n}: {status}");
            }
        }
        stop.store(true, Ordering::Relaxed);
        // The last commit waits for somebody to acknowledge it.
        let receiver = Receiver::start(&server);
        let rows = writer.join().unwrap();
        drop(receiver);
        rows
    });
    server.cluster.crash().unwrap();
    run(receive(&server).arg("--finish"));
    server.prepare_copy(&server.command_line("repository", "wal fetch --partial %f %p"));
    server.recover_copy().unwrap();
    assert_eq!(server.ask_copy("SELECT count(*) FROM t"), rows.to_string());
    let check = run(server.vault().args(["check", "--read-data", "--json"]));
    let check: serde_json::Value = serde_json::from_slice(&check.stdout).unwrap();
    assert_eq!(check["clean"], true, "{check}");
}
