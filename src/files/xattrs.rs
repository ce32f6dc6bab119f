//! The extended attributes of an entry, of every namespace that the user may read: the system's keep
//! ACLs and capabilities there. They are taken as they are; what they mean is the system's business.

use std::borrow::Cow;
use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use crate::format::node::Xattr;

/// Largest list of names and largest value that Linux hands out.
const LARGEST: usize = 64 << 10;
/// Most lists and values fit into these.
const LIST: usize = 1 << 10;
const VALUE: usize = 256;
/// What an attribute takes in a node beside its name and value, at most.
const OVERHEAD: usize = 8;

/// What attributes are read of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Of<'a> {
    /// What is open here.
    Open(BorrowedFd<'a>),
    /// What this path names, a link itself.
    Path(&'a [u8]),
}

/// Why something is missing: what was tried, up to the path, and what was said.
pub(super) type Missing = (Cow<'static, str>, io::Error);

/// All attributes, ascending by name, of `budget` bytes at most; and what could not be read or kept.
pub(super) fn read(of: Of<'_>, budget: usize) -> (Vec<Xattr>, Vec<Missing>) {
    let (mut xattrs, mut missing, mut left) = (Vec::new(), Vec::new(), budget);
    let list = match grown(LIST, |buffer| list(of, buffer)) {
        Ok(list) => list,
        Err(errno) if is_nothing(errno) => return (xattrs, missing),
        Err(errno) => {
            missing.push(("list the extended attributes of".into(), errno.into()));
            return (xattrs, missing);
        }
    };
    let mut names: Vec<&[u8]> = list.split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        match grown(VALUE, |buffer| get(of, name, buffer)) {
            Ok(value) if name.len() + value.len() + OVERHEAD <= left => {
                left -= name.len() + value.len() + OVERHEAD;
                xattrs.push(Xattr { name: name.to_vec(), value });
            }
            Ok(_) => missing.push((about("keep", name), io::Error::other("there is no room for it"))),
            // It was removed since, or is shown and not there.
            Err(errno) if is_nothing(errno) => {}
            Err(errno) => missing.push((about("read", name), errno.into())),
        }
    }
    (xattrs, missing)
}

fn about(action: &str, name: &[u8]) -> Cow<'static, str> {
    format!("{action} the extended attribute {} of", String::from_utf8_lossy(name)).into()
}

/// Whether the file system has no such thing.
fn is_nothing(errno: Errno) -> bool {
    matches!(errno, Errno::OPNOTSUPP | Errno::NODATA | Errno::NOSYS)
}

fn list(of: Of<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    match of {
        Of::Open(fd) => rustix::fs::flistxattr(fd, buffer),
        Of::Path(path) => rustix::fs::llistxattr(path, buffer),
    }
}

fn get(of: Of<'_>, name: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
    match of {
        Of::Open(fd) => rustix::fs::fgetxattr(fd, name, buffer),
        Of::Path(path) => rustix::fs::lgetxattr(path, name, buffer),
    }
}

/// Calls with a larger buffer until it is large enough.
fn grown(len: usize, mut call: impl FnMut(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; len];
    loop {
        match call(&mut buffer) {
            Err(Errno::RANGE) if buffer.len() < LARGEST => buffer.resize(LARGEST.min(buffer.len() * 8), 0),
            Err(errno) => return Err(errno),
            Ok(len) => {
                buffer.truncate(len);
                buffer.shrink_to_fit();
                return Ok(buffer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rustix::fs::XattrFlags;

    use super::*;
    use crate::files::testing::Tree;

    #[test]
    fn a_buffer_grows_up_to_what_linux_hands_out() {
        for needed in [0, 1, 256, 257, 5_000, LARGEST] {
            let read =
                grown(256, |buffer| if buffer.len() < needed { Err(Errno::RANGE) } else { Ok(needed) });
            assert_eq!(read.unwrap().len(), needed);
        }
        assert_eq!(grown(256, |_| Err(Errno::RANGE)), Err(Errno::RANGE));
    }

    #[test]
    fn what_does_not_fit_is_said_to_be_missing() {
        let tree = Tree::new();
        tree.file("f", b"");
        for (name, len) in [("user.c", 30), ("user.a", 40), ("user.b", 2_000)] {
            rustix::fs::setxattr(tree.at("f"), name, &vec![7; len], XattrFlags::CREATE).unwrap();
        }
        let path = tree.at("f");
        let of = Of::Path(path.as_os_str().as_encoded_bytes());
        let names = |budget| -> Vec<String> {
            let read = read(of, budget).0.into_iter();
            read.map(|xattr| String::from_utf8(xattr.name).unwrap())
                .filter(|n| n.starts_with("user."))
                .collect()
        };
        assert_eq!(names(1 << 20), ["user.a", "user.b", "user.c"]);
        assert_eq!(names(1_000), ["user.a", "user.c"]);
        let (_, missing) = read(of, 1_000);
        assert_eq!(missing.len(), 1);
        assert_eq!(missing[0].0, "keep the extended attribute user.b of");
    }
}
