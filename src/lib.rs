//! kamba-vault: encrypted, deduplicating backups for PostgreSQL and files.
//!
//! This page is the map for whoever changes the code. Bytes on disk are specified in
//! `format-spec/`, which changes together with the code; what users see is in `README.md`.
//!
//! # Layers
//!
//! A module imports only from lower rows, never sideways or up. `tests/layers.rs` reads the sources
//! and fails on a breach; it also keeps each foreign crate in the one place that owns it.
//!
//! | layer | modules | what they know |
//! |---|---|---|
//! | 8 | `main` | parse, run, map an error to an exit status |
//! | 7 | [`cli`] | arguments, tables, JSON, progress bars, prompts, the demo |
//! | 6 | `mount` | the repository as a file system |
//! | 5 | [`ops`] | the verbs: snapshot, restore, check, looking, finding, comparing, figures |
//! | 4 | [`vfs`] | a snapshot seen as one read-only tree |
//! | 3 | [`repo`] | open and unlock, packs, index, roots, leases, sessions, reading |
//! | 2 | [`storage`]; [`files`]; [`postgres`] | objects in a backend; the live file tree, both ways; dumps, archives, servers |
//! | 1 | [`mod@format`], [`archive`], [`chunker`], [`crypto`], [`codec`] | bytes to values and back: no I/O, no clock |
//! | 0 | [`base`] | ids, units, limits, classes of errors, the monitor |
//!
//! The agent of layer 6 is still to come; the format has its place. `mount` is behind a feature of that name.
//!
//! # What is absent, on purpose
//!
//! [`storage`] never sees plaintext or keys. [`mod@format`] does no I/O, so every parser can be fuzzed.
//! [`files`] and [`postgres`] do not know that a repository exists. Nothing below [`cli`] prints,
//! prompts, exits or reads the environment: it reports to a [`base::monitor::Monitor`] that is passed in. Clocks and
//! randomness are passed in too ([`base::clock::Clock`], [`crypto::Random`]).
//!
//! # The path of a byte
//!
//! *In*: [`ops::snapshot`] opens a [`repo::session::Session`] (lease, then index), a
//! [`repo::session::StreamWriter`] cuts the stream ([`chunker`]), names each chunk by its keyed hash,
//! and hands those that the index lacks to the session's pipeline: workers compress segments of
//! several chunks ([`codec`]), seal them into packs ([`repo::pack`]), read every finished pack back
//! as a reader would, and uploaders store it ([`storage`]). Index parts name packs that are durable;
//! the root comes last and is the commit ([`repo::roots`]).
//!
//! A file tree is walked by [`ops::snapshot`] name by name through [`files`]; an entry that the file
//! cache of [`repo::index`] or an earlier snapshot's tree knows, unchanged by all that `statx` says, is
//! taken over with its content list and not read. Any other file's data goes the way above, its holes
//! as entries of the list.
//!
//! A cluster comes by the replication protocol ([`postgres::base_backup`]): tars that are taken apart
//! as they stream, relation files cut at fixed ranges, each beside the same range of the base backup
//! before. Its WAL goes another way, outside packs and index: each file is an object of its own
//! ([`repo::wal`]), pushed by the server or received into a spool ([`ops::wal`]), since a server waits
//! for one and a recovery for the other.
//!
//! *Out*: [`vfs`] walks the tree; [`repo::read::ContentReader`] plans ahead over a content list,
//! fetches groups of neighbouring segments, opens them on all cores, recomputes every chunk's id, and
//! hands the bytes out in order. [`ops::restore_files`] walks the stored tree in order, reads contents
//! with all cores, those of small files in the order of their places in packs, and writes through
//! [`files::write`], which is what nothing gets past: it goes by single names below an open folder and
//! follows no link.
//!
//! *Out, at any place*: [`vfs::View::open`] finds a place of stored content through its lists, of which only those
//! on the way are read, takes the chunk out of its decoded segment, which a [`vfs::ReadCache`] keeps, and has a few
//! threads read ahead of whoever goes through a file in order. What is made while it is read begins at the last place
//! that is known before the one asked for: a dump at a data block, whose object the recipe alone tells.
//!
//! *Out, as an archive*: [`ops::export`] walks the same tree and tells one content reader of the files that come, which
//! goes over them with all cores ahead of who writes; [`archive`] makes the headers.
//!
//! `mount` answers the kernel from there: an inode is a few words, from which a folder's listing and the page
//! of it where the node stands are found again ([`vfs::Folder`]). Short files of a folder that is read in order
//! are handed to the kernel before it asks.
//!
//! A file of *WAL* goes neither way: [`ops::wal`] checks whose it is, and [`repo::wal`] makes one object of it, with one
//! request once it has looked whether it is there, in a repository that was unlocked without its index ([`repo::Unlocked`]); a server waits for each.
//!
//! # Where this departs from the first design
//!
//! * Keyslots are named by a hash of their bytes instead of at random, so that a damaged slot is told
//!   from a wrong password.
//! * A signer list is never removed or replaced: an `init` that finds one takes the next generation,
//!   and readers ignore lists that their own admin did not sign.
//! * Questions to a PostgreSQL server go through `psql` instead of a protocol library, so that
//!   services, password files, TLS and sockets behave as they do for `pg_dump`.
//! * The replication protocol is spoken through PostgreSQL's own client library (`postgres::libpq`), found at
//!   run time, for the same reason: psql cannot stream, and a protocol library of our own would connect in
//!   other ways than pg_dump does. It is the one place in [`postgres`] with unsafe code.
//! * SFTP and memory are our own and not OpenDAL's. Its sftp service renames with replacement where
//!   the server offers that, never syncs, and panics on a name that is not UTF-8. Its memory cannot be
//!   opened again by name nor damaged by a test, and a build without services, as fuzzing uses it,
//!   has no OpenDAL.

pub mod archive;
pub mod base;
pub mod chunker;
pub mod cli;
pub mod codec;
pub mod crypto;
pub mod files;
pub mod format;
#[cfg(feature = "mount")]
pub mod mount;
pub mod ops;
pub mod postgres;
pub mod repo;
pub mod storage;
pub mod vfs;
