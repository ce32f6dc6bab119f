//! Entries of snapshots as `ls`, `find` and `diff` show them: for programs one JSON document each,
//! for people a line, short or as `ls -l` prints it.

use std::borrow::Cow;
use std::fmt::Write as _;

use jiff::tz::TimeZone;
use serde::Serialize;

use crate::base::id::hex;
use crate::base::units;
use crate::cli::text::printable_bytes;
use crate::cli::time;
use crate::format::node::FileMeta;
use crate::vfs::EntryKind;

/// Extended attributes that hold access control lists, which `ls -l` marks with a plus.
const ACLS: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];

/// Bytes for programs: as text, and in hexadecimal too where they are not UTF-8.
pub fn text_and_bytes(bytes: &[u8]) -> (Cow<'_, str>, Option<String>) {
    let text = String::from_utf8_lossy(bytes);
    let exact = matches!(text, Cow::Owned(_)).then(|| hex(bytes));
    (text, exact)
}

/// One entry, for programs.
#[derive(Serialize)]
pub struct EntryDocument<'a> {
    path: Cow<'a, str>,
    /// Hexadecimal, where the path is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    kind: &'static str,
    size: Option<u64>,
    #[serde(flatten)]
    meta: MetaDocument<'a>,
}

/// What a file system knew of it; what it did not know is left out.
#[derive(Default, Serialize)]
struct MetaDocument<'a> {
    /// Permissions in octal, as chmod takes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtime: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link_target: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link_target_bytes: Option<String>,
    /// `major:minor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    /// Their names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    xattrs: Vec<Cow<'a, str>>,
    /// Equal in all names of one file.
    #[serde(skip_serializing_if = "Option::is_none")]
    link_group: Option<String>,
    /// What of it could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
}

impl<'a> EntryDocument<'a> {
    /// The document of an entry.
    pub fn new(path: &'a [u8], kind: EntryKind, size: Option<u64>, meta: &'a FileMeta) -> Self {
        let (path, path_bytes) = text_and_bytes(path);
        EntryDocument { path, path_bytes, kind: kind_name(kind), size, meta: meta.into() }
    }
}

impl<'a> From<&'a FileMeta> for MetaDocument<'a> {
    fn from(meta: &'a FileMeta) -> Self {
        let target = meta.link_target.as_deref().map(text_and_bytes);
        let (link_target, link_target_bytes) =
            target.map_or((None, None), |(text, bytes)| (Some(text), bytes));
        MetaDocument {
            mode: meta.mode.map(|mode| format!("{mode:04o}")),
            uid: meta.uid,
            gid: meta.gid,
            user: meta.user.as_deref(),
            group: meta.group.as_deref(),
            mtime: meta.mtime.map(time::rfc3339),
            link_target,
            link_target_bytes,
            device: meta.device.map(|device| device_numbers(device, ":")),
            xattrs: meta.xattrs.iter().map(|xattr| String::from_utf8_lossy(&xattr.name)).collect(),
            link_group: meta.link_group.as_deref().map(hex),
            problem: meta.problem.as_deref(),
        }
    }
}

/// A kind's name in JSON.
pub fn kind_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Directory => "directory",
        EntryKind::File => "file",
        EntryKind::Symlink => "symlink",
        EntryKind::Fifo => "fifo",
        EntryKind::Socket => "socket",
        EntryKind::CharDevice => "char_device",
        EntryKind::BlockDevice => "block_device",
        EntryKind::Other => "other",
    }
}

/// The letter that `ls -l` begins with and `find -type` takes, but for files.
fn letter(kind: EntryKind) -> char {
    match kind {
        EntryKind::Directory => 'd',
        EntryKind::File => '-',
        EntryKind::Symlink => 'l',
        EntryKind::Fifo => 'p',
        EntryKind::Socket => 's',
        EntryKind::CharDevice => 'c',
        EntryKind::BlockDevice => 'b',
        EntryKind::Other => '?',
    }
}

/// The kind that `find -type` calls so.
pub fn kind_of_letter(text: &str) -> Option<EntryKind> {
    Some(match text {
        "f" => EntryKind::File,
        "d" => EntryKind::Directory,
        "l" => EntryKind::Symlink,
        "p" => EntryKind::Fifo,
        "s" => EntryKind::Socket,
        "b" => EntryKind::BlockDevice,
        "c" => EntryKind::CharDevice,
        _ => return None,
    })
}

fn device_numbers(device: u64, between: &str) -> String {
    format!("{}{between}{}", rustix::fs::major(device), rustix::fs::minor(device))
}

/// Size and path, for people; and what of it could not be read.
pub fn short(path: &[u8], kind: EntryKind, size: Option<u64>, meta: &FileMeta) -> String {
    let size = size.map_or("-".to_owned(), units::bytes);
    let slash = if kind == EntryKind::Directory { "/" } else { "" };
    format!("{size:>10}  {}{slash}{}\n", printable_bytes(path), problem(meta))
}

/// Everything on one line, for people: mode, owner, group, size or device, time, path, link target.
pub fn long(path: &[u8], kind: EntryKind, size: Option<u64>, meta: &FileMeta, zone: &TimeZone) -> String {
    let owner = |name: &Option<String>, number: Option<u32>| match (name, number) {
        (Some(name), _) => printable_bytes(name.as_bytes()).into_owned(),
        (None, Some(number)) => number.to_string(),
        (None, None) => "-".to_owned(),
    };
    let size = match (meta.device, size) {
        (Some(device), _) => device_numbers(device, ", "),
        (None, size) => size.map_or("-".to_owned(), units::bytes),
    };
    let mtime = meta.mtime.map_or("-".to_owned(), |at| time::local(at, zone));
    let mut line = format!(
        "{:<11} {:<8} {:<8} {size:>10}  {mtime:<19}  {}",
        mode(kind, meta),
        owner(&meta.user, meta.uid),
        owner(&meta.group, meta.gid),
        printable_bytes(path)
    );
    if let Some(target) = &meta.link_target {
        let _ = write!(line, " -> {}", printable_bytes(target));
    }
    line + &problem(meta) + "\n"
}

/// What of an entry could not be read, if anything, in brackets.
pub fn problem(meta: &FileMeta) -> String {
    let bracketed = |problem: &String| format!("  [{}]", printable_bytes(problem.as_bytes()));
    meta.problem.as_ref().map(bracketed).unwrap_or_default()
}

/// `drwxr-sr-x+`, as `ls -l` prints it; question marks where no permissions were recorded.
fn mode(kind: EntryKind, meta: &FileMeta) -> String {
    let mut text = String::from(letter(kind));
    let Some(mode) = meta.mode else { return text + "?????????" };
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (false, false) => '-',
            (false, true) => 'x',
            (true, false) => letter.to_ascii_uppercase(),
            (true, true) => letter,
        });
    }
    if meta.xattrs.iter().any(|xattr| ACLS.contains(&xattr.name.as_slice())) {
        text.push('+');
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::base::clock::Timestamp;
    use crate::format::node::Xattr;

    #[test]
    fn what_could_not_be_read_is_said() {
        let torn = FileMeta { problem: Some("read: Permission denied\n".into()), ..FileMeta::default() };
        assert!(
            short(b"a", EntryKind::File, None, &torn).ends_with("  a  [read: Permission denied\\u{a}]\n")
        );
        assert!(long(b"a", EntryKind::File, None, &torn, &TimeZone::UTC).ends_with("denied\\u{a}]\n"));
        let json = serde_json::to_value(EntryDocument::new(b"a", EntryKind::File, None, &torn)).unwrap();
        assert_eq!(json["problem"], "read: Permission denied\n");
    }

    fn meta() -> FileMeta {
        FileMeta {
            mode: Some(0o4755),
            uid: Some(33),
            gid: Some(4_000_000_000),
            user: Some("www-data".into()),
            mtime: Some(Timestamp(1_795_312_820_500_000_001)),
            ..FileMeta::default()
        }
    }

    #[test]
    fn long_lines_are_those_of_ls() {
        let link = FileMeta {
            mode: Some(0o777),
            link_target: Some(b"/etc/\xff\n".to_vec()),
            user: Some("eve\x1b".into()),
            ..meta()
        };
        let acl = Xattr { name: ACLS[0].to_vec(), value: vec![1] };
        let folder = FileMeta { mode: Some(0o3750), xattrs: vec![acl], ..meta() };
        let device = FileMeta { mode: Some(0o640), device: Some(rustix::fs::makedev(8, 17)), ..meta() };
        let line = |path: &[u8], kind, size, meta| long(path, kind, size, meta, &TimeZone::UTC);
        let lines = [
            line(b"usr/bin/su", EntryKind::File, Some(1536), &meta()),
            line(b"srv/a\xffb", EntryKind::Directory, None, &folder),
            line(b"srv/link", EntryKind::Symlink, None, &link),
            line(b"dev/sdb1", EntryKind::BlockDevice, None, &device),
            line(b"uploads.tar", EntryKind::File, Some(3), &FileMeta::default()),
        ];
        insta::assert_snapshot!(lines.concat(), @r"
        -rwsr-xr-x  www-data 4000000000    1.5 KiB  2026-11-22 02:00:20  usr/bin/su
        drwxr-s--T+ www-data 4000000000          -  2026-11-22 02:00:20  srv/a\xffb
        lrwxrwxrwx  eve\u{1b} 4000000000          -  2026-11-22 02:00:20  srv/link -> /etc/\xff\u{a}
        brw-r-----  www-data 4000000000      8, 17  2026-11-22 02:00:20  dev/sdb1
        -?????????  -        -               3 B  -                    uploads.tar
        ");
    }

    #[test]
    fn modes_have_their_special_bits() {
        let mode = |bits| mode(EntryKind::File, &FileMeta { mode: Some(bits), ..FileMeta::default() });
        assert_eq!(mode(0o644), "-rw-r--r--");
        assert_eq!(mode(0o4644), "-rwSr--r--");
        assert_eq!(mode(0o2674), "-rw-rwsr--");
        assert_eq!(mode(0o1777), "-rwxrwxrwt");
        assert_eq!(mode(0o1776), "-rwxrwxrwT");
    }

    #[test]
    fn documents_say_all_that_is_known() {
        let json = |document: &EntryDocument<'_>| serde_json::to_string(document).unwrap();
        let none = FileMeta::default();
        let plain = EntryDocument::new(b"a", EntryKind::File, Some(5), &none);
        assert_eq!(json(&plain), r#"{"path":"a","kind":"file","size":5}"#);
        let full = FileMeta {
            group: Some("adm".into()),
            link_target: Some(b"\xff".to_vec()),
            device: Some(rustix::fs::makedev(1, 3)),
            xattrs: vec![Xattr { name: b"user.a".to_vec(), value: vec![] }],
            link_group: Some(vec![1, 2]),
            ..meta()
        };
        let document = EntryDocument::new(b"a/\xfe", EntryKind::CharDevice, None, &full);
        insta::assert_snapshot!(json(&document).replace(",\"", ",\n\""), @r#"
        {"path":"a/�",
        "path_bytes":"612ffe",
        "kind":"char_device",
        "size":null,
        "mode":"4755",
        "uid":33,
        "gid":4000000000,
        "user":"www-data",
        "group":"adm",
        "mtime":"2026-11-22T02:00:20.500000001Z",
        "link_target":"�",
        "link_target_bytes":"ff",
        "device":"1:3",
        "xattrs":["user.a"],
        "link_group":"0102"}
        "#);
    }
}
