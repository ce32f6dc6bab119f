//! PostgreSQL's own client library, opened at run time: it connects exactly as pg_dump and psql do, with
//! services, password files, TLS, Kerberos and sockets, and reads its environment by itself.
//!
//! This is the only module of PostgreSQL's with unsafe code. `raw` declares and finds the functions,
//! `connection` is a connection, `rows` what a server answers. What a server may say is limited by
//! the library and not here: it is the user's own, and the library gives up at a gigabyte.
//!
//! Nothing is printed here. The library itself complains on standard error of a password file that others
//! may read, as it does in psql.
//!
//! No wait is longer than a tick without a look at [`crate::base::clock::Cancel`].

#![allow(unsafe_code)]

mod connection;
mod parameters;
mod raw;
mod rows;

pub use connection::{Answer, Connection, CopyStep};
pub use raw::Library;
pub use rows::{Copied, Rows};
