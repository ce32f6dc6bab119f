//! What a snapshot records about a dumped database: the `info` file of its node, as JSON, because
//! people read it too (`info.json` in the view). The spec is `format-spec/snapshots.md`.

use serde::{Deserialize, Serialize};

use crate::base::limits::DATABASE_INFO_MAX;
use crate::format::error::{Error, Reason};

const WHAT: &str = "database info";

/// About one table of a dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableInfo {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// Name of its node below `tables`.
    pub node: String,
    /// Rows counted in the stream; absent if its data was not in COPY form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Bytes of its data.
    pub bytes: u64,
}

/// Where a data block stands in the dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockInfo {
    /// The entry of the table of contents that it belongs to.
    pub dump_id: u32,
    /// First byte in the dump.
    pub offset: u64,
}

/// About a dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseInfo {
    /// The database.
    pub database: String,
    /// Its encoding.
    pub encoding: String,
    /// How its text is sorted; absent if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collate: Option<String>,
    /// How its characters are classified; absent if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ctype: Option<String>,
    /// Whose rules those are: `libc`, `icu`, `builtin`; absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale_provider: Option<String>,
    /// The locale of a provider other than `libc`; absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// Rules that were added to an ICU locale; absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icu_rules: Option<String>,
    /// Its size on the server, in bytes.
    pub size: u64,
    /// The server's version, as it says itself.
    pub server_version: String,
    /// `pg_dump`'s version.
    pub dump_version: String,
    /// Version of the archive format, such as `1.14`; absent if it was not recognised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive_version: Option<String>,
    /// Further arguments that `pg_dump` was given.
    pub dump_arguments: Vec<String>,
    /// When the dump began, nanoseconds since 1970.
    pub started: i64,
    /// When it ended.
    pub ended: i64,
    /// The status that `pg_dump` ended with. Always 0: another leaves no snapshot.
    pub exit_status: i32,
    /// Length of the dump in bytes.
    pub dump_bytes: u64,
    /// BLAKE3 of the dump, in hexadecimal: what the parts were proven to rejoin to.
    pub dump_hash: String,
    /// Whether the dump is stored in parts; otherwise all of it is in `rest`.
    pub split: bool,
    /// The stored objects in the order in which the recipe uses them: paths below the node.
    pub objects: Vec<String>,
    /// Its tables.
    pub tables: Vec<TableInfo>,
    /// Its data blocks.
    pub blocks: Vec<BlockInfo>,
}

impl DatabaseInfo {
    /// The bytes of the `info` file. Refuses what nobody could read again.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let bytes = serde_json::to_vec(self)
            .map_err(|_| Error::new(WHAT, Reason::Inconsistent("it cannot be written as JSON")))?;
        check_len(&bytes)?;
        Ok(bytes)
    }

    /// Reads an `info` file.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        check_len(bytes)?;
        let read = serde_json::from_slice(bytes);
        read.map_err(|_| Error::new(WHAT, Reason::Inconsistent("it is not the JSON that it should be")))
    }
}

fn check_len(bytes: &[u8]) -> Result<(), Error> {
    if bytes.len() <= DATABASE_INFO_MAX {
        return Ok(());
    }
    let (len, max) = (bytes.len() as u64, DATABASE_INFO_MAX as u64);
    Err(Error::new(WHAT, Reason::TooLarge { what: "it", len, max }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn info(objects: Vec<String>) -> DatabaseInfo {
        DatabaseInfo {
            database: "shop".into(),
            encoding: "UTF8".into(),
            collate: None,
            ctype: None,
            locale_provider: Some("icu".into()),
            locale: Some("de-DE".into()),
            icu_rules: None,
            size: 1,
            server_version: "15.18".into(),
            dump_version: "15.18".into(),
            archive_version: None,
            dump_arguments: Vec::new(),
            started: 1,
            ended: 2,
            exit_status: 0,
            dump_bytes: 3,
            dump_hash: "00".into(),
            split: true,
            objects,
            tables: Vec::new(),
            blocks: Vec::new(),
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let written = info(vec!["head".into()]);
        let bytes = written.encode().unwrap();
        assert_eq!(DatabaseInfo::decode(&bytes).unwrap(), written);
        // What an earlier version wrote, and what a later one may add.
        let text = String::from_utf8(bytes).unwrap();
        let other = text.replace(r#""locale_provider":"icu","locale":"de-DE""#, r#""new":[1]"#);
        let read = DatabaseInfo::decode(other.as_bytes()).unwrap();
        assert_eq!((read.locale_provider, read.locale, read.objects), (None, None, written.objects));
    }

    #[test]
    fn what_nobody_could_read_is_not_written() {
        let most = DATABASE_INFO_MAX - info(vec![String::new()]).encode().unwrap().len();
        assert!(info(vec!["x".repeat(most)]).encode().is_ok());
        let error = info(vec!["x".repeat(most + 1)]).encode().unwrap_err();
        assert!(error.to_string().contains("268435457"), "{error}");
    }
}
