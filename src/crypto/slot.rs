//! Keyslots: from what the user knows and has to the key that seals a keyring. The slot commits
//! to its key, because GCM does not: without the commitment one slot could be made to open under
//! two passphrases.

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroize;

use crate::base::limits;
use crate::base::secret::{Secret32, SecretBytes};
use crate::crypto::{Error, context, derive};

/// Argon2id's cost, as stored in the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgonCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl ArgonCost {
    /// What new slots use: the second recommended choice of RFC 9106 (64 MiB, 3 passes), doubled
    /// in memory; about 0.3 s on the machine the engine was measured on.
    pub const DEFAULT: ArgonCost = ArgonCost { memory_kib: 128 << 10, passes: 3, lanes: 2 };

    /// Refuses costs that a hostile slot could exhaust the machine with (I-9).
    fn params(self) -> Result<Params, Error> {
        let within = self.memory_kib <= limits::ARGON_MEMORY_KIB_MAX
            && (1..=limits::ARGON_PASSES_MAX).contains(&self.passes)
            && (1..=limits::ARGON_LANES_MAX).contains(&self.lanes);
        if !within {
            return Err(Error::Cost);
        }
        Params::new(self.memory_kib, self.passes, self.lanes, Some(32)).map_err(|_| Error::Cost)
    }
}

/// What unlocks a slot.
#[derive(Clone, Debug)]
pub enum SlotSecret {
    /// A passphrase.
    Passphrase(SecretBytes),
    /// A passphrase and the key in a key file: two factors.
    Both(SecretBytes, Secret32),
    /// The key in a key file alone: no derivation to wait for.
    KeyFile(Secret32),
}

/// The two keys that a slot's secret gives.
#[derive(Debug)]
pub struct SlotKeys {
    /// Seals the keyring.
    pub seal: Secret32,
    /// Stored in clear, compared before anything is opened.
    pub commitment: [u8; 32],
}

impl SlotSecret {
    /// Derives the slot's keys. `clear` is everything of the slot before the commitment, `salt`
    /// its header's salt; `cost` is ignored for a key file alone.
    pub fn keys(&self, cost: ArgonCost, salt: &[u8; 32], clear: &[u8]) -> Result<SlotKeys, Error> {
        let secret = match self {
            SlotSecret::Passphrase(pass) => stretch(pass, cost, salt)?,
            SlotSecret::Both(pass, file) => {
                let stretched = stretch(pass, cost, salt)?;
                derive(context::TWO_FACTORS, &[stretched.bytes(), file.bytes()])
            }
            SlotSecret::KeyFile(file) => file.clone(),
        };
        Ok(SlotKeys {
            seal: derive(context::SLOT_KEY, &[secret.bytes(), clear]),
            commitment: derive(context::SLOT_COMMITMENT, &[secret.bytes(), clear]).0,
        })
    }
}

impl SlotKeys {
    /// Whether `stored` is this commitment, in constant time.
    pub fn commits_to(&self, stored: &[u8; 32]) -> bool {
        let difference = self.commitment.iter().zip(stored).fold(0, |acc, (a, b)| acc | (a ^ b));
        std::hint::black_box(difference) == 0
    }
}

fn stretch(pass: &SecretBytes, cost: ArgonCost, salt: &[u8; 32]) -> Result<Secret32, Error> {
    let params = cost.params()?;
    let mut blocks = vec![argon2::Block::default(); params.block_count()];
    let mut out = Secret32([0; 32]);
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let done = argon.hash_password_into_with_memory(pass.bytes(), salt, &mut out.0, &mut blocks);
    for block in &mut blocks {
        block.zeroize();
    }
    done.map_err(|_| Error::Cost)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const CHEAP: ArgonCost = ArgonCost { memory_kib: 64, passes: 1, lanes: 1 };

    #[test]
    fn every_input_changes_the_keys() {
        let pass = |p: &str| SecretBytes::new(p.into());
        let base = SlotSecret::Passphrase(pass("a")).keys(CHEAP, &[0; 32], b"c").unwrap();
        let same = SlotSecret::Passphrase(pass("a")).keys(CHEAP, &[0; 32], b"c").unwrap();
        assert!(base.commits_to(&same.commitment) && base.seal == same.seal);
        assert_ne!(base.seal.0, base.commitment);
        let others = [
            SlotSecret::Passphrase(pass("b")).keys(CHEAP, &[0; 32], b"c"),
            SlotSecret::Passphrase(pass("a")).keys(CHEAP, &[1; 32], b"c"),
            SlotSecret::Passphrase(pass("a")).keys(CHEAP, &[0; 32], b"d"),
            SlotSecret::Passphrase(pass("a")).keys(ArgonCost { passes: 2, ..CHEAP }, &[0; 32], b"c"),
            SlotSecret::Both(pass("a"), Secret32([1; 32])).keys(CHEAP, &[0; 32], b"c"),
            SlotSecret::KeyFile(Secret32([1; 32])).keys(CHEAP, &[0; 32], b"c"),
        ];
        for other in others {
            assert!(!base.commits_to(&other.unwrap().commitment));
        }
    }

    #[test]
    fn hostile_costs_are_refused_before_memory_is_taken() {
        for cost in [
            ArgonCost { memory_kib: u32::MAX, ..CHEAP },
            ArgonCost { passes: u32::MAX, ..CHEAP },
            ArgonCost { passes: 0, ..CHEAP },
            ArgonCost { lanes: 0, ..CHEAP },
            ArgonCost { lanes: u32::MAX, ..CHEAP },
            ArgonCost { memory_kib: 0, ..CHEAP },
        ] {
            let secret = SlotSecret::Passphrase(SecretBytes::new(vec![1]));
            assert_eq!(secret.keys(cost, &[0; 32], b"").unwrap_err(), Error::Cost, "{cost:?}");
        }
    }
}
