//! `check` on WAL.
