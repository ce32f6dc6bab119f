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
    /// The bytes of the `info` file.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let bytes = serde_json::to_vec_pretty(self);
        bytes.map_err(|_| Error::new(WHAT, Reason::Inconsistent("it cannot be written as JSON")))
    }

    /// Reads an `info` file.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > DATABASE_INFO_MAX {
            let (len, max) = (bytes.len() as u64, DATABASE_INFO_MAX as u64);
            return Err(Error::new(WHAT, Reason::TooLarge { what: "it", len, max }));
        }
        let read = serde_json::from_slice(bytes);
        read.map_err(|_| Error::new(WHAT, Reason::Inconsistent("it is not the JSON that it should be")))
    }
}
