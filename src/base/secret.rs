//! Secret bytes: wiped when dropped, never printed.

use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The variable that may hold the passphrase. Whoever starts a child process takes it out of the
/// child's environment: a tool's crash report or a user's script is no place for it.
pub const PASSWORD_VARIABLE: &str = "KAMBA_PASSWORD";

/// A 32-byte secret: a key, a seed, a private half. Wiped on drop; `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret32(pub [u8; 32]);

impl Secret32 {
    /// The bytes themselves.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Secret32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret32(…)")
    }
}

/// A passphrase or another secret of any length. Wiped on drop; `Debug` shows nothing.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes over `bytes`.
    pub fn new(bytes: Vec<u8>) -> Self {
        SecretBytes(bytes)
    }

    /// The bytes themselves.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(…)")
    }
}
