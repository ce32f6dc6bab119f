//! Objects of a later version: well formed, sealed and signed, but for readers that know more. They
//! are no damage: whoever meets them is told to use a newer program.

use std::sync::Arc;

use kamba_vault::base::class::Class;
use kamba_vault::base::clock::Cancel;
use kamba_vault::base::id::SessionId;
use kamba_vault::crypto::{Domain, Place};
use kamba_vault::format::header::{Header, Kind};
use kamba_vault::format::name::{CONFIG, SIGNERS, root_name};
use kamba_vault::format::sealed::unsigned;
use kamba_vault::repo::{self, roots};
use kamba_vault::storage::Backend;

use crate::support::views::{Model, assert_reads};
use crate::support::{self, Streams, Vault, names};

/// An object as a program of version 2 writes it, for readers that know it.
fn of_version_2(vault: &Vault, kind: Kind, clear: &[u8], body: &[u8]) -> Vec<u8> {
    written_by_version_2(vault, kind, 2, clear, body)
}

/// An object as a program of version 2 writes it.
fn written_by_version_2(vault: &Vault, kind: Kind, least_read: u8, clear: &[u8], body: &[u8]) -> Vec<u8> {
    let keys = vault.repo.keys();
    let salt = vault.repo.random().array().unwrap();
    let header =
        Header { write_version: 2, least_read, ..Header::new(kind, keys.epoch(), keys.signer().id(), salt) };
    let header = header.encode();
    let key = keys.object_key(keys.epoch(), &header).unwrap();
    let mut sealed = body.to_vec();
    let place = Place { header: &header, domain: Domain::Body, ordinal: 0, tail: clear };
    key.seal(place, &mut sealed, 0).unwrap();
    let mut object = unsigned(&header, clear, &sealed);
    let signature = keys.signer().sign(&object);
    object.extend_from_slice(&signature);
    object
}

fn assert_newer(error: &repo::Error) {
    assert_eq!(error.class(), Class::Failed, "{error}");
    assert!(error.to_string().contains("needs a program that reads format version 2"), "{error}");
    assert!(!error.to_string().contains("damaged"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("newer")), "{error}: {:?}", error.hint());
}

#[test]
fn a_repository_of_a_later_version_is_not_damaged() {
    for prefix in [CONFIG, SIGNERS] {
        let vault = Vault::new();
        let name = names(&*vault.memory, "").into_iter().find(|name| name.starts_with(prefix)).unwrap();
        let (kind, clear) = match prefix {
            CONFIG => (Kind::Config, vault.repo.id().0.to_vec()),
            _ => (Kind::Signers, Vec::new()),
        };
        vault.memory.overwrite(&name, &of_version_2(&vault, kind, &clear, b"of the future"));
        let cache = support::folder();
        let refused = support::try_open(&(vault.memory.clone() as Arc<dyn Backend>), cache.path());
        assert_newer(&refused.err().unwrap());
    }
}

#[test]
fn a_snapshot_of_a_later_version_hides_no_other_and_is_not_damaged() {
    let vault = Vault::new();
    let streams = Streams::from([("a".to_owned(), b"of today".to_vec())]);
    let id = support::snapshot_streams(&vault.repo, &streams).unwrap();
    let later = root_name(&SessionId([7; 16]));
    vault.memory.overwrite(&later, &of_version_2(&vault, Kind::Root, b"", b"of the future"));
    let other = vault.elsewhere();
    let listing = roots::list(&other.repo, &Cancel::new()).unwrap();
    let [(name, error)] = &listing.damaged[..] else { panic!("{:?}", listing.damaged) };
    assert_eq!(*name, later);
    assert_newer(error);
    assert_reads(&other.repo, &Model::from([(id, streams.clone())]));
    // It can be written beside it, too.
    support::snapshot_streams(&other.repo, &streams).unwrap();
    let report = support::check_all(&other.repo);
    assert!(report.hurt.is_empty(), "{report:#?}");
}

#[test]
fn a_configuration_that_a_later_version_wrote_makes_the_repository_read_only() {
    let vault = Vault::new();
    let streams = Streams::from([("a".to_owned(), b"of today".to_vec())]);
    let id = support::snapshot_streams(&vault.repo, &streams).unwrap();
    let body = vault.repo.config().encode().unwrap();
    let config = written_by_version_2(&vault, Kind::Config, 1, &vault.repo.id().0, &body);
    vault.memory.overwrite(CONFIG, &config);
    let other = vault.elsewhere();
    assert_reads(&other.repo, &Model::from([(id, streams.clone())]));
    let refused = support::snapshot_streams(&other.repo, &streams).unwrap_err();
    assert!(matches!(&refused, repo::Error::Newer { object } if object == CONFIG), "{refused}");
    assert!(names(&*vault.memory, "leases/").is_empty());
}
