//! What can go wrong with keys and seals.

use crate::base::class::Class;

/// A failed cryptographic operation. None of them says more than an attacker may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A sealed thing does not open: damaged, moved from its place, or sealed under another key.
    #[error("the seal does not open: the bytes are damaged or out of place")]
    Seal,
    /// A signature does not verify.
    #[error("the signature does not verify")]
    Signature,
    /// A public key is not a point of the curve, or is a weak one.
    #[error("a public key is invalid")]
    PublicKey,
    /// A wrapped key does not open.
    #[error("the wrapped key does not open")]
    Unwrap,
    /// Argon2 parameters are out of bounds.
    #[error("the cost of the passphrase's key derivation is out of bounds")]
    Cost,
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Random,
    /// A length exceeds what the cipher can seal under one nonce.
    #[error("too long to seal")]
    TooLong,
}

impl Error {
    /// What a caller can do about it.
    pub fn class(&self) -> Class {
        match self {
            Error::Random | Error::TooLong => Class::Failed,
            _ => Class::Damaged,
        }
    }
}
