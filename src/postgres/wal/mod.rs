//! The write-ahead log as files: what they are called ([`name`]), how a segment begins ([`header`]),
//! where timelines branch off ([`history`]), and whose files a folder holds ([`owner`]). What the records in
//! a segment say is PostgreSQL's business alone.

pub mod header;
pub mod history;
pub mod name;
pub mod owner;

pub use header::SegmentHeader;
pub use history::History;
pub use name::{SegmentName, SegmentSize, WalName};
