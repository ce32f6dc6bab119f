//! Layer 2: named, immutable objects in a backend. Never sees plaintext or keys.
//!
//! [`Backend`] is the small trait that everything above speaks. All calls block; a backend is
//! shared between threads. Objects are created once and never changed (I-4).
//!
//! [`open`] turns a URL into a backend. Those that hold objects: [`Local`], [`Memory`], SFTP, and
//! whatever OpenDAL speaks to. Those around another, one concern each: [`Retry`], [`Limit`],
//! [`LookFirst`], and for tests and benchmarks [`Record`] and [`Fault`]. [`probe()`] finds out what a
//! backend really does.

use std::fmt;
use std::ops::Range;

use crate::base::clock::Timestamp;

mod context;
mod error;
mod fault;
mod limit;
mod local;
mod look_first;
mod memory;
pub mod name;
mod open;
mod probe;
mod record;
#[cfg(feature = "cloud")]
mod remote;
mod retry;
mod sftp;
mod url;

pub use context::{Context, SimulatedTimer, SystemTimer, Timer};
pub use error::{Error, ErrorKind};
pub use fault::{Effect, Fault, Gate, Rule};
pub use limit::{Direction, Limit, Limiter};
pub use local::Local;
pub use look_first::LookFirst;
pub use memory::Memory;
pub use open::{Options, open};
pub use probe::{Probe, Probed, probe};
pub use record::{Call, Op, Record, Total};
pub use retry::{Retry, RetryPolicy};
pub use url::{Place, ServicePlace, Settings, SftpPlace};

/// What a backend's storage guarantees, as far as the backend itself knows. `init` does not
/// believe it: it probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateIfAbsent {
    /// Two creators of one name: exactly one succeeds.
    Atomic,
    /// The service has no such operation: a creator looks first, and two may both succeed.
    LookFirst,
}

/// One listed object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Full name, such as `data/3f/3f…`.
    pub name: String,
    /// Stored size in bytes.
    pub size: u64,
}

/// Objects by name. Names are relative, `/`-separated, of `[a-z0-9._-]` parts.
///
/// Implementations MUST: make `put_new` durable before it returns; never overwrite; never show a
/// partly written object under its final name; return exactly the bytes asked for or an error;
/// list every object that was created before the listing began; be safe to share among threads.
pub trait Backend: Send + Sync + fmt::Debug {
    /// Where this is, for messages, without secrets: `s3://bucket/prefix`.
    fn location(&self) -> String;
    /// What the backend believes of its create-if-absent.
    fn create_if_absent(&self) -> CreateIfAbsent;
    /// Whether reads cost a local system call (true) or a network round trip (false).
    fn is_local(&self) -> bool;
    /// The whole object. Fails with [`ErrorKind::TooLarge`] above `max` bytes, before reading it.
    fn get(&self, name: &str, max: u64) -> Result<Vec<u8>, Error>;
    /// Exactly the bytes of `range`, appended to `into`; [`ErrorKind::Truncated`] if the object is shorter.
    fn get_range(&self, name: &str, range: Range<u64>, into: &mut Vec<u8>) -> Result<(), Error>;
    /// Creates the object, durably. [`ErrorKind::Exists`] if the name is taken by other bytes;
    /// success if it is taken by these very bytes and `name` was ours to make (a lost reply).
    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<(), Error>;
    /// Does what can be done for the creation of an object before its bytes are known, such as making its folder
    /// durable; for whoever has something else to do meanwhile. Nothing needs it: `put_new` does the same.
    fn prepare(&self, name: &str) -> Result<(), Error> {
        let _ = name;
        Ok(())
    }
    /// Makes sure that an object that is there is durable, whoever made it: they may have died in between, or be
    /// at it still. [`ErrorKind::NotFound`] if it is not there. Nothing to do where whatever can be seen is durable.
    fn make_durable(&self, name: &str) -> Result<(), Error> {
        let _ = name;
        Ok(())
    }
    /// Calls `each` for every object below `prefix` (a folder, such as `data/` or `` for all), in no order.
    fn list(&self, prefix: &str, each: &mut dyn FnMut(Entry)) -> Result<(), Error>;
    /// Size in bytes, or `None` if there is no such object.
    fn stat(&self, name: &str) -> Result<Option<u64>, Error>;
    /// Removes the object; success if it is not there.
    fn delete(&self, name: &str) -> Result<(), Error>;
    /// Removes temporary files last changed before `before`: what a killed writer left behind. Those
    /// that are still being written must be younger. Returns how many it removed: none where there are
    /// no such files, and over SFTP, where looking for them would cost as much as listing everything.
    fn sweep_temporary(&self, before: Timestamp) -> Result<u64, Error> {
        let _ = before;
        Ok(0)
    }
}
