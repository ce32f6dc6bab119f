//! An unlocked keyring at work: ids, object keys, pack keys, the signer. What a role may do follows
//! from the keys it holds (D-4); asking for a key that the role lacks is an error of its own.

use crate::base::id::{ChunkId, RepositoryId, SignerId, WalId};
use crate::base::kind::{ChunkKind, PackKind};
use crate::base::secret::Secret32;
use crate::chunker::{Chunker, GEAR_BYTES, Settings};
use crate::crypto::{self, AeadKey, Domain, Place, Signer, TAG_LEN, Verifier, WRAPPED_LEN, context};
use crate::format::header::{Header, Kind};
use crate::format::keyring::{EpochKeys, Keyring, Role};
use crate::format::signers::{RIGHT_CONDEMN, RIGHT_INDEX, RIGHT_SNAPSHOT, SignerState, SignersBody};
use crate::repo::Error;

/// Bytes of a pack's key, sealed to the signer who wrote the pack.
pub const SEALED_KEY_LEN: usize = 32 + TAG_LEN;

/// The keys of an open repository.
pub struct Keys {
    ring: Keyring,
    signer: Signer,
    current: EpochKeys,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({:?})", self.ring.role)
    }
}

/// The id of a chunk on its way.
pub struct ChunkHasher(crypto::KeyedHasher);

impl ChunkHasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The id of all that came.
    pub fn finish(self) -> ChunkId {
        ChunkId(self.0.finish())
    }
}

impl Keys {
    /// The keys in `ring`; an error if it has no epoch.
    pub fn new(ring: Keyring) -> Result<Self, Error> {
        let signer = Signer::new(&ring.signing_seed);
        let current = ring.newest().cloned();
        let current = current.ok_or_else(|| Error::damaged("the keyring", "it has no key epoch"))?;
        Ok(Keys { ring, signer, current })
    }

    /// The keyring itself.
    pub fn ring(&self) -> &Keyring {
        &self.ring
    }

    /// What these keys may do.
    pub fn role(&self) -> Role {
        self.ring.role
    }

    /// The repository they belong to.
    pub fn repository(&self) -> RepositoryId {
        self.ring.repository
    }

    /// The epoch under which new objects are written.
    pub fn epoch(&self) -> u32 {
        self.current.epoch
    }

    /// Who signs.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// The pre-shared key of the current epoch.
    pub fn psk(&self) -> &Secret32 {
        &self.current.psk
    }

    /// What the pre-shared key of the current epoch is called.
    pub fn psk_id(&self) -> [u8; 20] {
        psk_id(&self.ring.repository, self.current.epoch)
    }

    /// Whom the keys of new packs of this kind are wrapped to.
    pub fn pack_public(&self, kind: PackKind) -> &[u8; 32] {
        match kind {
            PackKind::Data => &self.current.data_public,
            PackKind::Meta => &self.current.meta_public,
        }
    }

    /// The key of a sealed object with this header; `None` for an epoch that is not in the keyring.
    pub fn object_key(&self, epoch: u32, header: &[u8; 64]) -> Option<AeadKey> {
        let epoch = self.epoch_of(epoch)?;
        Some(AeadKey::new(&crypto::derive(context::OBJECT_KEY, &[epoch.index_key.bytes(), header])))
    }

    fn epoch_of(&self, number: u32) -> Option<&EpochKeys> {
        self.ring.epoch(number)
    }

    /// Unwraps the key of a pack.
    pub fn open_pack_key(
        &self,
        name: &str,
        kind: PackKind,
        header: &[u8; 64],
        wrapped: &[u8; WRAPPED_LEN],
    ) -> Result<Secret32, Error> {
        self.unwrap(name, kind, kind.into(), header, wrapped)
    }

    /// Unwraps the key of a WAL object, which is wrapped as a data pack's.
    pub fn open_wal_key(
        &self,
        name: &str,
        header: &[u8; 64],
        wrapped: &[u8; WRAPPED_LEN],
    ) -> Result<Secret32, Error> {
        self.unwrap(name, PackKind::Data, Kind::Wal, header, wrapped)
    }

    fn unwrap(
        &self,
        name: &str,
        kind: PackKind,
        object: Kind,
        header: &[u8; 64],
        wrapped: &[u8; WRAPPED_LEN],
    ) -> Result<Secret32, Error> {
        let number = Header::decode(header, object).map_err(Error::format(name))?.epoch;
        let epoch = self
            .epoch_of(number)
            .ok_or_else(|| Error::UnknownEpoch { object: name.to_owned(), epoch: number })?;
        let (private, action) = match kind {
            PackKind::Data => (&epoch.data_private, "read file data"),
            PackKind::Meta => (&epoch.meta_private, "read file names"),
        };
        let private = private.as_ref().ok_or(Error::Denied { action, role: self.role().name() })?;
        let id = psk_id(&self.ring.repository, number);
        crypto::unwrap_key(private, &epoch.psk, &id, header, wrapped).map_err(Error::crypto(name))
    }

    /// Seals the key of a pack with this header, which this signer wrote, to itself: it keeps a copy, and
    /// what is wrapped in the pack may be for others.
    pub fn seal_own_key(
        &self,
        header: &[u8; 64],
        secret: &Secret32,
    ) -> Result<[u8; SEALED_KEY_LEN], crypto::Error> {
        let mut sealed = [0; SEALED_KEY_LEN];
        self.own_key(header).seal_into(own_place(header), secret.bytes(), &mut sealed)?;
        Ok(sealed)
    }

    /// Opens what `seal_own_key` sealed; `None` if it is not that.
    pub fn open_own_key(&self, header: &[u8; 64], sealed: &[u8; SEALED_KEY_LEN]) -> Option<Secret32> {
        let mut secret = Secret32([0; 32]);
        self.own_key(header).open_into(own_place(header), sealed, &mut secret.0).ok()?;
        Some(secret)
    }

    fn own_key(&self, header: &[u8; 64]) -> AeadKey {
        AeadKey::new(&crypto::derive(context::COPY_KEY, &[self.ring.signing_seed.bytes(), header]))
    }

    /// The key of one frame of this signer's spool.
    pub fn spool_key(&self, salt: &[u8; 32]) -> AeadKey {
        AeadKey::new(&crypto::derive(context::SPOOL_KEY, &[self.ring.signing_seed.bytes(), salt]))
    }

    /// The id of a chunk. An auditor knows no ids of data, so for it no data chunk matches.
    pub fn chunk_id(&self, kind: ChunkKind, plain: &[u8]) -> ChunkId {
        ChunkId(crypto::keyed_id(self.id_key(kind), plain))
    }

    /// Makes the id of a chunk whose bytes come piece by piece.
    pub fn chunk_hasher(&self, kind: ChunkKind) -> ChunkHasher {
        ChunkHasher(crypto::KeyedHasher::new(self.id_key(kind)))
    }

    fn id_key(&self, kind: ChunkKind) -> &Secret32 {
        let keys = &self.ring.id_keys;
        match kind {
            ChunkKind::Data => keys.data.as_ref().unwrap_or(&NO_KEY),
            ChunkKind::List => &keys.list,
            ChunkKind::Tree => &keys.tree,
        }
    }

    /// What the WAL object of this file is called. Every role can tell, and nobody without a key.
    pub fn wal_id(&self, system: u64, file: &str) -> WalId {
        let key = crypto::derive(context::WAL_NAME, &[self.ring.id_keys.list.bytes()]);
        WalId(crypto::keyed_id(&key, &[&system.to_le_bytes(), file.as_bytes()].concat()))
    }

    /// Fails unless the role may read what packs of this kind hold.
    pub fn may_read(&self, kind: PackKind) -> Result<(), Error> {
        let (private, action) = match kind {
            PackKind::Data => (&self.current.data_private, "read file data"),
            PackKind::Meta => (&self.current.meta_private, "read file names"),
        };
        private.as_ref().map(drop).ok_or(Error::Denied { action, role: self.role().name() })
    }

    /// Fails unless the role may add snapshots.
    pub fn may_write(&self) -> Result<(), Error> {
        match self.role() {
            Role::Writer | Role::Admin => Ok(()),
            role => Err(Error::Denied { action: "add snapshots", role: role.name() }),
        }
    }

    /// The repository's chunker for `settings`.
    pub fn chunker(&self, settings: Settings) -> Result<Chunker, Error> {
        let denied = Error::Denied { action: "cut data into chunks", role: self.role().name() };
        let gear = self.ring.gear.as_ref().ok_or(denied)?;
        let mut table = zeroize::Zeroizing::new([0; GEAR_BYTES]);
        crypto::expand(context::GEAR, gear, &mut table[..]);
        Ok(Chunker::new(settings, &table))
    }
}

/// The one thing that is sealed with a key of `own_key`.
fn own_place(header: &[u8; 64]) -> Place<'_> {
    Place { header, domain: Domain::Body, ordinal: 0, tail: b"" }
}

/// Stands for the key that an auditor lacks.
static NO_KEY: Secret32 = Secret32([0; 32]);

/// What the pre-shared key of an epoch is called in HPKE.
fn psk_id(repository: &RepositoryId, epoch: u32) -> [u8; 20] {
    let mut id = [0; 20];
    id[..16].copy_from_slice(&repository.0);
    id[16..].copy_from_slice(&epoch.to_le_bytes());
    id
}

/// Who may sign, as the admin's latest list says.
#[derive(Debug)]
pub struct Signers {
    body: SignersBody,
}

impl Signers {
    /// The list in `body`.
    pub fn new(body: SignersBody) -> Self {
        Signers { body }
    }

    /// The list itself.
    pub fn body(&self) -> &SignersBody {
        &self.body
    }

    /// Fails if the signer with this id was revoked: what it wrote, nobody would read.
    pub fn may_sign(&self, signer: &SignerId) -> Result<(), Error> {
        match self.body.get(signer) {
            Some(entry) if entry.state == SignerState::Active => Ok(()),
            _ => Err(Error::Denied { action: "add snapshots", role: "that of a revoked signer" }),
        }
    }

    /// Checks that `signature` is over `signed` by an active signer who may make such objects. What a
    /// revoked one signed is refused, whenever it was signed: nothing says when that was.
    pub fn verify(
        &self,
        name: &str,
        kind: Kind,
        signer: &SignerId,
        signed: &[u8],
        signature: &[u8; 64],
    ) -> Result<(), Error> {
        let entry = self.body.get(signer);
        let entry = entry.ok_or_else(|| Error::damaged(name, format!("its signer {signer} is unknown")))?;
        let right = match kind {
            Kind::Index => RIGHT_INDEX,
            Kind::Tombstone => RIGHT_CONDEMN,
            _ => RIGHT_SNAPSHOT,
        };
        if entry.state == SignerState::Revoked {
            return Err(Error::damaged(name, format!("its signer {signer} was revoked")));
        }
        if !entry.may(right) {
            return Err(Error::damaged(name, format!("its signer {signer} has no right to sign it")));
        }
        let verifier = Verifier::new(&entry.public).map_err(Error::crypto(name))?;
        verifier.verify(signed, signature).map_err(Error::crypto(name))
    }
}
