//! WAL ledgers: signed statements that segments were durable, each an object of its own with a random name.
//! A thief or a fault that removes a segment would otherwise leave no more than a hole, which a segment that
//! was never pushed leaves too.

use crate::base::id::LedgerId;
use crate::base::limits::SMALL_OBJECT_MAX;
use crate::format::header::Kind;
use crate::format::ledger::LedgerBody;
use crate::format::name::{LEDGERS, ObjectName, ledger_name};
use crate::repo::{Error, Repository, Unlocked, objects};
use crate::storage::ErrorKind;

/// Writes a ledger. What it names must be durable already (I-1).
pub fn write(repo: &Unlocked, body: &LedgerBody) -> Result<(), Error> {
    super::may_write(repo)?;
    let encoded = body.encode()?;
    let id = LedgerId(repo.random().array().map_err(Error::crypto("a new WAL ledger"))?);
    objects::create(repo, Kind::WalLedger, &ledger_name(&id), b"", &encoded).map(drop)
}

/// The ids of all ledgers. Whoever looks for what they name lists that afterwards.
pub fn list(repo: &Unlocked) -> Result<Vec<LedgerId>, Error> {
    let mut ids = Vec::new();
    repo.backend().list(LEDGERS, &mut |entry| {
        if let Some(ObjectName::Ledger(id)) = ObjectName::parse(&entry.name) {
            ids.push(id);
        }
    })?;
    ids.sort_unstable();
    Ok(ids)
}

/// Ledgers that were read, and the names of those that cannot be, with what is wrong.
pub type Ledgers = (Vec<LedgerBody>, Vec<(String, Error)>);

/// Reads the ledgers with these ids, from the cache where it has them. One that cannot be read hides no
/// other.
pub fn read_all(repo: &Repository, ids: &[LedgerId]) -> Result<Ledgers, Error> {
    let (mut ledgers, mut damaged) = (Vec::new(), Vec::new());
    for id in ids {
        let name = ledger_name(id);
        match read(repo, &name) {
            Ok(ledger) => ledgers.push(ledger),
            // Removed since it was listed.
            Err(Error::Storage(e)) if e.kind == ErrorKind::NotFound => {}
            Err(e) if e.is_about_data() => damaged.push((name, e)),
            Err(e) => return Err(e),
        }
    }
    Ok((ledgers, damaged))
}

fn read(repo: &Repository, name: &str) -> Result<LedgerBody, Error> {
    let open = |bytes: &[u8]| {
        let opened = objects::open_signed(repo, &[Kind::WalLedger], name, bytes)?;
        LedgerBody::decode(&opened.body).map_err(Error::format(name))
    };
    if let Some(kept) = repo.index().object(name)?
        && let Ok(ledger) = open(&kept)
    {
        return Ok(ledger);
    }
    let bytes = repo.backend().get(name, SMALL_OBJECT_MAX)?;
    let ledger = open(&bytes)?;
    // A cache that cannot remember it costs speed, not the answer.
    let _ = repo.index().keep_object(name, &bytes);
    Ok(ledger)
}
