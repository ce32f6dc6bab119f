//! The seeds of every target, from the small repository and the code that writes: what a fuzzer starts
//! from, so that it need not find out by itself what an object looks like.

use kamba_vault::base::clock::Timestamp;
use kamba_vault::base::id::{ChunkId, ObjectHash, SignerId};
use kamba_vault::base::kind::{ChunkKind, Coding, PackKind};
use kamba_vault::base::secret::Secret32;
use kamba_vault::codec::prefix::Encoder;
use kamba_vault::codec::{Compressor, Level};
use kamba_vault::format::attrs::Unknown;
use kamba_vault::format::header::{HEADER_LEN, Header, Kind};
use kamba_vault::format::index::{self, IndexPart};
use kamba_vault::format::keyring::{Keyring, Role};
use kamba_vault::format::keyslot::{Argon, KeySlot, SlotKind, encode_key_file};
use kamba_vault::format::ledger::LedgerBody;
use kamba_vault::format::name::ObjectName;
use kamba_vault::format::node::{Node, NodeType, Xattr};
use kamba_vault::format::pack::{ChunkEntry, Directory, Stored, TRAILER_LEN};
use kamba_vault::format::wal::{WalBody, WalFrame, frame_len_for};
use kamba_vault::repo::objects;
use kamba_vault::repo::pack::{OpenPack, Scratch};

use crate::archive::{Style, Table, dump};
use crate::vault::{VAULT, Vault};

/// A seed: what it is called, and its bytes.
pub type Seed = (String, Vec<u8>);

/// The targets, and the seeds of each.
pub fn all() -> Vec<(&'static str, Vec<Seed>)> {
    let vault = &*VAULT;
    vec![
        ("chains", chains()),
        ("cluster", crate::cluster::seeds()),
        ("dump_archive", dumps(vault)),
        ("index_part", index_parts(vault)),
        ("keyslot", keyslots(vault)),
        ("object_header", headers(vault)),
        ("pack_directory", directories(vault)),
        ("repository", attacks()),
        ("root", bodies(vault)),
        ("delta", deltas()),
        ("segment", segments()),
        ("tree_and_lists", trees(vault)),
        ("tree_walk", wild_trees()),
        ("view", crate::view::seeds()),
        ("wal", wal_files(vault)),
    ]
}

/// A seed.
pub fn seed(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Seed {
    (name.into(), bytes.into())
}

/// What a seed is called that comes of an object: the beginning of each part of its name.
fn file_name(object: &str) -> String {
    let parts: Vec<&str> = object.split('/').map(|part| part.get(..8).unwrap_or(part)).collect();
    parts.join("-")
}

const SMALL: [Kind; 5] = [Kind::Config, Kind::Signers, Kind::Root, Kind::Lease, Kind::Tombstone];

/// The bodies of all small objects.
fn opened(vault: &Vault) -> Vec<(String, Kind, Vec<u8>)> {
    let open = |(name, bytes): (&String, &Vec<u8>)| {
        let opened = objects::open(&vault.keys, name, &SMALL, bytes, |_| Ok(())).ok()?;
        Some((file_name(name), opened.header.kind, opened.body))
    };
    vault.objects.iter().filter_map(open).collect()
}

fn headers(vault: &Vault) -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (name, bytes) in &vault.objects {
        let plain = file_name(name);
        seeds.push(seed(format!("name-{plain}"), name.as_bytes()));
        seeds.push(seed(format!("header-{plain}"), &bytes[..HEADER_LEN]));
        if bytes.len() < 2000 {
            seeds.push(seed(format!("object-{plain}"), bytes.clone()));
        }
    }
    let config = opened(vault).into_iter().find(|(_, kind, _)| *kind == Kind::Config);
    seeds.extend(config.map(|(_, _, body)| seed("config-body", body)));
    let mut newer = Header::new(Kind::Annotation, 7, SignerId([1; 16]), [2; 32]);
    newer.write_version = 2;
    seeds.push(seed("header-newer", newer.encode()));
    seeds
}

fn keyslots(vault: &Vault) -> Vec<Seed> {
    let is_slot = |name: &&String| matches!(ObjectName::parse(name), Some(ObjectName::KeySlot(_)));
    let genuine = vault.objects.keys().find(is_slot).map(|name| vault.objects[name].clone());
    let genuine = genuine.expect("the repository has a keyslot");
    let mut slot = KeySlot::decode(&genuine).unwrap();
    slot.kind = SlotKind::Both;
    slot.argon = Argon { memory_kib: 64, passes: 1, lanes: 1 };
    let mut seeds = vec![
        seed("genuine", genuine),
        seed("two-factors", slot.encode()),
        seed("key-file", encode_key_file(&Secret32([7; 32])).as_bytes()),
    ];
    for role in [Role::Writer, Role::Reader, Role::Auditor, Role::Admin] {
        let ring = ring_of(vault.keys.ring(), role);
        seeds.push(seed(format!("keyring-{}", role.name()), ring.encode().unwrap().to_vec()));
    }
    seeds
}

/// What is left of the admin's keyring for this role, in two epochs.
fn ring_of(admin: &Keyring, role: Role) -> Keyring {
    let mut ring = admin.clone();
    ring.role = role;
    if !role.knows_data_ids() {
        (ring.id_keys.data, ring.gear) = (None, None);
    }
    let mut later = ring.epochs[0].clone();
    later.epoch += 1;
    ring.epochs.push(later);
    for epoch in &mut ring.epochs {
        epoch.data_private = epoch.data_private.take().filter(|_| role.reads_data());
        epoch.meta_private = epoch.meta_private.take().filter(|_| role.reads_meta());
    }
    ring
}

/// The packs and their kinds.
fn packs(vault: &Vault) -> impl Iterator<Item = (PackKind, &Vec<u8>)> {
    vault.objects.iter().filter_map(|(name, bytes)| match ObjectName::parse(name)? {
        ObjectName::Pack(kind, _) => Some((kind, bytes)),
        _ => None,
    })
}

fn directories(vault: &Vault) -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (n, (kind, bytes)) in packs(vault).enumerate() {
        let pack = OpenPack::new("pack", kind, bytes, &vault.keys).unwrap();
        seeds.push(seed(format!("directory-{n}"), pack.directory.encode()));
        seeds.push(seed(format!("trailer-{n}"), &bytes[bytes.len() - TRAILER_LEN..]));
    }
    let mut reserved = Directory::new(PackKind::Data);
    let chunk = |n: u8| ChunkEntry { id: ChunkId([n; 32]), len: 1000, kind: ChunkKind::Data };
    for (n, coding, depth) in [(1, Coding::Prefix, 3), (2, Coding::Dictionary, 0), (3, Coding::Zstd, 0)] {
        let bases: &[ChunkId] = if coding == Coding::Zstd { &[] } else { &[ChunkId([9; 32])] };
        reserved.push(Stored { len: 90, coding, depth }, bases, &[chunk(n), chunk(n + 10)]).unwrap();
    }
    seeds.push(seed("reserved-codings", reserved.encode()));
    seeds
}

fn index_parts(vault: &Vault) -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (n, plain) in vault.parts.iter().enumerate() {
        seeds.push(seed(format!("plain-{n}"), plain.clone()));
        let part = IndexPart::decode(plain).unwrap();
        let records: Vec<_> = part.packs().iter().map(|pack| part.record(pack)).collect();
        let supersedes = [ObjectHash([1; 32]), ObjectHash([2; 32])];
        seeds.push(seed(format!("superseding-{n}"), index::encode(&supersedes, &records[..1]).unwrap()));
    }
    let objects = vault.objects.iter().filter(|(name, _)| name.starts_with("index/"));
    seeds.extend(objects.enumerate().map(|(n, (_, bytes))| seed(format!("object-{n}"), bytes.clone())));
    seeds
}

/// A file of so many bytes, of which the last are zeros: its description, and after it the frames as they
/// stand before they are sealed.
fn wal_object(vault: &Vault, plain: &[u8], coding: Coding) -> Vec<u8> {
    let framed = plain.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut coded = plain[..framed].to_vec();
    if coding == Coding::Zstd {
        let whole = Compressor::new(Level::Thorough).unwrap().compress(&plain[..framed], &mut coded).unwrap();
        assert_eq!(whole, kamba_vault::codec::Coded::Zstd);
    }
    let body = WalBody {
        system: 7_293_847_561_029_384_756,
        file: "00000001000000000000000A".into(),
        len: plain.len() as u64,
        id: vault.keys.chunk_id(ChunkKind::Data, plain),
        frame_len: frame_len_for(plain.len() as u64),
        frames: vec![WalFrame { stored_len: coded.len() as u32 + 16, coding }],
        zeros: (plain.len() - framed) as u64,
        stored_hash: ObjectHash([1; 32]),
        pushed: Timestamp(5),
        magic: Some(0xD110),
        segment_size: Some(1 << 20),
        unknown: Unknown::default(),
    };
    [body.encode().unwrap(), coded].concat()
}

fn wal_files(vault: &Vault) -> Vec<Seed> {
    let ledger = LedgerBody {
        system: 7_293_847_561_029_384_756,
        timeline: 2,
        segment_size: 1 << 24,
        ranges: vec![64..=70, 72..=127],
        missed: vec![128..=130],
        when: Timestamp(7),
        unknown: Unknown::default(),
    };
    let mut page = vec![0x10, 0xD1, 2, 0, 1, 0, 0, 0];
    page.extend(0x0A00_0000u64.to_le_bytes());
    page.extend([0; 8]);
    page.extend(7_293_847_561_029_384_756u64.to_le_bytes());
    page.extend((1u32 << 24).to_le_bytes());
    page.extend(8192u32.to_le_bytes());
    let mut plain = page.clone();
    plain.extend(b"a record of a row ".repeat(40));
    plain.resize(2000, 0);
    vec![
        seed("name", "00000001000000000000000A.00000028.backup"),
        seed("segment", "00000001000000000000000A"),
        seed("history", "1\t0/30000D8\tno recovery target specified\n# by hand\n 2\t0/5000000\n"),
        seed("page", page),
        seed("ledger", ledger.encode().unwrap()),
        seed("object-raw", wal_object(vault, &plain, Coding::Raw)),
        seed("object-zstd", wal_object(vault, &plain, Coding::Zstd)),
    ]
}

fn deltas() -> Vec<Seed> {
    let old = b"17\ta customer\t4\t2026-11-23\n18\tanother\t2\t2026-11-24\n".repeat(20);
    let new = [&old[..300], b"19\ta third\t1\n", &old[340..]].concat();
    let make = |name: &str, prefix: &[u8], plain: &[u8]| {
        let mut coded = Vec::new();
        Encoder::new(Level::DEFAULT).unwrap().encode(prefix, plain, &mut coded).unwrap();
        let len = (plain.len() as u32).to_le_bytes();
        seed(name, [&len[..], &(prefix.len() as u16).to_be_bytes(), prefix, &coded].concat())
    };
    vec![make("rows", &old, &new), make("the-same", &old, &old.clone()), make("nothing", b"", &new)]
}

fn segments() -> Vec<Seed> {
    let mut compressor = Compressor::new(Level::DEFAULT).unwrap();
    let mut make = |name: &str, plain: &[u8], times: usize| {
        let mut coded = Vec::new();
        compressor.compress(plain, &mut coded).unwrap();
        if coded.is_empty() {
            coded.extend_from_slice(plain);
        }
        let len = ((plain.len() * times) as u32).to_le_bytes();
        seed(name, [&len[..], &[3, 5, 1], &coded.repeat(times)].concat())
    };
    vec![
        make("rows", &b"17\ta customer\t4\t2026-11-23\n".repeat(40), 1),
        make("numbers", &(0u32..300).flat_map(u32::to_le_bytes).collect::<Vec<u8>>(), 1),
        make("raw", b"too short to shrink", 1),
        make("zeros", &vec![0; 1 << 20], 1),
        make("two-frames", &b"row after row\n".repeat(30), 2),
    ]
}

fn trees(vault: &Vault) -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (kind, bytes) in packs(vault).filter(|(kind, _)| *kind == PackKind::Meta) {
        let pack = OpenPack::new("pack", kind, bytes, &vault.keys).unwrap();
        let mut keep = |entry: &ChunkEntry, plain: &[u8]| {
            let kind = if entry.kind == ChunkKind::List { "list" } else { "tree" };
            seeds.push(seed(format!("{kind}-{}", &entry.id.to_hex()[..8]), plain));
            if entry.kind == ChunkKind::List {
                seeds.push(seed(format!("entries-{}", &entry.id.to_hex()[..8]), &plain[1..]));
            }
        };
        let no_bases = &mut |_: &[ChunkId], _, _: &mut Vec<u8>| Ok(());
        pack.read_all(&vault.keys, &mut Scratch::default(), no_bases, &mut keep, &mut |_, _, _| {});
    }
    let mut node = Node::new("all of it", NodeType::File);
    node.size = Some(0);
    node.meta.mode = Some(0o644);
    (node.meta.uid, node.meta.gid) = (Some(1000), Some(1000));
    (node.meta.user, node.meta.group) = (Some("postgres".into()), Some("postgres".into()));
    (node.meta.mtime, node.meta.atime) = (Some(Timestamp(-1)), Some(Timestamp(1 << 60)));
    node.meta.btime = Some(Timestamp(0));
    node.meta.device = Some(259);
    let xattr = |name: &str| Xattr { name: name.into(), value: b"value".to_vec() };
    node.meta.xattrs = vec![xattr("user.a"), xattr("user.b")];
    node.meta.link_group = Some(vec![1, 2]);
    node.meta.inode_flags = Some(16);
    node.meta.problem = Some("it shrank".into());
    node.meta.ctime = Some(Timestamp(-7));
    node.meta.inode = Some(12);
    let mut bytes = Vec::new();
    node.encode(&mut bytes);
    seeds.push(seed("node", bytes));
    seeds
}

fn bodies(vault: &Vault) -> Vec<Seed> {
    let bodies = opened(vault).into_iter().filter(|(_, kind, _)| *kind != Kind::Config);
    let mut seeds: Vec<Seed> = bodies.map(|(name, _, body)| seed(name, body)).collect();
    seeds.push(seed("info.json", vault.info.clone()));
    seeds
}

fn dumps(vault: &Vault) -> Vec<Seed> {
    let copy = Table { name: "t", is_copy: true, rows: &[b"1\tone", b"2\ttwo", b"\\.", b"", b"5\tfive"] };
    let inserts = Table { name: "i", is_copy: false, rows: &[b"INSERT INTO i VALUES (1);\n", b"\n"] };
    let empty = Table { name: "e", is_copy: true, rows: &[] };
    let tables = [copy, inserts, empty];
    let objects: [(u32, &[u8]); 2] = [(7, b"some large bytes"), (8, b"")];
    let mut seeds = Vec::new();
    for (minor, int_size, frame) in [(12, 4, 0), (14, 4, 0), (14, 8, 7), (15, 5, 1), (16, 4, 64)] {
        let bytes = dump(Style { minor, int_size, frame }, &tables, &objects);
        let control = [frame as u8 + 3, minor, 6, 0, 1, 0];
        seeds.push(seed(format!("v1.{minor}-int{int_size}-frame{frame}"), [&control[..], &bytes].concat()));
    }
    let bytes = dump(Style { minor: 14, int_size: 4, frame: 0 }, &[], &[]);
    seeds.push(seed("nothing", [&[0; 6][..], &bytes].concat()));
    seeds.push(seed("plain-sql", [&[1; 6][..], b"--\n-- PostgreSQL database dump\n--\n"].concat()));
    seeds.push(seed("recipe", [&[0; 6][..], &vault.dump.recipe].concat()));
    seeds
}

/// A file of a wild tree whose name has this number, with the content of the files outside.
fn wild_file(name: u8) -> Vec<u8> {
    [&[name, 0, 1, 3, 0, 0], PLAIN_META].concat()
}

fn wild_link(name: u8, to: u8) -> Vec<u8> {
    [&[name, 13], PLAIN_META, &[to]].concat()
}

fn wild_folder(name: u8, listing: &[u8], more: u8) -> Vec<u8> {
    [&[name, 3], listing, &[more], PLAIN_META].concat()
}

/// A listing that is stored in that way.
fn wild_listing(nodes: &[Vec<u8>], how: u8) -> Vec<u8> {
    // Behind it a byte for each chunk and list, which is no lie.
    [&[nodes.len() as u8][..], &nodes.concat(), &[how], &vec![0; nodes.len() + 2]].concat()
}

/// Nothing special but a mode, and a time of 1970.
const PLAIN_META: &[u8] = &[0, 0xa4, 1, 9, 0, 0, 0, 0, 0, 0, 0];

/// A copy of a chunk, in the pack of the one before: its place, what is wrong with it, its depth, its bases.
fn copy(chunk: u8, wrong: u8, depth: u8, bases: &[u8]) -> Vec<u8> {
    [&[1, chunk, (bases.len() as u8) << 4 | wrong, depth], bases].concat()
}

/// Repositories of copies of chunks: see `chains`.
fn chains() -> Vec<Seed> {
    const HONEST: u8 = 4;
    let (whole, delta) =
        (|chunk| copy(chunk, HONEST, 0, &[]), |chunk, depth, base| copy(chunk, HONEST, depth, &[base]));
    let all: Vec<Vec<u8>> = (0..6).map(whole).collect();
    let chain = || (1..6).map(|n| delta(n, n, n - 1)).collect::<Vec<_>>();
    let with = |first: Vec<Vec<u8>>, then: Vec<Vec<u8>>| [first, then].concat();
    let scenes = [
        ("all-whole", all),
        ("one-chain", with(vec![whole(0)], chain())),
        ("no-end", chain()),
        ("cycle", vec![delta(0, 5, 1), delta(1, 5, 0)]),
        ("cycle-that-sinks", vec![delta(0, 5, 1), delta(1, 4, 0), delta(0, 3, 1), delta(1, 2, 0)]),
        ("itself", vec![delta(0, 1, 0), delta(0, 2, 0)]),
        ("nobody", vec![delta(0, 1, 6)]),
        ("deepest", vec![whole(0), delta(1, 32, 0), delta(2, 33, 0)]),
        ("two-copies", vec![whole(0), copy(1, 0, 1, &[0]), delta(1, 7, 0), delta(2, 8, 1), delta(3, 7, 1)]),
        ("each-on-the-other", vec![whole(0), delta(1, 1, 0), whole(1), delta(0, 1, 1)]),
        (
            "bomb-below",
            vec![copy(0, 2, 0, &[]), copy(0, 2, 1, &[1]), whole(1), delta(2, 2, 0), copy(3, 3, 1, &[1])],
        ),
        ("another", vec![copy(0, 1, 0, &[]), delta(1, 1, 0), whole(2), copy(3, 1, 1, &[2]), delta(4, 2, 3)]),
        // One byte of the base is another, and nothing is taken from there.
        (
            "wrong-base-that-is-enough",
            vec![delta(0, 5, 1), delta(1, 3, 0), [copy(0, 0, 0, &[]), vec![0, 7, 0, 1, 1, 1]].concat()],
        ),
        (
            "three-bases",
            vec![
                whole(0),
                whole(1),
                whole(2),
                copy(3, HONEST, 1, &[2, 0, 1]),
                copy(4, HONEST, 2, &[3, 3, 6]),
            ],
        ),
    ];
    let scene = |(name, copies): (&str, Vec<Vec<u8>>)| {
        let seeds = [1, 2, 3, 4, 5, 6];
        seed(
            name,
            [&seeds[..], &[copies.len() as u8 - 1], &copies.concat(), &[1, 1, 50, 0, 3, 4, 9, 9, 9, 9]]
                .concat(),
        )
    };
    scenes.map(scene).into()
}

/// Wild trees, each restored in a few ways.
/// Programs that write trees, and what they are called.
pub(crate) fn wild_programs() -> Vec<Seed> {
    let [a, b, d, e, f, sub] = [48, 49, 51, 52, 53, 54];
    let one = |node: Vec<u8>, how| wild_listing(&[node], how);
    let below = one(wild_file(f), 1);
    let mut trees: Vec<(String, Vec<u8>)> =
        (a..a + 24).map(|name| (format!("name-{}", name - a), one(wild_file(name), 1))).collect();
    let mut add = |name: &str, tree: Vec<u8>| trees.push((name.into(), tree));
    add("empty", vec![0]);
    add("link-and-below", wild_listing(&[wild_link(a, 1), wild_folder(a, &below, 0)], 0xf1));
    add("below-and-link", wild_listing(&[wild_folder(a, &below, 0), wild_link(a, 1)], 1));
    add(
        "names-of-all",
        wild_listing(&[wild_file(a), wild_file(b), wild_link(d, 3), wild_folder(e, &below, 0)], 0),
    );
    add("through-a-list", wild_listing(&[wild_folder(a, &wild_listing(&[wild_file(b)], 8), 0)], 8));
    add("two-of-one-name", wild_listing(&[wild_file(a), wild_file(a)], 0x11));
    for (name, more) in [("nest-3", 0xf0), ("nest-20", 0xf1), ("nest-200", 0xf2), ("nest-4200", 0xf3)] {
        add(name, one(wild_folder(d, &below, more), 0));
    }
    let twins =
        one(wild_folder(sub, &one(wild_folder(d, &one(wild_folder(e, &below, 0xe0), 0), 0xe0), 0), 0xe0), 0);
    add("twins", twins);
    for kind in 7..12 {
        add(&format!("kind-{kind}"), one([&[a, kind, 1][..], PLAIN_META, &[1, 3, 0, 0]].concat(), 0));
    }
    for (n, entry) in
        [&[4, 0][..], &[4, 2], &[4, 3], &[5, 0, 16], &[6, 9], &[3, 0xff], &[0, 3, b'x', b'y', b'z', 0]]
            .into_iter()
            .enumerate()
    {
        let file = [&[a, 0, 1][..], entry, &[0], PLAIN_META].concat();
        add(&format!("content-{n}"), one(file, 0));
    }
    for bits in [2, 4, 8, 16, 32, 64, 128] {
        let meta = [bits, 0xff, 0x0f, 1, 1, 9, 9, 9, 9, 9, 9, 9, 9, 0, 4, b'a', b'b', b'c', b'd'];
        add(&format!("meta-{bits}"), one([&[a, 0, 1, 3, 0, 0][..], &meta].concat(), 0));
    }
    trees
}

fn wild_trees() -> Vec<Seed> {
    // To a new folder and over all traps, and some in another way.
    let others = [[4, 0xff], [0x7a, 0xff], [0x88, 0x11]].into_iter().cycle();
    let mut seeds = Vec::new();
    for ((name, tree), other) in wild_programs().into_iter().zip(others) {
        let mut add =
            |how: &str, way: [u8; 2]| seeds.push(seed(format!("{name}-{how}"), [&way[..], &tree].concat()));
        add("new", [2, 0]);
        add("over", [1, 0xff]);
        add("else", other);
    }
    seeds
}

/// One attack of each kind: the first byte says whether to write, the second is the step.
fn attacks() -> Vec<Seed> {
    let steps: [(&str, &[u8]); 25] = [
        ("none", &[]),
        ("damage", &[0, 3, 0, 1, 40, 0, 2, 3, b'a', b'b', b'c', 0, 1, 5, 0]),
        ("flip", &[1, 4, 0, 200, 0, 1]),
        ("truncate", &[2, 5, 0, 99, 0]),
        ("remove", &[3, 2, 0]),
        ("swap", &[4, 1, 0, 2, 0]),
        ("copy-root", &[5, 9, 0, 0x77, 0]),
        ("copy", &[5, 9, 0, 0x77, 1, 10, 0]),
        ("insert-signers", &[6, 1, 9, 4, 1, 2, 3, 4]),
        ("insert-pack", &[6, 5, 9, 4, 1, 2, 3, 4]),
        ("insert-marks", &[6, 7, 0, 7, b'm', b'a', b'r', b'k', b's', b'/', b'x']),
        ("rename", &[7, 3, 0, 0, 100, 0, 1, 1, 1, 0]),
        ("reseal", &[8, 0, 0, 0, 20, 0, 1, 1, 3]),
        ("reseal-root", &[9, 10, 0, 0, 90, 0, 0, 2, 1, 2]),
        ("index-bytes", &[10, 0, 0, 0, 60, 1, 1, 1, 9, 0]),
        ("index-lies-ids", &[11, 0, 0, 0, 0, 0, 0, 0, 3, 0, 3, 0, 4, 0, 0, 1, 0, 16, 0]),
        ("index-lies-wrapped", &[11, 0, 0, 0, 0, 0, 1, 0, 0, 0]),
        ("tree", &[12, 9, 0, 8, 1, 1, b'x', 3, 1, 2, 31, 1, 0]),
        ("list-zeros", &[13, 0, 1, 7, 0, 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        ("list-folder", &[13, 0, 0, 3, 0, 2, 5, 0]),
        ("nest-deep", &[14, 63, 0, 0xff]),
        ("nest-twice", &[14, 40, 0, 0]),
        ("inflate", &[15, 10, 0, 0xff, 0xff]),
        ("recipe", &[16, 0, 0, 4, 0, 1, 1, 9]),
        ("info", &[16, 1, 0, 90, 0, 1, 1, b'9']),
    ];
    let only_reading = steps.map(|(name, step)| seed(name, [&[0], step].concat()));
    let and_writing = steps.map(|(name, step)| seed(format!("{name}-write"), [&[1], step].concat()));
    // Several at once, so that long inputs are tried from the beginning.
    let together = (0u8..).zip(steps.chunks(5)).map(|(n, some)| {
        let program: Vec<u8> = some.iter().flat_map(|(_, step)| step.iter().copied()).collect();
        seed(format!("together-{n}"), [&[n % 2], &program[..]].concat())
    });
    only_reading.into_iter().chain(and_writing).chain(together).collect()
}
