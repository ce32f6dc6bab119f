//! WAL objects that a hostile writer makes: it holds the keys, so that seals and the signature are right, and
//! says what it likes.

use std::sync::LazyLock;

use kamba_vault::base::id::ObjectHash;
use kamba_vault::base::kind::PackKind;
use kamba_vault::base::secret::Secret32;
use kamba_vault::crypto::{self, AeadKey, Domain, Place};
use kamba_vault::format::header::{Header, Kind};
use kamba_vault::format::name::wal_name;
use kamba_vault::format::wal::{HEAD_LEN, WalBody};
use kamba_vault::repo::wal::open_whole;
use kamba_vault::repo::{Unlocked, objects};

use crate::forge::Counter;
use crate::vault::{VAULT, backend, cache_folder, credentials, environment};

/// Bytes of a description with its zeros.
const BODY_LEN: usize = 792;
/// Longest file that is opened: memory for all of it is taken, as it should be.
const FILE_MAX: u64 = 1 << 22;

static REPOSITORY: LazyLock<Unlocked> = LazyLock::new(|| {
    let cache = cache_folder();
    let environment = environment(backend(&VAULT.objects), cache.path());
    Unlocked::open(environment, &credentials()).expect("the repository opens")
});

/// Opens the object that `data` describes: first the description, then what is sealed as its frames.
pub fn open_forged(data: &[u8]) {
    let Some((body, mut rest)) = data.split_at_checked(BODY_LEN) else { return };
    let Ok(mut body) = WalBody::decode(body) else { return };
    if body.len > FILE_MAX {
        return;
    }
    let (keys, random, secret) = (&VAULT.keys, Counter::new(3), Secret32([5; 32]));
    let header = Header::new(Kind::Wal, keys.epoch(), keys.signer().id(), [4; 32]).encode();
    let public = keys.pack_public(PackKind::Data);
    let wrapped = crypto::wrap_key(public, keys.psk(), &keys.psk_id(), &header, &secret, &random).unwrap();
    let (key, mut frames) = (AeadKey::new(&secret), Vec::new());
    for (number, frame) in body.frames.iter().enumerate() {
        let len = frame.stored_len as usize - crypto::TAG_LEN;
        let (own, after) = rest.split_at(len.min(rest.len()));
        let mut sealed = own.to_vec();
        // What the data does not say is zeros.
        sealed.resize(len, 0);
        let place = Place { header: &header, domain: Domain::WalFrame, ordinal: number as u64, tail: b"" };
        key.seal(place, &mut sealed, 0).unwrap();
        frames.extend_from_slice(&sealed);
        rest = after;
    }
    body.stored_hash = ObjectHash(crypto::hash(&frames));
    let Ok(encoded) = body.encode() else { return };
    let mut object = objects::seal_under(keys, &header, "it", &wrapped, &encoded).unwrap();
    assert_eq!(object.len(), HEAD_LEN);
    object.extend_from_slice(&frames);
    let name = wal_name(&keys.wal_id(body.system, &body.file));
    match open_whole(&REPOSITORY, &name, &body.file, &object) {
        Ok((read, plain)) => assert!(read == body && plain.len() as u64 == body.len),
        Err(error) => assert!(error.is_about_data(), "{error}"),
    }
}
