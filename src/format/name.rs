//! The names of objects, and back: which object stands where in a backend. A name is accepted in
//! one spelling only, so nothing can hide beside the object that it seems to be.

use std::fmt;

use crate::base::id::{LedgerId, ObjectHash, PackId, RepositoryId, SessionId, SlotId, WalId, unhex};
use crate::base::kind::PackKind;

/// The name of the repository's configuration.
pub const CONFIG: &str = "config";
/// Prefix of keyslots.
pub const KEYS: &str = "keys/";
/// Prefix of the lists of signers.
pub const SIGNERS: &str = "signers/";
/// Prefix of data packs.
pub const DATA: &str = "data/";
/// Prefix of metadata packs.
pub const META: &str = "meta/";
/// Prefix of index parts.
pub const INDEX: &str = "index/";
/// Prefix of snapshots and tombstones.
pub const ROOTS: &str = "roots/";
/// Prefix of leases.
pub const LEASES: &str = "leases/";
/// Prefix of WAL objects and, in a folder of their own, WAL ledgers.
pub const WAL: &str = "wal/";
/// Prefix of WAL ledgers.
pub const LEDGERS: &str = "wal/ledger/";
/// The same below the prefix of WAL objects: no two hexadecimal digits, so no folder of theirs.
const LEDGER_FOLDER: &str = "ledger/";
/// Prefixes that later versions use: what lies there is none of our business, and not garbage.
pub const RESERVED: [&str; 3] = [MARKS, "notes/", "parity/"];
/// Prefix of marks, which later versions make: where there are some, this version must not write.
pub const MARKS: &str = "marks/";
/// Prefix of the scratch objects with which `init` finds out what a backend does.
pub const PROBE: &str = "probe/";

/// An object's name, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectName {
    /// The configuration.
    Config,
    /// A keyslot.
    KeySlot(SlotId),
    /// A repository's list of signers, of a generation. An `init` that died or lost a race leaves one
    /// of a repository that never came to be.
    Signers(RepositoryId, u32),
    /// A pack.
    Pack(PackKind, PackId),
    /// An index part.
    Index(ObjectHash),
    /// The snapshot, or the tombstone, of a session.
    Root(SessionId),
    /// A session's lease; the counter tells its refreshments apart.
    Lease(SessionId, u32),
    /// A file of PostgreSQL's WAL.
    Wal(WalId),
    /// A statement that WAL segments were durable.
    Ledger(LedgerId),
}

impl ObjectName {
    /// Takes a name apart; `None` for what is not exactly one of ours.
    pub fn parse(name: &str) -> Option<Self> {
        if name == CONFIG {
            return Some(ObjectName::Config);
        }
        let (prefix, rest) = name.split_at(name.find('/')? + 1);
        match prefix {
            KEYS => SlotId::from_hex(rest).map(ObjectName::KeySlot),
            SIGNERS => {
                let (repository, generation) = rest.split_once('-')?;
                Some(ObjectName::Signers(RepositoryId::from_hex(repository)?, parse_u32(generation)?))
            }
            DATA => parse_fanned(rest).map(|id| ObjectName::Pack(PackKind::Data, PackId(id))),
            META => parse_fanned(rest).map(|id| ObjectName::Pack(PackKind::Meta, PackId(id))),
            INDEX => ObjectHash::from_hex(rest).map(ObjectName::Index),
            ROOTS => SessionId::from_hex(rest).map(ObjectName::Root),
            LEASES => {
                let (session, counter) = rest.split_once('-')?;
                Some(ObjectName::Lease(SessionId::from_hex(session)?, parse_u32(counter)?))
            }
            WAL => match rest.strip_prefix(LEDGER_FOLDER) {
                Some(id) => LedgerId::from_hex(id).map(ObjectName::Ledger),
                None => parse_fanned(rest).map(|id| ObjectName::Wal(WalId(id))),
            },
            _ => None,
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ObjectName::Config => f.write_str(CONFIG),
            ObjectName::KeySlot(id) => write!(f, "{KEYS}{id}"),
            ObjectName::Signers(repository, generation) => {
                write!(f, "{SIGNERS}{repository}-{generation:08x}")
            }
            ObjectName::Pack(kind, id) => {
                let hex = id.to_hex();
                write!(f, "{}{}/{hex}", pack_prefix(*kind), &hex[..2])
            }
            ObjectName::Index(id) => write!(f, "{INDEX}{id}"),
            ObjectName::Root(session) => write!(f, "{ROOTS}{session}"),
            ObjectName::Lease(session, counter) => write!(f, "{LEASES}{session}-{counter:08x}"),
            ObjectName::Wal(id) => {
                let hex = id.to_hex();
                write!(f, "{WAL}{}/{hex}", &hex[..2])
            }
            ObjectName::Ledger(id) => write!(f, "{LEDGERS}{id}"),
        }
    }
}

/// The prefix under which packs of this kind lie.
pub fn pack_prefix(kind: PackKind) -> &'static str {
    match kind {
        PackKind::Data => DATA,
        PackKind::Meta => META,
    }
}

/// The name of a pack.
pub fn pack_name(kind: PackKind, id: &PackId) -> String {
    ObjectName::Pack(kind, *id).to_string()
}

/// The name of an index part.
pub fn index_name(id: &ObjectHash) -> String {
    ObjectName::Index(*id).to_string()
}

/// The name of a session's snapshot, or of its tombstone.
pub fn root_name(session: &SessionId) -> String {
    ObjectName::Root(*session).to_string()
}

/// The name of a lease.
pub fn lease_name(session: &SessionId, counter: u32) -> String {
    ObjectName::Lease(*session, counter).to_string()
}

/// The name of a WAL object.
pub fn wal_name(id: &WalId) -> String {
    ObjectName::Wal(*id).to_string()
}

/// The name of a WAL ledger.
pub fn ledger_name(id: &LedgerId) -> String {
    ObjectName::Ledger(*id).to_string()
}

/// The name of a keyslot.
pub fn keyslot_name(slot: &SlotId) -> String {
    ObjectName::KeySlot(*slot).to_string()
}

/// The name of a repository's list of signers.
pub fn signers_name(repository: &RepositoryId, generation: u32) -> String {
    ObjectName::Signers(*repository, generation).to_string()
}

/// Whether this version leaves what lies at `name` to later ones.
pub fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|prefix| name.starts_with(prefix))
}

fn parse_u32(hex: &str) -> Option<u32> {
    unhex::<4>(hex).map(u32::from_be_bytes)
}

/// An id below a folder that is called by its first two digits.
fn parse_fanned(rest: &str) -> Option<[u8; 32]> {
    let (fan, id) = rest.split_once('/')?;
    if id.get(..2) == Some(fan) { unhex(id) } else { None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn names() -> impl Strategy<Value = ObjectName> {
        prop_oneof![
            Just(ObjectName::Config),
            any::<[u8; 16]>().prop_map(|id| ObjectName::KeySlot(SlotId(id))),
            any::<([u8; 16], u32)>().prop_map(|(id, n)| ObjectName::Signers(RepositoryId(id), n)),
            any::<[u8; 32]>().prop_map(|id| ObjectName::Pack(PackKind::Data, PackId(id))),
            any::<[u8; 32]>().prop_map(|id| ObjectName::Pack(PackKind::Meta, PackId(id))),
            any::<[u8; 32]>().prop_map(|id| ObjectName::Index(ObjectHash(id))),
            any::<[u8; 16]>().prop_map(|id| ObjectName::Root(SessionId(id))),
            any::<([u8; 16], u32)>().prop_map(|(id, n)| ObjectName::Lease(SessionId(id), n)),
            any::<[u8; 32]>().prop_map(|id| ObjectName::Wal(WalId(id))),
            any::<[u8; 16]>().prop_map(|id| ObjectName::Ledger(LedgerId(id))),
        ]
    }

    proptest! {
        #[test]
        fn names_round_trip_and_have_one_spelling(name in names(), at: usize, byte in 32u8..127) {
            let text = name.to_string();
            prop_assert_eq!(ObjectName::parse(&text), Some(name));
            let mut other = text.clone().into_bytes();
            let at = at % other.len();
            other[at] = byte;
            let other = String::from_utf8(other).unwrap();
            if let Some(parsed) = ObjectName::parse(&other) {
                prop_assert_eq!(parsed.to_string(), other);
            }
        }
    }

    #[test]
    fn names_are_spelled_as_the_specification_says() {
        assert_eq!(pack_name(PackKind::Meta, &PackId([0xab; 32])), format!("meta/ab/{}", "ab".repeat(32)));
        assert_eq!(lease_name(&SessionId([1; 16]), 0x1f), "leases/01010101010101010101010101010101-0000001f");
        let signers = signers_name(&RepositoryId([2; 16]), 1);
        assert_eq!(signers, "signers/02020202020202020202020202020202-00000001");
        for bad in [
            "",
            "/",
            "Config",
            "config/",
            "index/",
            "data/ab/cd",
            "keys/xyz",
            "signers/00000001",
            "nowhere/00",
        ] {
            assert_eq!(ObjectName::parse(bad), None, "{bad}");
        }
        let pack = format!("data/ac/{}", "ab".repeat(32));
        assert_eq!(ObjectName::parse(&pack), None);
        assert_eq!(wal_name(&WalId([0xcd; 32])), format!("wal/cd/{}", "cd".repeat(32)));
        assert_eq!(ledger_name(&LedgerId([3; 16])), format!("wal/ledger/{}", "03".repeat(16)));
        assert_eq!(ObjectName::parse(&format!("wal/cc/{}", "cd".repeat(32))), None);
        assert!(is_reserved("parity/00/ff") && !is_reserved("wal/00/ff"));
    }
}
