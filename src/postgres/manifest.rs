//! A base backup's manifest (`backup_manifest.c`; "Backup Manifest Format" in PostgreSQL's manual), held
//! against the files that came: every one is in it with its length and its sum, and none is missing. It is
//! read as it streams by, a line for each file.

use std::collections::HashMap;

use serde::Deserialize;

/// Longest line: a path of 1024 bytes, each of which may be written with six.
const LINE_MAX: usize = 16 << 10;

/// What a file came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    /// Its length in bytes.
    pub len: u64,
    /// CRC-32C of them.
    pub crc: u32,
}

/// Why a manifest and what came differ.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file came, and not as the manifest has it.
    #[error("{path} did not come as the server's manifest says")]
    Differs {
        /// Its path in the data folder.
        path: String,
    },
    /// A file is in the manifest and did not come.
    #[error("{path} is in the server's manifest, and did not come")]
    Missing {
        /// Its path in the data folder.
        path: String,
    },
    /// Files came that are not in the manifest.
    #[error("{0} of the files that came are not in the server's manifest")]
    Unknown(usize),
    /// It is not a manifest.
    #[error("the server's manifest {0}")]
    Format(&'static str),
}

/// A manifest that is being read.
#[derive(Debug, Default)]
pub struct Manifest {
    /// Hashes of the paths of files that came: a cluster may have millions.
    came: HashMap<[u8; 16], Sum>,
    line: Vec<u8>,
    last: bool,
}

/// A line of a manifest that is a file.
#[derive(Deserialize)]
struct File {
    #[serde(rename = "Path")]
    path: Option<String>,
    #[serde(rename = "Encoded-Path")]
    encoded: Option<String>,
    #[serde(rename = "Size")]
    size: u64,
    #[serde(rename = "Checksum-Algorithm")]
    algorithm: Option<String>,
    #[serde(rename = "Checksum")]
    checksum: Option<String>,
}

impl Manifest {
    /// Notes a file that came; its path is that in the data folder.
    pub fn came(&mut self, path: &[u8], sum: Sum) {
        self.came.insert(key(path), sum);
    }

    /// Takes bytes of the manifest.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.keep(&bytes[..end])?;
            let line = std::mem::take(&mut self.line);
            self.take_line(&line)?;
            self.line = line;
            self.line.clear();
            bytes = &bytes[end + 1..];
        }
        self.keep(bytes)
    }

    /// Ends it: everything that came was in it.
    pub fn finish(mut self) -> Result<(), Error> {
        let line = std::mem::take(&mut self.line);
        self.take_line(&line)?;
        if !self.last {
            return Err(Error::Format("is cut off"));
        }
        if self.came.is_empty() { Ok(()) } else { Err(Error::Unknown(self.came.len())) }
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.line.len() + bytes.len() > LINE_MAX {
            return Err(Error::Format("has a line that is too long"));
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), Error> {
        let line = line.trim_ascii();
        if line.starts_with(b"\"Manifest-Checksum\"") {
            self.last = true;
        }
        let is_file = [&b"{ \"Path\""[..], b"{ \"Encoded-Path\""].iter().any(|begin| line.starts_with(begin));
        if !is_file {
            return Ok(());
        }
        let line = line.strip_suffix(b",").unwrap_or(line);
        let file: File =
            serde_json::from_slice(line).map_err(|_| Error::Format("has a file that cannot be read"))?;
        let path = match (&file.path, &file.encoded) {
            (Some(path), None) => path.clone().into_bytes(),
            (None, Some(encoded)) => {
                from_hex(encoded).ok_or(Error::Format("has a path that cannot be read"))?
            }
            _ => return Err(Error::Format("has a file without one path")),
        };
        let shown = || String::from_utf8_lossy(&path).into_owned();
        let Some(came) = self.came.remove(&key(&path)) else {
            return Err(Error::Missing { path: shown() });
        };
        let crc = match (file.algorithm.as_deref(), file.checksum.as_deref()) {
            (None, None) => came.crc,
            (Some("CRC32C"), Some(sum)) => from_hex(sum)
                .and_then(|bytes| <[u8; 4]>::try_from(bytes).ok())
                // As it lies in the memory of a server of today.
                .map(u32::from_le_bytes)
                .ok_or(Error::Format("has a checksum that cannot be read"))?,
            _ => return Err(Error::Format("has a checksum that was not asked for")),
        };
        if came == (Sum { len: file.size, crc }) { Ok(()) } else { Err(Error::Differs { path: shown() }) }
    }
}

fn key(path: &[u8]) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&blake3::hash(path).as_bytes()[..16]);
    key
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some((digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?) as u8)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MANIFEST: &str = r#"{ "PostgreSQL-Backup-Manifest-Version": 1,
"Files": [
{ "Path": "backup_label", "Size": 5, "Last-Modified": "2026-11-28 18:00:00 GMT", "Checksum-Algorithm": "CRC32C", "Checksum": "78563412" },
{ "Encoded-Path": "6261736500ff", "Size": 0, "Last-Modified": "2026-11-28 18:00:00 GMT", "Checksum-Algorithm": "CRC32C", "Checksum": "00000000" },
{ "Path": "global/pg_control", "Size": 8192, "Last-Modified": "2026-11-28 18:00:00 GMT" }
],
"WAL-Ranges": [
{ "Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/2000100" }
],
"Manifest-Checksum": "abc"}
"#;

    fn manifest() -> Manifest {
        let mut manifest = Manifest::default();
        manifest.came(b"backup_label", Sum { len: 5, crc: 0x1234_5678 });
        manifest.came(b"base\0\xff", Sum { len: 0, crc: 0 });
        manifest.came(b"global/pg_control", Sum { len: 8192, crc: 77 });
        manifest
    }

    fn read(mut manifest: Manifest, text: &str, piece: usize) -> Result<(), Error> {
        text.as_bytes().chunks(piece).try_for_each(|bytes| manifest.push(bytes))?;
        manifest.finish()
    }

    #[test]
    fn what_came_as_it_says_is_fine_however_it_arrives() {
        for piece in [1, 7, 100, 100_000] {
            assert_eq!(read(manifest(), MANIFEST, piece), Ok(()));
        }
        let unended = MANIFEST.trim_end();
        assert_eq!(read(manifest(), unended, 9), Ok(()));
    }

    #[test]
    fn what_differs_is_named() {
        let differs = |path: &str| Err(Error::Differs { path: path.into() });
        for sum in [Sum { len: 4, crc: 0x1234_5678 }, Sum { len: 5, crc: 0x7856_3412 }] {
            let mut other = manifest();
            other.came(b"backup_label", sum);
            assert_eq!(read(other, MANIFEST, 50), differs("backup_label"));
        }
        let mut other = manifest();
        other.came(b"base/1", Sum { len: 0, crc: 0 });
        assert_eq!(read(other, MANIFEST, 50), Err(Error::Unknown(1)));
        let mut other = manifest();
        other.came.remove(&key(b"global/pg_control"));
        assert_eq!(read(other, MANIFEST, 50), Err(Error::Missing { path: "global/pg_control".into() }));
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        for (from, to, want) in [
            ("\"Manifest-Checksum\": \"abc\"}", "", "is cut off"),
            ("\"Size\": 5", "\"Size\": -5", "has a file that cannot be read"),
            ("CRC32C", "SHA256", "has a checksum that was not asked for"),
            ("78563412", "7856341", "has a checksum that cannot be read"),
            ("6261736500ff", "62617365xx", "has a path that cannot be read"),
        ] {
            let text = MANIFEST.replacen(from, to, 1);
            assert_eq!(read(manifest(), &text, 64), Err(Error::Format(want)), "{to}");
        }
        let long = "x".repeat(LINE_MAX + 1);
        assert_eq!(read(manifest(), &long, 999), Err(Error::Format("has a line that is too long")));
    }
}
