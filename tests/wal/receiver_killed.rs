//! `wal receive` killed again and again while a server writes, each time a little later: nothing that the last one
//! was told to keep is missing, though nobody else archives.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::receiving::{Receiver, begun, caught_up, receive, spooled_bytes};
use crate::server::run;
use crate::support::wait_for;

/// How often it is killed.
const ROUNDS: u64 = 12;

#[test]
fn receivers_that_are_killed_at_any_moment_lose_nothing() {
    let server = begun();
    server.sql("ALTER SYSTEM SET synchronous_commit = on");
    server.sql("ALTER SYSTEM SET archive_command = 'true'");
    server.sql("SELECT pg_reload_conf()");
    // The slot is there before anything is written.
    let receiver = Receiver::start(&server);
    caught_up(&server);
    drop(receiver);
    let stop = AtomicBool::new(false);
    let rows = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut rows = 0;
            while !stop.load(Ordering::Relaxed) {
                server.sql("INSERT INTO t SELECT generate_series(1, 1000)");
                rows += 1000;
            }
            rows
        });
        for round in 0..ROUNDS {
            let mut receiver = Receiver::start(&server);
            let before = spooled_bytes(&server);
            // Segments leave the spool meanwhile, so it may shrink as well.
            wait_for("it to receive", || spooled_bytes(&server).abs_diff(before) > round * 9_000);
            receiver.kill();
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    let mut receiver = Receiver::start(&server);
    caught_up(&server);
    receiver.kill();
    server.cluster.crash().unwrap();
    run(receive(&server).arg("--finish"));
    server.prepare_copy(&server.command_line("repository", "wal fetch --partial %f %p"));
    server.recover_copy().unwrap();
    assert_eq!(server.ask_copy("SELECT count(*) FROM t"), rows.to_string());
}
