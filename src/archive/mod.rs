//! Archives that other programs read: the headers of tar and zip, written into memory. What an entry
//! holds is passed in as plain values, so nothing here knows of snapshots, and nothing does I/O.

pub mod tar;
pub mod zip;
