//! Extended attributes: which of them a restore removes, sets and compares.
//!
//! Removed are those that the snapshot would have if the file had had them: the user's own, ACLs,
//! and capabilities. Others belong to the machine (labels of a security module, a file system's
//! own) and stay unless the snapshot has them with another value.

use crate::files::write::error::What;
use crate::files::write::handle::Handle;
use crate::format::node::FileMeta;

const USER: &[u8] = b"user.";
const ACL: &[u8] = b"system.posix_acl_";
const CAPABILITY: &[u8] = b"security.capability";

/// Whether it is an ACL, kept in the form that the kernel gives.
pub(super) fn is_acl(name: &[u8]) -> bool {
    name.starts_with(ACL)
}

/// Whether it makes a program capable.
pub(super) fn is_capability(name: &[u8]) -> bool {
    name == CAPABILITY
}

/// Whether it is one that grants nothing.
pub(super) fn is_plain(name: &[u8]) -> bool {
    !is_acl(name) && !is_capability(name)
}

/// What a problem with it is about.
pub(super) fn what(name: &[u8]) -> What {
    match name {
        name if is_acl(name) => What::Acl,
        name if is_capability(name) => What::Capability,
        name => What::Xattr(name.to_vec()),
    }
}

/// Names of attributes that an entry has and should not have.
pub(super) fn superfluous(handle: &Handle<'_>, meta: &FileMeta) -> Vec<Vec<u8>> {
    // A file system without attributes has none that are too many.
    let names = handle.xattrs().unwrap_or_default();
    let ours = |name: &&[u8]| name.starts_with(USER) || !is_plain(name);
    let wanted = |name: &[u8]| meta.xattrs.iter().any(|xattr| xattr.name == name);
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.filter(ours).filter(|name| !wanted(name)).map(<[u8]>::to_vec).collect()
}

/// Attributes in which an entry differs from what it should have.
pub(super) fn differences(handle: &Handle<'_>, meta: &FileMeta) -> Vec<What> {
    let lacking = |name: &[u8], value: &[u8]| handle.xattr(name).map_or(true, |there| there != value);
    let wrong = meta.xattrs.iter().filter(|xattr| lacking(&xattr.name, &xattr.value));
    let mut found: Vec<What> = wrong.map(|xattr| what(&xattr.name)).collect();
    found.extend(superfluous(handle, meta).iter().map(|name| what(name)));
    found.sort();
    found.dedup();
    found
}
