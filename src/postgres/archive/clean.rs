//! A head that `pg_restore --clean` can follow. Up to PostgreSQL 17 it tries to drop the primary
//! keys of partitions by themselves, which the server refuses while the parent's exists, and so
//! every restore of a partitioned table over itself counts errors. They fall with their parent.

use crate::postgres::archive::toc::{Entry, Head};

/// Turns the refused statements in `bytes`, which are those of `head` or of `patch_head`, into
/// comments. pg_restore runs these as they are (`RestoreArchive` in PostgreSQL's
/// `pg_backup_archiver.c`). No length changes, so what follows stays where it is.
pub fn patch_for_clean(head: &Head, bytes: &mut [u8]) {
    for entry in head.entries().filter(|entry| is_key_of_partition(head, entry)) {
        if let Some([first, second, rest @ ..]) = entry.drop_stmt_at().and_then(|at| bytes.get_mut(at)) {
            (*first, *second) = (b'-', b'-');
            rest.fill(b' ');
        }
    }
}

/// A constraint that depends on another is the part of it that a partition has.
fn is_key_of_partition(head: &Head, entry: &Entry<'_>) -> bool {
    let is_constraint = |id: &u32| head.entry(*id).is_some_and(|e| e.desc() == b"CONSTRAINT");
    entry.desc() == b"CONSTRAINT" && entry.dependencies().iter().any(is_constraint)
}
