//! When a chain of deltas ends, and which of its links the next is coded against.

use std::fmt;

use crate::stored::SegmentKey;

/// Chains end up to this share before their limit, as those of a session do.
const SPREAD: u8 = 4;
/// The longest chain where something else is to end it.
const LAST_RESORT: u8 = 64;

/// A way to choose.
#[derive(Clone, Copy, Debug)]
pub enum Policy {
    /// Each link is coded against the one before; chains have at most so many.
    Limit(u8),
    /// Link n is coded against link n with its lowest set bit cleared, as in Subversion's FSFS; so it is
    /// reached over as many links as n has set bits. No link has a higher number than this.
    Skip(u32),
    /// Each link is coded against the one before, until the deltas of the chain come to this share, in
    /// quarters, of what would be stored whole.
    Budget(u8),
}

impl Policy {
    /// Those that are compared.
    pub const ALL: [Policy; 12] = [
        Policy::Limit(1),
        Policy::Limit(4),
        Policy::Limit(8),
        Policy::Limit(16),
        Policy::Limit(24),
        Policy::Limit(32),
        Policy::Skip(u32::MAX),
        Policy::Skip(64),
        Policy::Skip(32),
        Policy::Budget(1),
        Policy::Budget(2),
        Policy::Budget(4),
    ];

    /// The highest number, in its chain, of what link `number` may be coded against.
    pub fn base_of(self, number: u32) -> u32 {
        match self {
            Policy::Skip(_) => number & number.wrapping_sub(1),
            // Whatever stands at the place in the dump before.
            Policy::Limit(_) | Policy::Budget(_) => u32::MAX,
        }
    }

    /// The highest number of a link whose base lies in `segment`. Spread, too.
    pub fn last_link(self, segment: SegmentKey) -> u32 {
        match self {
            Policy::Skip(u32::MAX) | Policy::Limit(_) | Policy::Budget(_) => u32::MAX,
            Policy::Skip(last) => last - mixed(segment) % (last / u32::from(SPREAD) + 1),
        }
    }

    /// How deep what is coded against `segment` may be.
    pub fn limit_of(self, segment: SegmentKey) -> u8 {
        match self {
            Policy::Limit(limit) => limit - (mixed(segment) % (u32::from(limit / SPREAD) + 1)) as u8,
            Policy::Skip(_) | Policy::Budget(_) => LAST_RESORT,
        }
    }

    /// How long the deltas of a chain may be that goes on from `segment`, as a share of what would be
    /// stored whole. Spread, too.
    pub fn budget_of(self, segment: SegmentKey) -> f64 {
        match self {
            Policy::Budget(quarters) => {
                let steps = u32::from(LAST_RESORT / SPREAD);
                let less = f64::from(mixed(segment) % (steps + 1)) / f64::from(LAST_RESORT);
                f64::from(quarters) / 4.0 * (1.0 - less)
            }
            Policy::Limit(_) | Policy::Skip(_) => f64::INFINITY,
        }
    }
}

/// As a session mixes it.
fn mixed((day, segment): SegmentKey) -> u32 {
    day.wrapping_mul(31).wrapping_add(segment)
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Policy::Limit(limit) => write!(f, "limit {limit}"),
            Policy::Skip(u32::MAX) => f.write_str("skip-deltas"),
            Policy::Skip(last) => write!(f, "skip-deltas to {last}"),
            Policy::Budget(4) => f.write_str("budget 1"),
            Policy::Budget(2) => f.write_str("budget 1/2"),
            Policy::Budget(quarters) => write!(f, "budget {quarters}/4"),
        }
    }
}
