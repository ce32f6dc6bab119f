//! What the fuzz targets share: how an input is taken apart, properties that decoders must have,
//! dumps and trees that are made from nothing, a place to restore to, and a small repository with
//! everything in it together with the keys to forge its objects.
//!
//! Everything here is a function of its arguments alone, so that an input that failed fails again.

pub mod archive;
pub mod attack;
pub mod chains;
pub mod cluster;
pub mod forge;
pub mod ground;
pub mod input;
pub mod limited;
pub mod maker;
pub mod property;
pub mod reading;
pub mod seeds;
pub mod vault;
pub mod view;
pub mod wal;
pub mod wild;
