//! The small objects: configuration, signers, keyslots, roots, leases, index parts; and names that
//! belong to nobody.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::base::clock::Cancel;
use crate::base::id::{PackId, WalId};
use crate::base::kind::PackKind;
use crate::format::header::Kind;
use crate::format::index::IndexPart;
use crate::format::lease::LeaseBody;
use crate::format::name::{INDEX, KEYS, ObjectName, SIGNERS, is_reserved, lease_name, root_name};
use crate::ops::Error;
use crate::ops::check::{Report, said};
use crate::repo::roots::Listing;
use crate::repo::{self, Front, Repository, index, objects};
use crate::storage::ErrorKind;

/// Names of foreign objects that a note gives.
const FOREIGN_NAMED: usize = 5;

/// Configuration, signers and keyslots.
pub fn check_trust(repo: &Repository, report: &mut Report) -> Result<(), Error> {
    let trusted =
        Front::look(repo.backend()).and_then(|front| repo::read_trust(repo.backend(), &front, repo.keys()));
    if let Err(e) = trusted {
        let object = e.object().map(str::to_owned);
        let reason = said(e)?;
        report.damage(trusted_name(repo, object)?, reason);
    }
    repo.backend().list(SIGNERS, &mut |entry| {
        if let Some(ObjectName::Signers(of, _)) = ObjectName::parse(&entry.name)
            && of != repo.id()
        {
            report.notes.push(remains(&entry.name));
        }
    })?;
    let mut usable = 0;
    for name in repo::slot_names(repo.backend())? {
        match repo::read_slot(repo.backend(), &name) {
            Ok(slot) if slot.repository != repo.id() => {
                report.notes.push(remains(&name));
            }
            Ok(_) => usable += 1,
            Err(e) => report.damage(name, said(e)?),
        }
    }
    if usable == 0 {
        report.damage(
            KEYS,
            "there is no sound keyslot left: once this program ends, nobody can open the repository",
        );
    }
    Ok(())
}

fn remains(name: &str) -> String {
    format!("{name} belongs to another repository: an init that lost a race")
}

/// The name of the object that an error of the configuration or the signers is about. One that has only
/// words for it means the list of signers, of which the newest counts.
fn trusted_name(repo: &Repository, object: Option<String>) -> Result<String, Error> {
    if let Some(name) = object.filter(|name| ObjectName::parse(name).is_some()) {
        return Ok(name);
    }
    let mut newest = SIGNERS.to_owned();
    repo.backend().list(SIGNERS, &mut |entry| {
        if let Some(ObjectName::Signers(of, _)) = ObjectName::parse(&entry.name)
            && of == repo.id()
            && entry.name > newest
        {
            newest = entry.name;
        }
    })?;
    Ok(newest)
}

/// What a listing of everything shows.
#[derive(Debug, Default)]
pub struct Listed {
    /// Packs with their sizes.
    pub packs: HashMap<(PackKind, PackId), u64>,
    /// WAL objects with their sizes.
    pub wal: Vec<(WalId, u64)>,
    leases: Vec<String>,
    /// The first few names that belong to nobody, and how many there are.
    foreign: BTreeSet<String>,
    foreign_count: u64,
}

/// Lists everything. The index must have been loaded before (I-2).
pub fn list(repo: &Repository) -> Result<Listed, Error> {
    let mut listed = Listed::default();
    repo.backend().list("", &mut |entry| match ObjectName::parse(&entry.name) {
        Some(ObjectName::Pack(kind, id)) => {
            listed.packs.insert((kind, id), entry.size);
        }
        Some(ObjectName::Wal(id)) => listed.wal.push((id, entry.size)),
        Some(ObjectName::Lease(..)) => listed.leases.push(entry.name),
        Some(_) => {}
        None if is_reserved(&entry.name) => {}
        None => {
            listed.foreign_count += 1;
            listed.foreign.insert(entry.name);
            if listed.foreign.len() > FOREIGN_NAMED {
                listed.foreign.pop_last();
            }
        }
    })?;
    Ok(listed)
}

/// Leases; objects that belong to nobody.
pub fn check_listed(repo: &Repository, listed: &Listed, report: &mut Report) -> Result<(), Error> {
    if listed.foreign_count > 0 {
        let names: Vec<&str> = listed.foreign.iter().map(String::as_str).collect();
        let more = match listed.foreign_count - names.len() as u64 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let names = names.join(", ");
        report.notes.push(format!("objects whose names mean nothing to this version: {names}{more}"));
    }
    for name in &listed.leases {
        check_lease(repo, name, report)?;
    }
    Ok(())
}

fn check_lease(repo: &Repository, name: &str, report: &mut Report) -> Result<(), Error> {
    let opened = match objects::fetch(repo, &[Kind::Lease], name) {
        Ok((opened, _)) => opened,
        // Released since it was listed.
        Err(repo::Error::Storage(e)) if e.kind == ErrorKind::NotFound => return Ok(()),
        Err(e) => {
            report.damage(name, said(e)?);
            return Ok(());
        }
    };
    match LeaseBody::decode(&opened.body) {
        Ok(lease) if lease_name(&lease.session, lease.counter) != name => {
            report.damage(name, "it belongs at another name");
        }
        Ok(lease) if lease.expires < repo.clock().now() => {
            report.notes.push(format!("{name} has expired: a session on {} died", lease.host));
        }
        Ok(_) => {}
        Err(e) => report.damage(name, e.to_string()),
    }
    Ok(())
}

/// Damaged roots, and roots that should be there.
pub fn check_roots(listing: &Listing, remembered: &[String], report: &mut Report) {
    for (name, error) in &listing.damaged {
        report.damage(name, error.to_string());
    }
    let damaged: HashSet<&str> = listing.damaged.iter().map(|(name, _)| name.as_str()).collect();
    let there: HashSet<String> = listing.snapshots.iter().map(|s| root_name(&s.id)).collect();
    for name in remembered {
        if !there.contains(name) && !damaged.contains(name.as_str()) && !listing.tombstones.contains(name) {
            report.damage(name, "it was here before and is gone or hidden");
        }
    }
    // A damaged root explains one missing predecessor; which one, it no longer says.
    let gaps = listing.gaps();
    for snapshot in gaps.iter().skip(listing.damaged.len()) {
        let reason = "the snapshot that its signer made before it is gone or hidden";
        report.damage(root_name(&snapshot.id), reason);
    }
}

/// Every index part: name, signature, seals, content.
pub fn check_index_parts(repo: &Repository, report: &mut Report, cancel: &Cancel) -> Result<(), Error> {
    let mut parts = Vec::new();
    repo.backend().list(INDEX, &mut |entry| {
        if let Some(ObjectName::Index(id)) = ObjectName::parse(&entry.name) {
            parts.push((entry.name, id));
        }
    })?;
    for (name, id) in parts {
        if cancel.is_cancelled() {
            return Err(repo::Error::Interrupted.into());
        }
        match index::read_part(repo, &id) {
            Ok(plain) => {
                if let Err(e) = IndexPart::decode(&plain) {
                    report.damage(name, e.to_string());
                }
            }
            Err(repo::Error::Storage(e)) if e.kind == ErrorKind::NotFound => {}
            Err(e) => report.damage(name, said(e)?),
        }
    }
    Ok(())
}
