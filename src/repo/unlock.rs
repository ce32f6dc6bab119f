//! From a passphrase or key file to keys, and from keys to trust: which signers count, and what
//! the configuration says. Nothing that is not signed by the admin is believed.

use zeroize::Zeroizing;

use crate::base::id::{RepositoryId, SignerId, SlotId};
use crate::base::limits::{DERIVATIONS_MAX, SMALL_OBJECT_MAX};
use crate::base::secret::{Secret32, SecretBytes};
use crate::crypto::{self, AeadKey, ArgonCost, Domain, Place, Random, SlotSecret, Verifier};
use crate::format::config::ConfigBody;
use crate::format::header::{Header, Kind};
use crate::format::keyring::Keyring;
use crate::format::keyslot::{self, Argon, KeySlot, SlotKind};
use crate::format::name::{CONFIG, KEYS, ObjectName, SIGNERS, keyslot_name, signers_name};
use crate::format::sealed::SealedObject;
use crate::format::signers::SignersBody;
use crate::repo::keys::{Keys, Signers};
use crate::repo::{Error, objects};
use crate::storage::{Backend, ErrorKind};

/// What the user has to unlock with: a passphrase, a key file, or both.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// The passphrase.
    pub passphrase: Option<SecretBytes>,
    /// The key in the key file.
    pub key_file: Option<Secret32>,
}

impl Credentials {
    /// Whether these have what a slot of this kind asks for.
    fn fit(&self, kind: SlotKind) -> bool {
        (self.passphrase.is_some() || !kind.needs_passphrase())
            && (self.key_file.is_some() || !kind.needs_key_file())
    }

    /// What these can try on a slot of this kind.
    fn secret(&self, kind: SlotKind) -> Option<SlotSecret> {
        match (kind, &self.passphrase, &self.key_file) {
            (SlotKind::Passphrase, Some(pass), _) => Some(SlotSecret::Passphrase(pass.clone())),
            (SlotKind::Both, Some(pass), Some(file)) => Some(SlotSecret::Both(pass.clone(), file.clone())),
            (SlotKind::KeyFile, _, Some(file)) => Some(SlotSecret::KeyFile(file.clone())),
            _ => None,
        }
    }

    /// The kind of slot that `init` makes of these: as strong as they are together.
    fn strongest(&self) -> Option<(SlotKind, SlotSecret)> {
        let kind = match (&self.passphrase, &self.key_file) {
            (Some(_), Some(_)) => SlotKind::Both,
            (Some(_), None) => SlotKind::Passphrase,
            (None, Some(_)) => SlotKind::KeyFile,
            (None, None) => return None,
        };
        self.secret(kind).map(|secret| (kind, secret))
    }
}

/// The text of a new key file, and the key in it.
pub fn new_key_file(random: &dyn Random) -> Result<(Zeroizing<String>, Secret32), Error> {
    let key = random.secret().map_err(Error::crypto("the new key file"))?;
    Ok((keyslot::encode_key_file(&key), key))
}

/// The key in the text of a key file.
pub fn read_key_file(text: &[u8]) -> Result<Secret32, Error> {
    keyslot::decode_key_file(text).map_err(Error::format("the key file"))
}

/// Makes a keyslot of `ring`; answers its name and bytes.
pub fn make_slot(
    ring: &Keyring,
    credentials: &Credentials,
    cost: ArgonCost,
    random: &dyn Random,
) -> Result<(String, Vec<u8>), Error> {
    const NEW: &str = "the new keyslot";
    let missing = || Error::Usage("a keyslot needs a passphrase, a key file, or both".into());
    let (kind, secret) = credentials.strongest().ok_or_else(missing)?;
    let salt = random.array().map_err(Error::crypto(NEW))?;
    let header = Header::new(Kind::KeySlot, 0, SignerId([0; 16]), salt);
    let argon = match kind {
        SlotKind::KeyFile => Argon::default(),
        _ => Argon { memory_kib: cost.memory_kib, passes: cost.passes, lanes: cost.lanes },
    };
    let clear = keyslot::clear(&header, &ring.repository, kind, argon);
    let keys = secret.keys(cost, &header.salt, &clear).map_err(Error::crypto(NEW))?;
    let mut sealed = ring.encode().map_err(Error::format(NEW))?.to_vec();
    let tail = [&clear[..], &keys.commitment].concat();
    let place = Place { header: &header.encode(), domain: Domain::Keyring, ordinal: 0, tail: &tail };
    AeadKey::new(&keys.seal).seal(place, &mut sealed, 0).map_err(Error::crypto(NEW))?;
    let slot =
        KeySlot { header, repository: ring.repository, kind, argon, commitment: keys.commitment, sealed };
    let bytes = slot.encode();
    Ok((keyslot_name(&slot_id(&bytes)), bytes))
}

/// Opens the slot with whatever of `credentials` fits it; `None` if it is for others.
fn open_slot(name: &str, slot: &KeySlot, credentials: &Credentials) -> Result<Option<Keyring>, Error> {
    let Some(secret) = credentials.secret(slot.kind) else { return Ok(None) };
    let cost =
        ArgonCost { memory_kib: slot.argon.memory_kib, passes: slot.argon.passes, lanes: slot.argon.lanes };
    let clear = slot.clear();
    let keys = secret.keys(cost, &slot.header.salt, &clear).map_err(Error::crypto(name))?;
    if !keys.commits_to(&slot.commitment) {
        return Ok(None);
    }
    let tail = [&clear[..], &slot.commitment].concat();
    let header = slot.header.encode();
    let place = Place { header: &header, domain: Domain::Keyring, ordinal: 0, tail: &tail };
    let mut sealed = Zeroizing::new(slot.sealed.clone());
    let plain = AeadKey::new(&keys.seal).open(place, &mut sealed).map_err(Error::crypto(name))?;
    let ring = Keyring::decode(plain).map_err(Error::format(name))?;
    if ring.repository != slot.repository {
        return Err(Error::damaged(name, "its keyring is another repository's"));
    }
    Ok(Some(ring))
}

/// Finds the keyslot that the credentials open. Key files are tried first: they cost nothing. So whoever
/// can add objects can keep a passphrase out, by adding slots, but not a key file.
pub fn unlock(backend: &dyn Backend, front: &Front, credentials: &Credentials) -> Result<Keys, Error> {
    let repository = front.repository_id()?;
    let mut slots = Vec::new();
    let mut damaged = None;
    for name in &front.slots {
        match read_slot(backend, name) {
            Ok(slot) if slot.repository == repository => slots.push((name.as_str(), slot)),
            // A slot of an `init` that lost a race for this place.
            Ok(_) => {}
            Err(e) if e.is_of_backend() => return Err(e),
            Err(e) => damaged = Some(e),
        }
    }
    let count = slots.len();
    slots.retain(|(_, slot)| credentials.fit(slot.kind));
    slots.sort_by_key(|(_, slot)| slot.kind.needs_passphrase());
    let free = slots.partition_point(|(_, slot)| !slot.kind.needs_passphrase());
    let skipped = slots.len().saturating_sub(free + DERIVATIONS_MAX);
    for (name, slot) in slots.iter().take(free + DERIVATIONS_MAX) {
        match open_slot(name, slot, credentials) {
            Ok(Some(ring)) => return Keys::new(ring),
            Ok(None) => {}
            Err(e) => damaged = Some(e),
        }
    }
    if count == 0 && damaged.is_none() {
        let reason = "none belongs to this repository: they are gone, or its configuration is damaged";
        return Err(Error::damaged(KEYS, reason));
    }
    // With a damaged slot about, "wrong password" could be a lie.
    Err(damaged.unwrap_or(Error::WrongKey { slots: count, skipped, location: backend.location() }))
}

/// A slot's name: so a damaged slot is told from a wrong password.
fn slot_id(bytes: &[u8]) -> SlotId {
    let mut id = [0; SlotId::LEN];
    id.copy_from_slice(&crypto::hash(bytes)[..SlotId::LEN]);
    SlotId(id)
}

/// Fetches a keyslot and checks that it is the one that its name says.
pub fn read_slot(backend: &dyn Backend, name: &str) -> Result<KeySlot, Error> {
    let bytes = backend.get(name, SMALL_OBJECT_MAX)?;
    if keyslot_name(&slot_id(&bytes)) != name {
        return Err(Error::damaged(name, "its bytes do not hash to its name"));
    }
    KeySlot::decode(&bytes).map_err(Error::format(name))
}

/// The names of all keyslots.
pub fn slot_names(backend: &dyn Backend) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    backend.list(KEYS, &mut |entry| {
        if let Some(ObjectName::KeySlot(_)) = ObjectName::parse(&entry.name) {
            names.push(entry.name);
        }
    })?;
    names.sort();
    Ok(names)
}

/// What stands at a repository's front: all that can be asked for before anything is unlocked, and so
/// is asked for at once, where a round trip costs milliseconds. Nothing of it is believed yet.
#[derive(Debug)]
pub struct Front {
    config: Vec<u8>,
    slots: Vec<String>,
    signers: Vec<(RepositoryId, u32)>,
}

impl Front {
    /// Fetches the configuration and lists keyslots and signers.
    pub fn look(backend: &dyn Backend) -> Result<Self, Error> {
        let (config, slots, signers) = std::thread::scope(|scope| {
            let slots = scope.spawn(|| slot_names(backend));
            let signers = scope.spawn(|| signer_lists(backend));
            let config = backend.get(CONFIG, SMALL_OBJECT_MAX);
            let ended = (slots.join(), signers.join());
            (config, ended.0.unwrap_or(Err(Error::Worker)), ended.1.unwrap_or(Err(Error::Worker)))
        });
        let config = config.map_err(|e| match e.kind {
            ErrorKind::NotFound => Error::NoRepository { location: backend.location() },
            _ => e.into(),
        })?;
        Ok(Front { config, slots: slots?, signers: signers? })
    }

    /// The repository's id from the clear part of its configuration.
    fn repository_id(&self) -> Result<RepositoryId, Error> {
        let object = SealedObject::parse(&self.config, &[Kind::Config]).map_err(Error::format(CONFIG))?;
        let id = object.clear.try_into();
        id.map(RepositoryId).map_err(|_| Error::damaged(CONFIG, "its clear part is no repository id"))
    }

    /// The highest generation of the repository's lists of signers. Lists of other repositories are
    /// the remains of inits that failed.
    fn newest_signers(&self, repository: &RepositoryId) -> Result<u32, Error> {
        let own = self.signers.iter().filter(|(of, _)| of == repository);
        let newest = own.map(|(_, generation)| *generation).max();
        newest.ok_or_else(|| Error::damaged(SIGNERS, "there is no list of this repository's signers"))
    }
}

/// Repository and generation of every list of signers.
fn signer_lists(backend: &dyn Backend) -> Result<Vec<(RepositoryId, u32)>, Error> {
    let mut lists = Vec::new();
    backend.list(SIGNERS, &mut |entry| {
        if let Some(ObjectName::Signers(of, generation)) = ObjectName::parse(&entry.name) {
            lists.push((of, generation));
        }
    })?;
    Ok(lists)
}

/// What the admin signed.
#[derive(Debug)]
pub struct Trust {
    /// Who may sign.
    pub signers: Signers,
    /// The configuration.
    pub config: ConfigBody,
    /// Whether a later version wrote the configuration: then this one must write nothing.
    pub read_only: bool,
}

/// Reads what the admin signed: the list of signers in force and the configuration. The list of the
/// highest generation is in force, and must be sound: an older one is never taken in silence, since it
/// could bring a revoked signer back.
pub fn read_trust(backend: &dyn Backend, front: &Front, keys: &Keys) -> Result<Trust, Error> {
    let admin = Verifier::new(&keys.ring().admin_public).map_err(Error::crypto("the keyring"))?;
    let id = SignerId::of_key(&keys.ring().admin_public);
    let open = |name: &str, kind, bytes: &[u8]| {
        objects::open(keys, name, &[kind], bytes, |object| {
            if object.header.signer != id {
                return Err(Error::damaged(name, "it is not signed by this repository's admin"));
            }
            admin.verify(object.signed, &object.signature).map_err(Error::crypto(name))
        })
    };
    let name = signers_name(&keys.repository(), front.newest_signers(&keys.repository())?);
    let opened = open(&name, Kind::Signers, &backend.get(&name, SMALL_OBJECT_MAX)?)?;
    let signers = SignersBody::decode(&opened.body).map_err(Error::format(&name))?;
    if signers_name(&signers.repository, signers.generation) != name {
        return Err(Error::damaged(name, "it is another repository's or another generation's"));
    }
    let opened = open(CONFIG, Kind::Config, &front.config)?;
    let config = ConfigBody::decode(&opened.body).map_err(Error::format(CONFIG))?;
    if config.repository != keys.repository() || opened.clear != config.repository.0 {
        return Err(Error::damaged(CONFIG, "it is another repository's"));
    }
    Ok(Trust { signers: Signers::new(signers), config, read_only: opened.header.is_newer() })
}
