//! Identifiers: fixed-size byte strings with a type each, so that a pack's name is never taken
//! for a chunk's id. They print as lower-case hexadecimal.

use std::fmt;

/// Lower-case hexadecimal of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for b in bytes {
        out.push(DIGITS[usize::from(b >> 4)] as char);
        out.push(DIGITS[usize::from(b & 15)] as char);
    }
    out
}

/// The bytes of a lower-case hexadecimal string of exactly `N` bytes; `None` for anything else.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.as_bytes();
    if text.len() != N * 2 {
        return None;
    }
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let mut out = [0u8; N];
    for (i, pair) in text.chunks_exact(2).enumerate() {
        out[i] = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// The id as lower-case hexadecimal.
            pub fn to_hex(&self) -> String {
                hex(&self.0)
            }

            /// Parses exactly what `to_hex` prints; `None` for anything else.
            pub fn from_hex(text: &str) -> Option<Self> {
                unhex::<$len>(text).map($name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), &self.to_hex()[..8])
            }
        }
    };
}

id_type!(
    /// A chunk's id: keyed BLAKE3 of its plaintext, with a key per [kind of chunk].
    ChunkId, 32);
id_type!(
    /// A pack's name: BLAKE3 of its stored bytes.
    PackId, 32);
id_type!(
    /// The name of an object that is called by the BLAKE3 of its stored bytes.
    ObjectHash, 32);
id_type!(
    /// A writer's session: random; also the name and id of the snapshot that it commits.
    SessionId, 16);
id_type!(
    /// The repository's identity: random, made by `init`.
    RepositoryId, 16);
id_type!(
    /// A signer: the first 16 bytes of BLAKE3 over its Ed25519 public key; zero for "unsigned".
    SignerId, 16);
id_type!(
    /// The name of a WAL object: a keyed hash of the cluster's identifier and the file's name.
    WalId, 32);
id_type!(
    /// The name of a WAL ledger: random.
    LedgerId, 16);
id_type!(
    /// A keyslot's name: the first 16 bytes of BLAKE3 over its stored bytes.
    SlotId, 16);

impl SignerId {
    /// The signer with this Ed25519 public key.
    pub fn of_key(public: &[u8; 32]) -> Self {
        let mut id = [0; SignerId::LEN];
        id.copy_from_slice(&blake3::hash(public).as_bytes()[..SignerId::LEN]);
        SignerId(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_refuses_everything_else() {
        let id = SessionId(*b"nopqrstuvwxyz{|}");
        let hex = id.to_hex();
        assert_eq!(SessionId::from_hex(&hex), Some(id));
        assert!(hex.contains(['a', 'b', 'c', 'd', 'e', 'f']), "{hex}");
        // Upper case is refused so that an object has one name only.
        for bad in ["", "0", &hex[1..], &hex.to_uppercase(), &"g".repeat(32)] {
            assert_eq!(SessionId::from_hex(bad), None, "{bad}");
        }
    }
}
