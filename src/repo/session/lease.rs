//! A session's lease: signed, expiring objects that say "a writer is at work". Taken before the
//! index is read, refreshed by new objects (nothing is edited, I-4), removed at the end. Prune
//! waits for the leases it sees; safety never rests on their clocks (`ordering-and-leases.md`).

use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::base::id::SessionId;
use crate::format::attrs::Unknown;
use crate::format::header::Kind;
use crate::format::lease::LeaseBody;
use crate::format::name::lease_name;
use crate::repo::{Error, Repository, objects};

/// How often a lease is renewed.
const REFRESH: Duration = Duration::from_secs(300);
/// How long one lasts without being renewed, in seconds: prune loses patience after that.
const LASTS_SECONDS: i64 = 3600;

/// A lease that is kept alive by a thread until it is released.
pub struct LeaseKeeper {
    shared: Arc<Kept>,
    thread: Option<JoinHandle<()>>,
}

struct Kept {
    repo: Repository,
    session: SessionId,
    host: String,
    process: u32,
    purpose: String,
    /// Lease objects written so far, and whether to stop.
    state: Mutex<(u32, bool)>,
    wake: Condvar,
}

impl LeaseKeeper {
    /// Takes the lease of `session` and starts to keep it.
    pub fn take(repo: &Repository, session: SessionId, host: &str, purpose: &str) -> Result<Self, Error> {
        let shared = Arc::new(Kept {
            repo: repo.clone(),
            session,
            host: host.to_owned(),
            process: std::process::id(),
            purpose: purpose.to_owned(),
            state: Mutex::new((0, false)),
            wake: Condvar::new(),
        });
        shared.write(0)?;
        if let Ok(mut state) = shared.state.lock() {
            state.0 = 1;
        }
        let kept = shared.clone();
        let thread = std::thread::Builder::new().name("lease".into()).spawn(move || kept.keep());
        let thread =
            thread.map_err(|source| Error::Source { what: "a new thread's start".into(), source })?;
        Ok(LeaseKeeper { shared, thread: Some(thread) })
    }

    /// Stops renewing and removes the lease objects, as far as this key may.
    pub fn release(mut self) {
        self.stop();
        let written = self.shared.state.lock().map_or(0, |state| state.0);
        for counter in 0..written {
            // A lease that cannot be removed (append-only storage) expires by itself.
            let _ = self.shared.repo.backend().delete(&lease_name(&self.shared.session, counter));
        }
    }

    /// Stops renewing but leaves the lease: prune waits for it until it expires.
    pub fn keep(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        if let Ok(mut state) = self.shared.state.lock() {
            state.1 = true;
        }
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for LeaseKeeper {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Kept {
    fn keep(&self) {
        let Ok(mut state) = self.state.lock() else { return };
        loop {
            // Looks before it waits: the session may have ended before this thread began.
            let waited = self.wake.wait_timeout_while(state, REFRESH, |(_, stop)| !*stop);
            let Ok((now, waited)) = waited else { return };
            state = now;
            if state.1 {
                return;
            }
            if waited.timed_out() {
                // Counted even if it failed: the object may be there all the same, and the next
                // attempt, whose bytes differ, must not meet it at its name.
                let _ = self.write(state.0);
                state.0 += 1;
            }
        }
    }

    fn write(&self, counter: u32) -> Result<(), Error> {
        let taken = self.repo.clock().now();
        let lease = LeaseBody {
            session: self.session,
            counter,
            host: self.host.clone(),
            process: self.process.into(),
            taken,
            expires: taken.plus_seconds(LASTS_SECONDS),
            purpose: self.purpose.clone(),
            unknown: Unknown::default(),
        };
        let body = lease.encode()?;
        objects::create(&self.repo, Kind::Lease, &lease_name(&self.session, counter), b"", &body).map(drop)
    }
}
