//! Where random bytes come from: handed in, so that vectors are reproducible.

use crate::base::secret::Secret32;
use crate::crypto::Error;

/// A source of cryptographically secure random bytes.
pub trait Random: Send + Sync {
    /// Fills `out`, or fails: a short answer never looks like a whole one.
    fn fill(&self, out: &mut [u8]) -> Result<(), Error>;
}

impl dyn Random + '_ {
    /// `N` random bytes that are no secret: an id, a salt.
    pub fn array<const N: usize>(&self) -> Result<[u8; N], Error> {
        let mut out = [0; N];
        self.fill(&mut out)?;
        Ok(out)
    }

    /// A fresh 32-byte secret.
    pub fn secret(&self) -> Result<Secret32, Error> {
        let mut out = Secret32([0; 32]);
        self.fill(&mut out.0)?;
        Ok(out)
    }
}

/// The operating system's generator (`getrandom(2)`).
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, out: &mut [u8]) -> Result<(), Error> {
        getrandom::fill(out).map_err(|_| Error::Random)
    }
}
