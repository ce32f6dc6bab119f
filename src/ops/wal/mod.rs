//! PostgreSQL's WAL into the repository ([`push`], [`receive`]) and back ([`fetch`], with [`ahead`] fetching
//! what comes next), and what there is of it ([`status`]). Pushing and fetching do not load the index: the
//! server waits for each of their calls. [`switch`] sees to it that what is pushed does not wait for long.

pub mod ahead;
pub mod batch;
mod course;
pub mod fetch;
pub mod push;
pub mod ranges;
pub mod receive;
pub mod record;
pub mod status;
pub mod switch;
pub mod windows;

use std::path::Path;

use crate::ops::Error;
use crate::postgres::wal::WalName;

/// A refusal that concerns a WAL file.
fn refused(message: impl Into<String>, hint: Option<&'static str>) -> Error {
    Error::Wal { message: message.into(), hint }
}

/// The name at the end of a path.
pub fn name_of(path: &Path) -> Result<WalName, Error> {
    let text = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    WalName::parse(&text).ok_or_else(|| {
        let message = format!("{} is not called as a WAL file is", path.display());
        refused(message, Some("as in archive_command = 'kamba-vault wal push %p'"))
    })
}
