//! Pack keys under a public key: HPKE (RFC 9180), mode_psk, DHKEM(X25519, HKDF-SHA256),
//! HKDF-SHA256, AES-256-GCM. The pre-shared key is held by every role, so that a thief of the
//! storage who breaks X25519 some day still has nothing.

use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::{Kem, X25519HkdfSha256};
use hpke::{Deserializable, OpModeR, OpModeS, PskBundle, Serializable};
use zeroize::Zeroizing;

use crate::base::secret::Secret32;
use crate::crypto::{Error, Random, context, kdf};

/// Length of a wrapped key: encapsulated key 32, ciphertext 32, tag 16.
pub const WRAPPED_LEN: usize = 80;

/// An X25519 key pair.
#[derive(Clone, Debug)]
pub struct KeyPair {
    /// The public half.
    pub public: [u8; 32],
    /// The private half.
    pub private: Secret32,
}

impl KeyPair {
    /// The pair that RFC 9180's DeriveKeyPair makes of `seed`.
    pub fn from_seed(seed: &Secret32) -> Self {
        let (private, public) = X25519HkdfSha256::derive_keypair(seed.bytes());
        KeyPair { public: public.to_bytes().into(), private: Secret32(private.to_bytes().into()) }
    }
}

/// What is bound into a wrapped key.
fn info(header: &[u8; 64]) -> Vec<u8> {
    [context::PACK_KEY.as_bytes(), header].concat()
}

/// Wraps `key` to `public` for the pack whose header is `header`.
pub fn wrap_key(
    public: &[u8; 32],
    psk: &Secret32,
    psk_id: &[u8],
    header: &[u8; 64],
    key: &Secret32,
    random: &dyn Random,
) -> Result<[u8; WRAPPED_LEN], Error> {
    let public = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(public).map_err(|_| Error::PublicKey)?;
    let bundle = PskBundle::new(psk.bytes(), psk_id).map_err(|_| Error::Unwrap)?;
    let mut rng = SeededRng::new(random)?;
    let (enc, sealed) = hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
        &OpModeS::Psk(bundle),
        &public,
        &info(header),
        key.bytes(),
        b"",
        &mut rng,
    )
    .map_err(|_| Error::PublicKey)?;
    let mut out = [0; WRAPPED_LEN];
    out[..32].copy_from_slice(&enc.to_bytes());
    out[32..].copy_from_slice(&sealed);
    Ok(out)
}

/// Opens what [`wrap_key`] made.
pub fn unwrap_key(
    private: &Secret32,
    psk: &Secret32,
    psk_id: &[u8],
    header: &[u8; 64],
    wrapped: &[u8; WRAPPED_LEN],
) -> Result<Secret32, Error> {
    type Suite = X25519HkdfSha256;
    let private = <Suite as Kem>::PrivateKey::from_bytes(private.bytes()).map_err(|_| Error::Unwrap)?;
    let enc = <Suite as Kem>::EncappedKey::from_bytes(&wrapped[..32]).map_err(|_| Error::Unwrap)?;
    let bundle = PskBundle::new(psk.bytes(), psk_id).map_err(|_| Error::Unwrap)?;
    let opened = hpke::single_shot_open::<AesGcm256, HkdfSha256, Suite>(
        &OpModeR::Psk(bundle),
        &private,
        &enc,
        &info(header),
        &wrapped[32..],
        b"",
    )
    .map_err(|_| Error::Unwrap)?;
    let opened = Zeroizing::new(opened);
    Ok(Secret32(opened.as_slice().try_into().map_err(|_| Error::Unwrap)?))
}

/// The generator HPKE asks for, fed from 32 bytes of the caller's randomness through BLAKE3's
/// extendable output, so that randomness stays handed in.
struct SeededRng(Zeroizing<blake3::OutputReader>);

impl SeededRng {
    fn new(random: &dyn Random) -> Result<Self, Error> {
        Ok(SeededRng(kdf::output(context::EPHEMERAL, &random.secret()?)))
    }
}

impl rand_core::TryRng for SeededRng {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut out = [0; 4];
        self.0.fill(&mut out);
        Ok(u32::from_le_bytes(out))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut out = [0; 8];
        self.0.fill(&mut out);
        Ok(u64::from_le_bytes(out))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        self.0.fill(out);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for SeededRng {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::crypto::SystemRandom;

    #[test]
    fn a_wrapped_key_opens_with_every_part_right_and_not_otherwise() {
        let pair = KeyPair::from_seed(&Secret32([1; 32]));
        let (psk, key, header) = (Secret32([2; 32]), Secret32([3; 32]), [4; 64]);
        let wrapped = wrap_key(&pair.public, &psk, b"id", &header, &key, &SystemRandom).unwrap();
        assert_eq!(unwrap_key(&pair.private, &psk, b"id", &header, &wrapped).unwrap(), key);
        let other = KeyPair::from_seed(&Secret32([5; 32]));
        assert!(unwrap_key(&other.private, &psk, b"id", &header, &wrapped).is_err());
        assert!(unwrap_key(&pair.private, &Secret32([6; 32]), b"id", &header, &wrapped).is_err());
        assert!(unwrap_key(&pair.private, &psk, b"ie", &header, &wrapped).is_err());
        assert!(unwrap_key(&pair.private, &psk, b"id", &[5; 64], &wrapped).is_err());
        for i in 0..WRAPPED_LEN {
            let mut bad = wrapped;
            bad[i] ^= 1;
            assert!(unwrap_key(&pair.private, &psk, b"id", &header, &bad).is_err(), "byte {i}");
        }
    }
}
