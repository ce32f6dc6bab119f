//! The extended header: records of a length, a keyword and a value, for what the header cannot hold.

use super::header::{LONG_MAX, NAME_MAX, OWNER_MAX, SHORT_MAX};
use super::{Entry, Kind, acl};
use crate::base::clock::Timestamp;

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// Flags of Linux as libarchive calls them (`archive_entry.c`).
const FLAGS: [(u64, &str); 5] =
    [(0x10, "schg"), (0x20, "sappnd"), (0x40, "nodump"), (0x80, "noatime"), (0x80_0000, "nocow")];

/// The access lists of a file, by the names of their attributes and the keywords for them.
const LISTS: [(&[u8], &str); 2] =
    [(b"system.posix_acl_access", "SCHILY.acl.access"), (b"system.posix_acl_default", "SCHILY.acl.default")];

/// The records of an entry; empty if its header says it all.
pub(super) fn records(entry: &Entry<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let is_text = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
    // It says how to understand what follows.
    if !is_text(entry.path) || !is_text(entry.link) {
        record(&mut out, b"hdrcharset", b"BINARY");
    }
    names(entry, &mut out);
    numbers(entry, &mut out);
    times(entry, &mut out);
    if entry.kind != Kind::HardLink {
        rights(entry, &mut out);
    }
    out
}

fn names(entry: &Entry<'_>, out: &mut Vec<u8>) {
    let fits = |name: &[u8], max: usize| name.len() <= max && name.is_ascii();
    let path = match entry.kind {
        Kind::Directory => [entry.path, b"/"].concat(),
        _ => entry.path.to_vec(),
    };
    match entry.packed {
        Some(_) => {
            record(out, b"GNU.sparse.major", b"1");
            record(out, b"GNU.sparse.minor", b"0");
            record(out, b"GNU.sparse.name", &path);
            record(out, b"GNU.sparse.realsize", entry.size.to_string().as_bytes());
        }
        None if !fits(&path, NAME_MAX) => record(out, b"path", &path),
        None => {}
    }
    if !fits(entry.link, NAME_MAX) {
        record(out, b"linkpath", entry.link);
    }
    for (keyword, name) in [(&b"uname"[..], entry.user), (b"gname", entry.group)] {
        if let Some(name) = name.filter(|name| !fits(name.as_bytes(), OWNER_MAX)) {
            record(out, keyword, name.as_bytes());
        }
    }
}

fn numbers(entry: &Entry<'_>, out: &mut Vec<u8>) {
    let mut number = |keyword: &[u8], value: u64, max: u64| {
        if value > max {
            record(out, keyword, value.to_string().as_bytes());
        }
    };
    number(b"size", entry.stored(), LONG_MAX);
    number(b"uid", entry.uid.into(), SHORT_MAX);
    number(b"gid", entry.gid.into(), SHORT_MAX);
    if let Kind::CharDevice(major, minor) | Kind::BlockDevice(major, minor) = entry.kind {
        number(b"SCHILY.devmajor", major.into(), SHORT_MAX);
        number(b"SCHILY.devminor", minor.into(), SHORT_MAX);
    }
}

fn times(entry: &Entry<'_>, out: &mut Vec<u8>) {
    let whole = u64::try_from(entry.mtime.0).is_ok_and(|nanos| nanos % SECOND == 0);
    // Nanoseconds in 64 bits have no second that is too large for the header.
    if !whole {
        record(out, b"mtime", time(entry.mtime).as_bytes());
    }
    for (keyword, at) in [(&b"atime"[..], entry.atime), (b"LIBARCHIVE.creationtime", entry.btime)] {
        if let Some(at) = at {
            record(out, keyword, time(at).as_bytes());
        }
    }
}

/// Seconds with as many digits behind the point as it has nanoseconds.
fn time(at: Timestamp) -> String {
    let (sign, nanos) = (if at.0 < 0 { "-" } else { "" }, at.0.unsigned_abs());
    match nanos % SECOND {
        0 => format!("{sign}{}", nanos / SECOND),
        part => format!("{sign}{}.{part:09}", nanos / SECOND),
    }
}

fn rights(entry: &Entry<'_>, out: &mut Vec<u8>) {
    for attribute in &entry.attributes {
        let list = LISTS.iter().find(|(name, _)| *name == attribute.name);
        // What is no list that we know is an attribute all the same.
        if let Some((_, keyword)) = list
            && let Some(text) = acl::text(attribute.value)
        {
            record(out, keyword.as_bytes(), text.as_bytes());
        }
        record(out, &[b"SCHILY.xattr.", escaped(attribute.name).as_slice()].concat(), attribute.value);
    }
    let flags: Vec<&str> =
        FLAGS.iter().filter(|(bit, _)| entry.flags & bit != 0).map(|(_, name)| *name).collect();
    if !flags.is_empty() {
        record(out, b"SCHILY.fflags", flags.join(",").as_bytes());
    }
}

/// The name of an attribute as GNU tar writes it: an equals sign would end the keyword.
fn escaped(name: &[u8]) -> Vec<u8> {
    let escape = |byte: &u8| match byte {
        b'=' => b"%3D".to_vec(),
        b'%' => b"%25".to_vec(),
        byte => vec![*byte],
    };
    name.iter().flat_map(escape).collect()
}

/// Appends a record. Its length counts the digits of the length itself.
fn record(out: &mut Vec<u8>, keyword: &[u8], value: &[u8]) {
    // A blank, an equals sign and a line feed.
    let rest = keyword.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    out.extend_from_slice(len.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(keyword);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}
