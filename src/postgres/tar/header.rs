//! One header of a base backup's tar.

use super::BLOCK;

/// Largest file: what positions of files can count, with room for padding.
const SIZE_MAX: u64 = i64::MAX as u64 - BLOCK as u64;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A link to this folder: a tablespace's in `pg_tblspc`.
    Link(&'a [u8]),
}

/// An entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Where it belongs, below the folder that the tar is of: names with a slash between them, none of
    /// them empty, `.` or `..`.
    pub path: &'a [u8],
    /// What it is.
    pub kind: Kind<'a>,
    /// Bytes of data that follow; 0 for anything but a file.
    pub size: u64,
    /// Permissions, without the bits that say what it is.
    pub mode: u32,
    /// Its owner's number.
    pub uid: u64,
    /// Its group's number.
    pub gid: u64,
    /// When it was last changed, in seconds since 1970.
    pub mtime: u64,
}

/// Reads a header, or says what is wrong with it, as `a header with …`.
pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Entry<'_>, &'static str> {
    if &block[257..265] != b"ustar\x0000" {
        return Err("a mark of another format");
    }
    let sum = number(&block[148..156]).ok_or("a checksum that is no number")?;
    if sum != checksum(block) {
        return Err("a wrong checksum");
    }
    // PostgreSQL never splits a name.
    if block[345..500].iter().any(|b| *b != 0) {
        return Err("a name in two parts");
    }
    let name = text(&block[..100]).ok_or("a name without an end")?;
    let link = text(&block[157..257]).ok_or("a link's target without an end")?;
    let size = number(&block[124..136]).filter(|size| *size <= SIZE_MAX).ok_or("an impossible size")?;
    let (kind, path) = match (block[156], name.strip_suffix(b"/")) {
        (b'0', None) if link.is_empty() => (Kind::File, name),
        (b'5', Some(path)) if link.is_empty() && size == 0 => (Kind::Folder, path),
        (b'2', Some(path)) if !link.is_empty() && size == 0 => (Kind::Link(link), path),
        _ => return Err("an entry of a kind that PostgreSQL does not write"),
    };
    // So `./pg_wal/archive_status` comes, and nothing else.
    let path = path.strip_prefix(b"./").unwrap_or(path);
    if path.split(|b| *b == b'/').any(|part| matches!(part, b"" | b"." | b"..")) {
        return Err("a name that leads elsewhere");
    }
    let field = |from: usize, to: usize| number(&block[from..to]).ok_or("a field that is no number");
    Ok(Entry {
        path,
        kind,
        size,
        mode: u32::try_from(field(100, 108)?)
            .ok()
            .filter(|mode| *mode <= 0o7777)
            .ok_or("an impossible mode")?,
        uid: field(108, 116)?,
        gid: field(116, 124)?,
        mtime: field(136, 148)?,
    })
}

/// The sum of all bytes, with blanks for the sum itself (`tarChecksum`).
fn checksum(block: &[u8; BLOCK]) -> u64 {
    let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
    let own: u64 = block[148..156].iter().map(|b| u64::from(*b)).sum();
    sum - own + 8 * u64::from(b' ')
}

/// A text that fills its field with zeros; `None` if it has no end, or something follows it.
fn text(field: &[u8]) -> Option<&[u8]> {
    let end = field.iter().position(|b| *b == 0)?;
    let (text, rest) = field.split_at(end);
    rest.iter().all(|b| *b == 0).then_some(text)
}

/// A number as `print_tar_number` writes it: octal digits and a blank, or, if it is larger than that, 0x80
/// and its bytes.
fn number(field: &[u8]) -> Option<u64> {
    let (first, rest) = field.split_first()?;
    if *first == 0x80 {
        let (high, low) = rest.split_at(rest.len().saturating_sub(8));
        let value = low.iter().fold(0, |value, b| value << 8 | u64::from(*b));
        return high.iter().all(|b| *b == 0).then_some(value);
    }
    let (last, digits) = field.split_last()?;
    let octal = *last == b' ' && digits.iter().all(|b| (b'0'..=b'7').contains(b));
    octal.then(|| digits.iter().fold(0, |value, b| value << 3 | u64::from(b - b'0')))
}
