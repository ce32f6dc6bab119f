//! Packets of the SSH file transfer protocol, version 3 (draft-ietf-secsh-filexfer-02, and
//! OpenSSH's PROTOCOL for the extensions): values to bytes and back, no I/O.
//!
//! The other side is not trusted: every length is checked before it is used (I-9).

/// Protocol version spoken; also the one every server speaks.
pub(super) const VERSION: u32 = 3;
/// Largest packet accepted; the draft asks for 34,000, OpenSSH sends up to 256 KiB.
pub(super) const PACKET_MAX: u32 = 512 << 10;

const INIT: u8 = 1;
const VERSION_REPLY: u8 = 2;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
const WRITE: u8 = 6;
const FSTAT: u8 = 8;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const REMOVE: u8 = 13;
const MKDIR: u8 = 14;
const STAT: u8 = 17;
const RENAME: u8 = 18;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;
const EXTENDED: u8 = 200;
const EXTENDED_REPLY: u8 = 201;

const OPEN_READ: u32 = 1;
const OPEN_WRITE: u32 = 2;
const OPEN_CREATE: u32 = 8;
const OPEN_EXCLUSIVE: u32 = 32;

const ATTR_SIZE: u32 = 1;
const ATTR_OWNER: u32 = 2;
const ATTR_PERMISSIONS: u32 = 4;
const ATTR_TIMES: u32 = 8;
const ATTR_EXTENDED: u32 = 1 << 31;

const KIND_MASK: u32 = 0o170_000;
const KIND_FOLDER: u32 = 0o040_000;
const KIND_FILE: u32 = 0o100_000;

/// Syncs an open file, or a folder opened like one.
pub(super) const FSYNC: &str = "fsync@openssh.com";
/// Tells how much space is left.
pub(super) const STATVFS: &str = "statvfs@openssh.com";

/// What is asked of the server.
#[derive(Clone, Copy, Debug)]
pub(super) enum Request<'a> {
    /// Opens a file, or a folder, for reading.
    OpenRead(&'a str),
    /// Creates a file for writing; fails if it is there.
    OpenNew(&'a str),
    Close(&'a [u8]),
    Read {
        handle: &'a [u8],
        offset: u64,
        len: u32,
    },
    Write {
        handle: &'a [u8],
        offset: u64,
        bytes: &'a [u8],
    },
    StatHandle(&'a [u8]),
    Stat(&'a str),
    OpenFolder(&'a str),
    ReadFolder(&'a [u8]),
    Remove(&'a str),
    MakeFolder(&'a str),
    /// Fails if the new name is taken.
    Rename {
        from: &'a str,
        to: &'a str,
    },
    /// [`FSYNC`].
    Sync(&'a [u8]),
    /// [`STATVFS`].
    Space(&'a str),
}

impl Request<'_> {
    /// The packet, its length in front.
    pub(super) fn encode(&self, id: u32) -> Vec<u8> {
        match self {
            Request::OpenRead(path) => packet(OPEN, id).text(path).u32(OPEN_READ).u32(0).end(),
            Request::OpenNew(path) => {
                let flags = OPEN_WRITE | OPEN_CREATE | OPEN_EXCLUSIVE;
                packet(OPEN, id).text(path).u32(flags).u32(ATTR_PERMISSIONS).u32(0o600).end()
            }
            Request::Close(handle) => packet(CLOSE, id).bytes(handle).end(),
            Request::Read { handle, offset, len } => {
                packet(READ, id).bytes(handle).u64(*offset).u32(*len).end()
            }
            Request::Write { handle, offset, bytes } => {
                packet(WRITE, id).bytes(handle).u64(*offset).bytes(bytes).end()
            }
            Request::StatHandle(handle) => packet(FSTAT, id).bytes(handle).end(),
            Request::Stat(path) => packet(STAT, id).text(path).end(),
            Request::OpenFolder(path) => packet(OPENDIR, id).text(path).end(),
            Request::ReadFolder(handle) => packet(READDIR, id).bytes(handle).end(),
            Request::Remove(path) => packet(REMOVE, id).text(path).end(),
            Request::MakeFolder(path) => packet(MKDIR, id).text(path).u32(ATTR_PERMISSIONS).u32(0o700).end(),
            Request::Rename { from, to } => packet(RENAME, id).text(from).text(to).end(),
            Request::Sync(handle) => packet(EXTENDED, id).text(FSYNC).bytes(handle).end(),
            Request::Space(path) => packet(EXTENDED, id).text(STATVFS).text(path).end(),
        }
    }
}

/// Whether a packet writes a piece of a file.
pub(super) fn is_write(packet: &[u8]) -> bool {
    packet.get(4) == Some(&WRITE)
}

/// The packet that begins a session.
pub(super) fn init() -> Vec<u8> {
    packet(INIT, VERSION).end()
}

/// What a status code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    EndOfFile,
    NoSuchFile,
    PermissionDenied,
    Unsupported,
    /// Anything else, a full disk and a name that is taken among it.
    Failure,
}

/// What is known of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) size: Option<u64>,
    permissions: Option<u32>,
}

impl Attributes {
    /// Whether it is a regular file; unknown if the server does not say.
    pub(super) fn is_file(&self) -> Option<bool> {
        self.permissions.map(|bits| bits & KIND_MASK == KIND_FILE)
    }

    /// Whether it is a folder, likewise.
    pub(super) fn is_folder(&self) -> Option<bool> {
        self.permissions.map(|bits| bits & KIND_MASK == KIND_FOLDER)
    }
}

/// A server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Status(Status, String),
    Handle(Vec<u8>),
    Data(Vec<u8>),
    Names(Vec<(Vec<u8>, Attributes)>),
    Attributes(Attributes),
    /// Bytes that an unprivileged user may still write.
    Space(u64),
}

/// The extensions that a server's first packet announces; `None` if it is no such packet.
pub(super) fn decode_version(packet: &[u8]) -> Option<Vec<String>> {
    let mut rest = Reader(packet);
    if rest.u8()? != VERSION_REPLY || rest.u32()? < VERSION {
        return None;
    }
    let mut extensions = Vec::new();
    while !rest.0.is_empty() {
        extensions.push(rest.text()?);
        rest.bytes()?;
    }
    Some(extensions)
}

/// The id and the content of a server's answer, without the length in front; `None` if it makes no sense.
pub(super) fn decode(packet: &[u8]) -> Option<(u32, Reply)> {
    let mut rest = Reader(packet);
    let (kind, id) = (rest.u8()?, rest.u32()?);
    let reply = match kind {
        STATUS => {
            let status = match rest.u32()? {
                0 => Status::Ok,
                1 => Status::EndOfFile,
                2 => Status::NoSuchFile,
                3 => Status::PermissionDenied,
                8 => Status::Unsupported,
                _ => Status::Failure,
            };
            // Some servers leave the message out.
            Reply::Status(status, rest.text().unwrap_or_default())
        }
        HANDLE => Reply::Handle(rest.bytes()?.to_vec()),
        DATA => Reply::Data(rest.bytes()?.to_vec()),
        NAME => {
            let count = rest.u32()?;
            let mut names = Vec::new();
            for _ in 0..count {
                let name = rest.bytes()?.to_vec();
                rest.bytes()?;
                names.push((name, rest.attributes()?));
            }
            Reply::Names(names)
        }
        ATTRS => Reply::Attributes(rest.attributes()?),
        EXTENDED_REPLY => {
            // statvfs: block size, fragment size, blocks, free, free for us, and more.
            let (_, fragment) = (rest.u64()?, rest.u64()?);
            let (_, _, available) = (rest.u64()?, rest.u64()?, rest.u64()?);
            Reply::Space(fragment.saturating_mul(available))
        }
        _ => return None,
    };
    Some((id, reply))
}

fn packet(kind: u8, id: u32) -> Writer {
    let mut out = Writer(vec![0; 4]);
    out.0.push(kind);
    out.u32(id)
}

struct Writer(Vec<u8>);

impl Writer {
    fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        // Paths and pieces of files: far below the limit of the length.
        let mut out = self.u32(bytes.len() as u32);
        out.0.extend_from_slice(bytes);
        out
    }

    fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    fn end(mut self) -> Vec<u8> {
        let len = (self.0.len() - 4) as u32;
        self.0[..4].copy_from_slice(&len.to_be_bytes());
        self.0
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_be_bytes)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()?;
        self.take(usize::try_from(len).ok()?)
    }

    fn text(&mut self) -> Option<String> {
        self.bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    fn attributes(&mut self) -> Option<Attributes> {
        let flags = self.u32()?;
        let mut found = Attributes::default();
        if flags & ATTR_SIZE != 0 {
            found.size = Some(self.u64()?);
        }
        if flags & ATTR_OWNER != 0 {
            self.take(8)?;
        }
        if flags & ATTR_PERMISSIONS != 0 {
            found.permissions = Some(self.u32()?);
        }
        if flags & ATTR_TIMES != 0 {
            self.take(8)?;
        }
        if flags & ATTR_EXTENDED != 0 {
            for _ in 0..self.u32()? {
                self.bytes()?;
                self.bytes()?;
            }
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn requests_are_as_the_draft_has_them() {
        assert_eq!(init(), [0, 0, 0, 5, 1, 0, 0, 0, 3]);
        assert_eq!(Request::Close(b"h").encode(7), [0, 0, 0, 10, 4, 0, 0, 0, 7, 0, 0, 0, 1, b'h']);
        assert!(!is_write(&Request::Close(b"h").encode(7)));
        assert!(is_write(&Request::Write { handle: b"h", offset: 0, bytes: b"x" }.encode(7)));
        let open = Request::OpenNew("a").encode(1);
        assert_eq!(open[4..], [3, 0, 0, 0, 1, 0, 0, 0, 1, b'a', 0, 0, 0, 42, 0, 0, 0, 4, 0, 0, 1, 128]);
        let read = Request::Read { handle: b"h", offset: 258, len: 5 }.encode(1);
        assert_eq!(read[4..], [5, 0, 0, 0, 1, 0, 0, 0, 1, b'h', 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 5]);
    }

    #[test]
    fn replies_are_understood() {
        let status = packet(STATUS, 9).u32(2).text("No such file").text("en").end();
        assert_eq!(decode(&status[4..]), Some((9, Reply::Status(Status::NoSuchFile, "No such file".into()))));
        assert_eq!(
            decode(&packet(STATUS, 9).u32(4).end()[4..]),
            Some((9, Reply::Status(Status::Failure, String::new())))
        );
        let attributes = |out: Writer| {
            out.u32(ATTR_SIZE | ATTR_OWNER | ATTR_PERMISSIONS | ATTR_TIMES | ATTR_EXTENDED)
                .u64(77)
                .u64(0)
                .u32(KIND_FILE | 0o600)
                .u64(0)
                .u32(1)
                .text("more")
                .text("still")
        };
        let names = attributes(packet(NAME, 1).u32(1).text("x").text("-rw------- x")).end();
        let Some((1, Reply::Names(names))) = decode(&names[4..]) else { panic!("no names") };
        assert_eq!(names[0].0, b"x");
        assert_eq!(
            (names[0].1.size, names[0].1.is_file(), names[0].1.is_folder()),
            (Some(77), Some(true), Some(false))
        );
        let version = packet(VERSION_REPLY, 3).text(FSYNC).text("1").end();
        assert_eq!(decode_version(&version[4..]), Some(vec![FSYNC.to_owned()]));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(kind in 100u8..=202, bytes: Vec<u8>) {
            let packet: Vec<u8> = [&[kind][..], &bytes].concat();
            let _ = decode(&packet);
            let _ = decode_version(&bytes);
        }
    }
}
