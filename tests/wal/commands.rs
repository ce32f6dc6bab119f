//! `wal push` and `wal fetch` as a server calls them.
