//! `init`: a new repository. Keyslot first, then the list of signers, the configuration last: a
//! place without a configuration is no repository, so an `init` that dies leaves nothing that
//! looks like one, and of two at once the one that creates the configuration wins (I-4).

use crate::base::clock::Clock;
use crate::base::id::RepositoryId;
use crate::base::limits::{CHUNK_AVG_DEFAULT, DELTA_DEPTH_DEFAULT, PASSPHRASE_MAX};
use crate::chunker::Settings;
use crate::crypto::{ArgonCost, KeyPair, Random, Signer};
use crate::format::attrs::Unknown;
use crate::format::config::{self, ConfigBody};
use crate::format::header::Kind;
use crate::format::keyring::{EpochKeys, IdKeys, Keyring, Role};
use crate::format::name::{CONFIG, signers_name};
use crate::format::signers::{
    FIRST_GENERATION, RIGHT_ADMIN, RIGHT_CONDEMN, RIGHT_INDEX, RIGHT_SNAPSHOT, SignerEntry, SignersBody,
};
use crate::repo::keys::Keys;
use crate::repo::unlock::make_slot;
use crate::repo::{Credentials, Error, objects};
use crate::storage::{Backend, ErrorKind, LookFirst, Probe, Probed, probe};

/// How a repository is made.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// Average length of a chunk in bytes.
    pub chunk_avg: u32,
    /// What the repository is for, in the user's words.
    pub description: Option<String>,
    /// What the first keyslot is called.
    pub label: String,
    /// Cost of a passphrase.
    pub cost: ArgonCost,
}

impl Default for InitOptions {
    fn default() -> Self {
        InitOptions {
            chunk_avg: CHUNK_AVG_DEFAULT,
            description: None,
            label: "first".into(),
            cost: ArgonCost::DEFAULT,
        }
    }
}

/// Creates a repository and its first keyslot, for an admin. Answers its id and what the backend
/// was found to guarantee.
pub fn init(
    backend: &dyn Backend,
    credentials: &Credentials,
    options: &InitOptions,
    clock: &dyn Clock,
    random: &dyn Random,
) -> Result<(RepositoryId, Probe), Error> {
    let settings = Settings::new(options.chunk_avg).map_err(|e| Error::Usage(e.to_string()))?;
    if credentials
        .passphrase
        .as_ref()
        .is_some_and(|p| p.bytes().is_empty() || p.bytes().len() > PASSPHRASE_MAX)
    {
        return Err(Error::Usage(format!("a passphrase has 1 to {PASSPHRASE_MAX} bytes")));
    }
    if backend.stat(CONFIG)?.is_some() {
        return Err(Error::AlreadyThere { location: backend.location() });
    }
    let probed = probe(backend)?;
    if !probed.read_back || !probed.list_after_write {
        return Err(Error::Usage(format!(
            "{} does not give back or list what was just stored: it cannot hold a repository",
            backend.location()
        )));
    }
    // Such a place is not as it was opened: from here on nothing may be overwritten (I-4).
    let careful = LookFirst::new(backend);
    let backend = if probed.create_if_absent == Probed::Ignored { &careful } else { backend };
    let ring = new_ring(options, clock, random)?;
    let repository = ring.repository;
    let (slot_name, slot) = make_slot(&ring, credentials, options.cost, random)?;
    backend.put_new(&slot_name, &slot)?;
    let keys = Keys::new(ring)?;
    write_signers(backend, &keys, options, random)?;
    let body = ConfigBody {
        repository,
        chunk_avg: settings.avg(),
        chunk_min: settings.min(),
        chunk_max: settings.max(),
        delta_depth: DELTA_DEPTH_DEFAULT,
        created: clock.now(),
        probe: recorded(&probed),
        description: options.description.clone(),
        unknown: Unknown::default(),
    };
    let body = body.encode()?;
    let bytes = objects::seal(&keys, random, Kind::Config, CONFIG, &repository.0, &body)?;
    match backend.put_new(CONFIG, &bytes) {
        Ok(()) => Ok((repository, probed)),
        Err(e) if e.kind == ErrorKind::Exists => Err(Error::AlreadyThere { location: backend.location() }),
        Err(e) => Err(e.into()),
    }
}

fn recorded(probed: &Probe) -> config::Probe {
    let create = match probed.create_if_absent {
        Probed::Atomic => config::CreateIfAbsent::Atomic,
        Probed::LookFirst => config::CreateIfAbsent::LookFirst,
        Probed::Ignored => config::CreateIfAbsent::Ignored,
    };
    config::Probe { create_if_absent: Some(create), list_after_write: Some(probed.list_after_write) }
}

/// Every key of a new repository.
fn new_ring(options: &InitOptions, clock: &dyn Clock, random: &dyn Random) -> Result<Keyring, Error> {
    let new = || random.secret().map_err(Error::crypto("the new keyring"));
    let signing_seed = new()?;
    let (data, meta) = (KeyPair::from_seed(&new()?), KeyPair::from_seed(&new()?));
    Ok(Keyring {
        role: Role::Admin,
        repository: RepositoryId(random.array().map_err(Error::crypto("the new keyring"))?),
        label: options.label.clone(),
        admin_public: Signer::new(&signing_seed).public(),
        signing_seed,
        id_keys: IdKeys { data: Some(new()?), list: new()?, tree: new()? },
        gear: Some(new()?),
        epochs: vec![EpochKeys {
            epoch: 1,
            index_key: new()?,
            psk: new()?,
            data_public: data.public,
            meta_public: meta.public,
            data_private: Some(data.private),
            meta_private: Some(meta.private),
        }],
        created: clock.now(),
        unknown: Unknown::default(),
    })
}

/// The first list of signers: the admin itself. What an `init` that died or lost a race left is never
/// removed (its maker may yet win) and in nobody's way: its name is that of another repository.
fn write_signers(
    backend: &dyn Backend,
    keys: &Keys,
    options: &InitOptions,
    random: &dyn Random,
) -> Result<(), Error> {
    let rights = RIGHT_SNAPSHOT | RIGHT_INDEX | RIGHT_CONDEMN | RIGHT_ADMIN;
    let body = SignersBody {
        generation: FIRST_GENERATION,
        repository: keys.repository(),
        entries: vec![SignerEntry::new(keys.signer().public(), rights, options.label.clone())],
        unknown: Unknown::default(),
    };
    let name = signers_name(&keys.repository(), FIRST_GENERATION);
    let body = body.encode()?;
    let bytes = objects::seal(keys, random, Kind::Signers, &name, b"", &body)?;
    backend.put_new(&name, &bytes).map_err(Error::from)
}
