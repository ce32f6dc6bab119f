//! What a thief, a hostile server or a hostile writer does to the repository: the input says which
//! objects change and how. A thief and a server have no keys; a writer seals and signs what it likes.

use kamba_vault::base::id::{ChunkId, ObjectHash, PackId, SessionId, SlotId};
use kamba_vault::base::kind::{ChunkKind, PackKind};
use kamba_vault::crypto;
use kamba_vault::format::header::Kind;
use kamba_vault::format::index::{self, IndexPart, PackRecord};
use kamba_vault::format::list::{ListEntry, content_len, decode_entries};
use kamba_vault::format::name::{ObjectName, index_name, pack_name, root_name};
use kamba_vault::format::node::{Node, NodeType};
use kamba_vault::format::pack::{ChunkEntry, Directory, Stored};
use kamba_vault::format::root::SnapshotKind;
use kamba_vault::format::wire::Reader;
use kamba_vault::repo::objects;

use crate::archive::Parts;
use crate::forge::{Forge, stored};
use crate::input::Input;
use crate::maker::Maker;
use crate::vault::{Objects, Vault, root};

/// Most steps of one attack.
const STEPS: usize = 8;
/// Folders in each other that one step makes.
const FOLDERS: usize = 64;
/// How many times as many in a rare one, which is slow: more than a tree may have levels.
const DEEP: usize = 66;

/// The repository after the attack that `input` describes.
pub fn attack(vault: &Vault, input: &mut Input<'_>) -> Objects {
    let forge = Forge::new(&vault.keys, 9);
    let mut attack = Attack { vault, forge, objects: vault.objects.clone(), sessions: 0x80 };
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        attack.step(input);
    }
    attack.objects
}

struct Attack<'v> {
    vault: &'v Vault,
    forge: Forge<'v>,
    objects: Objects,
    /// First byte of the next session that the attacker makes up.
    sessions: u8,
}

impl Attack<'_> {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() % 17 {
            0 => self.damage(input),
            1 => self.flip(input),
            2 => self.truncate(input),
            3 => drop(self.name(input).and_then(|name| self.objects.remove(&name))),
            4 => self.swap(input),
            5 => self.copy(input),
            6 => self.insert(input),
            7 => self.rename(input),
            8 | 9 => self.reseal(input),
            10 => self.index_bytes(input),
            11 => self.index_lies(input),
            12 => self.tree(input),
            13 => self.list(input),
            14 => self.nest(input),
            15 => self.inflate(input),
            _ => self.database(input),
        }
    }

    fn name(&self, input: &mut Input<'_>) -> Option<String> {
        let names: Vec<&String> = self.objects.keys().collect();
        input.pick(&names).map(|name| (*name).clone())
    }

    /// An object that is there, to be changed.
    fn object(&mut self, input: &mut Input<'_>) -> Option<&mut Vec<u8>> {
        let name = self.name(input)?;
        self.objects.get_mut(&name)
    }

    fn damage(&mut self, input: &mut Input<'_>) {
        if let Some(bytes) = self.object(input) {
            input.splice(bytes);
        }
    }

    fn flip(&mut self, input: &mut Input<'_>) {
        let Some(bytes) = self.object(input) else { return };
        let (at, change) = (input.below(bytes.len()), input.u8());
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= change;
        }
    }

    fn truncate(&mut self, input: &mut Input<'_>) {
        if let Some(bytes) = self.object(input) {
            bytes.truncate(input.below(bytes.len() + 1));
        }
    }

    /// Makes an object longer, by up to 4 MB.
    fn inflate(&mut self, input: &mut Input<'_>) {
        if let Some(bytes) = self.object(input) {
            bytes.resize(bytes.len() + usize::from(input.u16()) * 64, 0);
        }
    }

    fn swap(&mut self, input: &mut Input<'_>) {
        let (Some(one), Some(other)) = (self.name(input), self.name(input)) else { return };
        let (a, b) = (self.objects[&one].clone(), self.objects[&other].clone());
        self.objects.extend([(one, b), (other, a)]);
    }

    fn copy(&mut self, input: &mut Input<'_>) {
        let Some(bytes) = self.object(input).cloned() else { return };
        let session = SessionId([input.u8(); 16]);
        let name = if input.u8() & 1 == 0 { Some(root_name(&session)) } else { self.name(input) };
        self.objects.extend(name.map(|name| (name, bytes)));
    }

    fn insert(&mut self, input: &mut Input<'_>) {
        let (kind, id, len) = (input.u8(), input.u8(), input.u8());
        let bytes = input.bytes(len.into()).to_vec();
        let hash = PackId(crypto::hash(&bytes));
        let name = match kind % 8 {
            0 => slot_name(&bytes),
            1 => ObjectName::Signers(self.vault.keys.repository(), id.into()).to_string(),
            2 => ObjectName::Root(SessionId([id; 16])).to_string(),
            3 => ObjectName::Lease(SessionId([id; 16]), id.into()).to_string(),
            4 => index_name(&ObjectHash(hash.0)),
            5 => pack_name(PackKind::Data, &hash),
            6 => pack_name(PackKind::Meta, &hash),
            _ => String::from_utf8_lossy(&bytes).into_owned(),
        };
        self.objects.insert(name, bytes);
    }

    /// Damages an object and puts it where its hash says.
    fn rename(&mut self, input: &mut Input<'_>) {
        let Some(old) = self.name(input) else { return };
        let mut bytes = self.objects[&old].clone();
        input.splice(&mut bytes);
        let hash = crypto::hash(&bytes);
        let name = match ObjectName::parse(&old) {
            Some(ObjectName::Pack(kind, _)) => pack_name(kind, &PackId(hash)),
            Some(ObjectName::Index(_)) => index_name(&ObjectHash(hash)),
            Some(ObjectName::KeySlot(_)) => slot_name(&bytes),
            _ => old.clone(),
        };
        if input.u8() & 1 == 0 {
            self.objects.remove(&old);
        }
        self.objects.insert(name, bytes);
    }

    /// Changes the body of a small object, and seals and signs it again.
    fn reseal(&mut self, input: &mut Input<'_>) {
        const KINDS: [Kind; 5] = [Kind::Config, Kind::Signers, Kind::Root, Kind::Lease, Kind::Tombstone];
        let Some(name) = self.name(input) else { return };
        let opened = objects::open(&self.vault.keys, &name, &KINDS, &self.objects[&name], |_| Ok(()));
        let Ok(mut opened) = opened else { return };
        input.splice(&mut opened.body);
        if let Some(bytes) = self.forge.small(opened.header.kind, &name, &opened.clear, &opened.body) {
            self.objects.insert(name, bytes);
        }
    }

    /// Stores an index part, beside the others or in their place.
    fn put_part(&mut self, plain: &[u8], alone: bool) {
        if alone {
            self.objects.retain(|name, _| !matches!(ObjectName::parse(name), Some(ObjectName::Index(_))));
        }
        self.objects.extend([self.forge.part(plain)]);
    }

    fn index_bytes(&mut self, input: &mut Input<'_>) {
        let Some(mut plain) = input.pick(&self.vault.parts).cloned() else { return };
        input.splice(&mut plain);
        self.put_part(&plain, input.u8() & 1 == 0);
    }

    /// A part that is well made, and wrong.
    fn index_lies(&mut self, input: &mut Input<'_>) {
        let Some(plain) = input.pick(&self.vault.parts) else { return };
        let Ok(part) = IndexPart::decode(plain) else { return };
        let mut records: Vec<PackRecord> = part.packs().iter().map(|pack| part.record(pack)).collect();
        for _ in 0..=input.u8() % 4 {
            let (one, other) = (input.below(records.len()), input.below(records.len()));
            match input.u8() % 4 {
                0 => records[one].wrapped = records[other].wrapped,
                1 => records[one].id = records[other].id,
                2 => records[one].header[32 + input.below(32)] ^= input.u8(),
                _ => records[one].directory = bent(&records[one].directory, input),
            }
            records[one].size = records[one].directory.object_len();
        }
        if let Ok(plain) = index::encode(&[], &records) {
            self.put_part(&plain, input.u8() & 1 == 0);
        }
    }

    /// Commits a snapshot of `maker`'s chunks with these top entries.
    fn commit(&mut self, mut maker: Maker<'_>, kind: SnapshotKind, children: Vec<ListEntry>) {
        let chunks = maker.take_chunks();
        let kinds = [PackKind::Data, PackKind::Meta];
        let packs: Vec<_> = kinds.into_iter().filter_map(|kind| self.forge.pack(kind, &chunks)).collect();
        self.objects.extend(packs.iter().map(stored));
        let records: Vec<_> = packs.into_iter().map(|pack| pack.record).collect();
        if let Ok(plain) = index::encode(&[], &records) {
            self.put_part(&plain, false);
        }
        let session = SessionId([self.sessions; 16]);
        self.sessions = self.sessions.wrapping_add(1);
        let name = root_name(&session);
        let body = root(&self.vault.keys, session, kind, children).encode();
        let bytes = body.ok().and_then(|body| self.forge.small(Kind::Root, &name, b"", &body));
        self.objects.extend(bytes.map(|bytes| (name, bytes)));
    }

    /// A directory whose listing is any bytes.
    fn tree(&mut self, input: &mut Input<'_>) {
        let len = input.u16();
        let bytes = input.bytes(len.into());
        let mut maker = Maker::new(&self.vault.keys);
        let id = maker.chunk(ChunkKind::Tree, bytes);
        self.commit(maker, SnapshotKind::Files, vec![ListEntry::Chunk { len: bytes.len() as u32, id }]);
    }

    /// A file, or a directory, whose list is any bytes behind the depth.
    fn list(&mut self, input: &mut Input<'_>) {
        let (depth, is_folder, len) = (input.u8() % 8, input.u8() & 1 == 0, input.u16());
        let mut bytes = vec![depth];
        bytes.extend_from_slice(input.bytes(len.into()));
        let entries = decode_entries(Reader::new("list", &bytes[1..]), usize::MAX);
        let len = entries.and_then(|entries| content_len(&entries)).unwrap_or(1);
        let mut maker = Maker::new(&self.vault.keys);
        let id = maker.chunk(ChunkKind::List, &bytes);
        let mut children = vec![ListEntry::List { len, depth, id }];
        if !is_folder {
            let Ok(node) = Node::with_content("list", NodeType::File, children) else { return };
            children = maker.listing(vec![node]);
        }
        self.commit(maker, SnapshotKind::Files, children);
    }

    /// Folders in folders; each holds the one below it once or twice.
    fn nest(&mut self, input: &mut Input<'_>) {
        let (depth, how) = (input.below(FOLDERS), input.u8());
        let (depth, twice) = (if how == u8::MAX { depth * DEEP } else { depth }, how & 1 == 0);
        let mut maker = Maker::new(&self.vault.keys);
        let mut children = Vec::new();
        for _ in 0..depth {
            let folder = |name: &str| Node::with_children(name, NodeType::Directory, children.clone());
            let nodes = if twice { vec![folder("a"), folder("b")] } else { vec![folder("a")] };
            children = maker.listing(nodes);
        }
        self.commit(maker, SnapshotKind::Files, children);
    }

    /// A database with something wrong in it.
    fn database(&mut self, input: &mut Input<'_>) {
        let genuine = &self.vault.dump;
        let (mut recipe, mut info) = (genuine.recipe.clone(), self.vault.info.clone());
        let mut objects = genuine.objects.clone();
        match input.u8() % 4 {
            0 => input.splice(&mut recipe),
            1 => input.splice(&mut info),
            2 => {
                let at = input.below(objects.len());
                input.splice(&mut objects[at].1);
            }
            _ => drop(objects.remove(input.below(objects.len()))),
        }
        let mut maker = Maker::new(&self.vault.keys);
        let node = maker.database("shop", &Parts { objects, ends: Vec::new(), recipe }, &info);
        let children = maker.listing(vec![node]);
        self.commit(maker, SnapshotKind::Database, children);
    }
}

/// What a keyslot of these bytes is called.
fn slot_name(bytes: &[u8]) -> String {
    let mut id = SlotId([0; 16]);
    id.0.copy_from_slice(&crypto::hash(bytes)[..16]);
    ObjectName::KeySlot(id).to_string()
}

/// A directory that says something else of the same bytes: chunks in other places, segments with
/// other ends.
fn bent(directory: &Directory, input: &mut Input<'_>) -> Directory {
    let mut chunks: Vec<ChunkEntry> = directory.chunks().to_vec();
    let ids: Vec<ChunkId> = chunks.iter().map(|chunk| chunk.id).collect();
    for _ in 0..=input.u8() % 4 {
        let (one, other) = (input.below(chunks.len()), input.below(ids.len()));
        match input.u8() % 2 {
            0 => chunks[one].id = ids[other],
            _ => chunks[one].len = chunks[other].len,
        }
    }
    let (at, by) = (input.below(directory.segments().len()), input.u8());
    let mut made = Directory::new(directory.kind());
    for (n, segment) in directory.segments().iter().enumerate() {
        let own =
            segment.first_chunk as usize..segment.first_chunk as usize + usize::from(segment.chunk_count);
        let mut stored = Stored { len: segment.stored_len, coding: segment.coding, depth: segment.depth };
        if n == at {
            stored.len = stored.len.wrapping_add(u32::from(by)).wrapping_sub(16);
        }
        if made.push(stored, &[], &chunks[own]).is_err() {
            return directory.clone();
        }
    }
    made
}
