//! The small objects: configuration, signers, keyslots, roots, leases, index parts; and names that
//! belong to nobody.

use std::collections::HashSet;

use crate::base::clock::Cancel;
use crate::format::header::Kind;
use crate::format::index::IndexPart;
use crate::format::lease::LeaseBody;
use crate::format::name::{INDEX, KEYS, LEASES, ObjectName, is_reserved, lease_name, root_name};
use crate::ops::Error;
use crate::ops::check::Report;
use crate::repo::roots::Listing;
use crate::repo::{self, Repository, index, objects};
use crate::storage::ErrorKind;

/// Configuration, signers, keyslots and leases; objects that belong to nobody.
pub fn check_trust(repo: &Repository, report: &mut Report) -> Result<(), Error> {
    if let Err(e) = repo::read_trust(repo.backend(), repo.keys()) {
        report.damage("config and signers", said(e)?);
    }
    let mut usable = 0;
    for name in repo::slot_names(repo.backend())? {
        match repo::read_slot(repo.backend(), &name) {
            Ok(slot) if slot.repository != repo.id() => {
                report.notes.push(format!("{name} belongs to another repository: an init that lost a race"));
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
    let mut leases = Vec::new();
    let mut strangers = 0u64;
    repo.backend().list("", &mut |entry| match ObjectName::parse(&entry.name) {
        Some(ObjectName::Lease(..)) => leases.push(entry.name),
        Some(_) => {}
        None if is_reserved(&entry.name) => {}
        None if entry.name.starts_with(KEYS) || entry.name.starts_with(LEASES) => strangers += 1,
        None => strangers += 1,
    })?;
    if strangers > 0 {
        report.notes.push(format!("{strangers} objects have names that mean nothing to this version"));
    }
    for name in leases {
        check_lease(repo, &name, report)?;
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
            report.damage(name, "this snapshot was here before and is gone or hidden");
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

/// The words of an error that is about an object; an error of the backend itself goes up, because
/// an unreachable repository is not a damaged one.
fn said(e: repo::Error) -> Result<String, Error> {
    match e {
        repo::Error::Storage(e)
            if !matches!(e.kind, ErrorKind::NotFound | ErrorKind::TooLarge | ErrorKind::Truncated) =>
        {
            Err(e.into())
        }
        repo::Error::Interrupted => Err(e.into()),
        e => Ok(e.to_string()),
    }
}
