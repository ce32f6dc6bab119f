//! Layer 0: what every other layer shares and nothing else: identifiers, units, limits, the
//! error's broad class, time handed in from outside, cancellation, and the monitor that carries
//! progress out of the library. No I/O here.

pub mod class;
pub mod clock;
pub mod id;
pub mod idmap;
pub mod kind;
pub mod limits;
pub mod monitor;
pub mod secret;
pub mod units;
