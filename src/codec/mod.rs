//! Layer 1: compression of segments. One zstd frame per segment, or the bytes as they are when
//! they do not shrink. Contexts are reused: nothing is allocated per segment.

mod compress;
mod decompress;
pub mod prefix;

pub use compress::{Coded, Compressor, Level};
pub use decompress::Decompressor;

use crate::base::class::Class;

/// What can go wrong with compressed bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// zstd refuses.
    #[error("zstd: {0}")]
    Zstd(String),
    /// The plaintext is longer or shorter than the directory says.
    #[error("it decodes to {got} bytes where the directory says {want}")]
    Length {
        /// Bytes decoded, as far as it went.
        got: u64,
        /// Bytes promised.
        want: u64,
    },
    /// A coding of a later version.
    #[error("its coding is of a later version of the format")]
    Unknown,
    /// The promised length is beyond the format's limit.
    #[error("a segment of {0} bytes is beyond the limit")]
    TooLarge(u64),
}

impl Error {
    /// What a caller can do about it.
    pub fn class(&self) -> Class {
        Class::Damaged
    }
}
