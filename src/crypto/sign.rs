//! Ed25519 (RFC 8032) over a domain string and the object's bytes. Verification is the strict
//! kind: weak keys and malleable signatures are refused.

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use crate::base::id::SignerId;
use crate::base::secret::Secret32;
use crate::crypto::{Error, context};

/// A keyring's own signing key.
pub struct Signer {
    key: SigningKey,
    id: SignerId,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({})", self.id)
    }
}

fn message(bytes: &[u8]) -> Vec<u8> {
    [context::SIGNATURE.as_bytes(), bytes].concat()
}

impl Signer {
    /// The signer whose seed is `seed`.
    pub fn new(seed: &Secret32) -> Self {
        let key = SigningKey::from_bytes(seed.bytes());
        let id = SignerId::of_key(key.verifying_key().as_bytes());
        Signer { key, id }
    }

    /// Who this is.
    pub fn id(&self) -> SignerId {
        self.id
    }

    /// The public half.
    pub fn public(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    /// Signs `bytes`: everything of the object before the signature.
    pub fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.key.sign(&message(bytes)).to_bytes()
    }
}

/// A public key to verify with.
#[derive(Clone, Debug)]
pub struct Verifier(VerifyingKey);

impl Verifier {
    /// Refuses what is not a point or is a weak one.
    pub fn new(public: &[u8; 32]) -> Result<Self, Error> {
        let key = VerifyingKey::from_bytes(public).map_err(|_| Error::PublicKey)?;
        if key.is_weak() { Err(Error::PublicKey) } else { Ok(Verifier(key)) }
    }

    /// Whether `signature` is this key's over `bytes`.
    pub fn verify(&self, bytes: &[u8], signature: &[u8; 64]) -> Result<(), Error> {
        let signature = Signature::from_bytes(signature);
        self.0.verify_strict(&message(bytes), &signature).map_err(|_| Error::Signature)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn signs_and_verifies_only_what_was_signed() {
        let signer = Signer::new(&Secret32([9; 32]));
        let verifier = Verifier::new(&signer.public()).unwrap();
        let signature = signer.sign(b"object");
        assert_eq!(verifier.verify(b"object", &signature), Ok(()));
        assert_eq!(verifier.verify(b"objecu", &signature), Err(Error::Signature));
        let other = Verifier::new(&Signer::new(&Secret32([8; 32])).public()).unwrap();
        assert_eq!(other.verify(b"object", &signature), Err(Error::Signature));
        assert!(Verifier::new(&[0; 32]).is_err(), "a weak key is refused");
    }
}
