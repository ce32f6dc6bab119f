//! What a server sends of a cluster, however odd it is and whatever pieces it comes in.

use kamba_vault::postgres::control::{Control, invalidate_checkpoint};
use kamba_vault::postgres::label::{BackupLabel, parse_map, write_map};
use kamba_vault::postgres::lsn::Lsn;
use kamba_vault::postgres::manifest::{Manifest, Sum};
use kamba_vault::postgres::page::{PAGE, RelationFile, Verdict, checksum, verify};
use kamba_vault::postgres::tar::{self, Event, Kind, Reader};

use crate::input::Input;
use crate::seeds::{Seed, seed};

/// Takes an input: which kind of thing it is, in what pieces it comes, and its bytes.
pub fn play(data: &[u8]) {
    let mut input = Input::new(data);
    let (what, piece) = (input.u8(), usize::from(input.u16()).max(1));
    let bytes = input.rest();
    match what % 5 {
        0 => tars(bytes, piece),
        1 => manifests(bytes, piece),
        2 => controls(bytes),
        3 => labels(bytes),
        _ => pages(bytes),
    }
}

/// What a reader said of a tar, data of one entry put together.
fn entries(bytes: &[u8], piece: usize) -> (Vec<String>, Result<u64, tar::Error>) {
    let (mut said, mut reader, mut open) = (Vec::new(), Reader::new(), None::<(u64, u64)>);
    let pushed = bytes.chunks(piece).try_for_each(|piece| {
        reader.push(piece, &mut |event| -> Result<(), tar::Error> {
            match event {
                Event::Entry(entry) => {
                    assert!(open.is_none(), "an entry in an entry");
                    assert!(!entry.path.starts_with(b"/") && !entry.path.contains(&0));
                    assert!(entry.path.split(|b| *b == b'/').all(|part| !matches!(part, b"" | b"." | b"..")));
                    assert!(entry.size == 0 || entry.kind == Kind::File);
                    said.push(format!("{entry:?}"));
                    open = Some((entry.size, 0));
                }
                Event::Data(data) => {
                    let (_, came) = open.as_mut().expect("data is an entry's");
                    assert!(!data.is_empty());
                    *came += data.len() as u64;
                }
                Event::EndOfEntry => {
                    let (size, came) = open.take().expect("what ends has begun");
                    assert_eq!(size, came);
                }
            }
            Ok(())
        })
    });
    (said, pushed.and_then(|()| reader.finish()))
}

fn tars(bytes: &[u8], piece: usize) {
    let (said, ended) = entries(bytes, piece);
    assert_eq!((said, ended), entries(bytes, usize::MAX), "pieces do not matter");
}

fn manifests(bytes: &[u8], piece: usize) {
    let read = |piece: usize| {
        let mut manifest = Manifest::default();
        manifest.came(b"PG_VERSION", Sum { len: 3, crc: 0 });
        bytes.chunks(piece).try_for_each(|piece| manifest.push(piece))?;
        manifest.finish()
    };
    assert_eq!(read(piece), read(usize::MAX), "pieces do not matter");
}

fn controls(bytes: &[u8]) {
    let Ok(control) = Control::parse(bytes) else { return };
    let mut changed = bytes.to_vec();
    if invalidate_checkpoint(&mut changed).is_ok() {
        let after = Control::parse(&changed).expect("its checksum is right again");
        assert_eq!(after.system, control.system);
        assert_ne!(after.checkpoint, control.checkpoint);
    }
}

fn labels(bytes: &[u8]) {
    let _ = BackupLabel::parse(bytes);
    if let Ok(links) = parse_map(bytes) {
        let again = parse_map(&write_map(&links)).expect("what is written can be read");
        assert_eq!(again, links);
    }
    if let Some(text) = std::str::from_utf8(bytes).ok()
        && let Ok(lsn) = text.parse::<Lsn>()
    {
        assert_eq!(lsn.to_string().parse(), Ok(lsn));
    }
    if let Some(file) = RelationFile::parse(bytes) {
        assert!(bytes.iter().rev().any(u8::is_ascii_digit), "{file:?}");
    }
}

fn pages(bytes: &[u8]) {
    let mut page = vec![0; PAGE];
    let len = bytes.len().min(PAGE);
    page[..len].copy_from_slice(&bytes[..len]);
    let verdict = verify(&page, 7, Lsn(1 << 20));
    let sum = checksum(&page, 7);
    page[8..10].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(checksum(&page, 7), sum, "the sum's own place does not count");
    if !matches!(verdict, Verdict::New | Verdict::NotZero) {
        assert_eq!(verify(&page, 7, Lsn(1 << 20)), Verdict::Fine);
    }
}

/// A tar's header as PostgreSQL writes it.
fn header(name: &str, size: u64, kind: u8, link: &str) -> Vec<u8> {
    let mut block = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    for (at, digits, number) in [(100, 7, 0o600), (108, 7, 26), (116, 7, 26), (136, 11, 1_700_000_000)] {
        put(at, format!("{number:0digits$o} ").as_bytes());
    }
    put(124, format!("{size:011o} ").as_bytes());
    put(156, &[kind]);
    put(157, link.as_bytes());
    put(257, b"ustar\x0000");
    put(148, b"        ");
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:07o} ").as_bytes());
    block
}

/// A tar, a manifest, labels, a page.
pub fn seeds() -> Vec<Seed> {
    let mut tar = [header("PG_VERSION", 3, b'0', ""), b"15\n".to_vec(), vec![0; 509]].concat();
    tar.extend(header("base/", 0, b'5', ""));
    tar.extend(header("pg_tblspc/16385/", 0, b'2', "/srv/fast"));
    tar.extend(header("base/empty", 0, b'0', ""));
    tar.extend(vec![0; 1024]);
    let manifest = "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [\n{ \"Path\": \"PG_VERSION\", \"Size\": 3, \
        \"Last-Modified\": \"2026-11-28 18:00:00 GMT\", \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"00000000\" }\n],\n\
        \"Manifest-Checksum\": \"abc\"}\n";
    let label = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\nCHECKPOINT LOCATION: 0/2000060\n\
        BACKUP METHOD: streamed\nBACKUP FROM: primary\nSTART TIME: 2026-11-28 18:00:00 UTC\nLABEL: kamba\n\
        START TIMELINE: 1\n";
    let with = |what: u8, bytes: &[u8]| [&[what, 100, 0], bytes].concat();
    vec![
        seed("tar", with(0, &tar)),
        seed("tar-cut-off", with(0, &tar[..700])),
        seed("tar-with-more-behind-a-file", {
            let mut odd = tar.clone();
            odd[900] = 1;
            with(0, &odd)
        }),
        seed("manifest", with(1, manifest.as_bytes())),
        seed("label", with(3, label.as_bytes())),
        seed("map", with(3, b"16385 /srv/fast\n16390 /srv/a\\\nb\n")),
        seed("lsn", with(3, b"16/B374D848")),
        seed("relation", with(3, b"pg_tblspc/16385/PG_15_202209061/5/16384_vm.1")),
        seed("page", with(4, &[0, 0, 0, 0, 0, 0, 2, 0, 9, 9, 0, 0, 32, 0, 0, 31])),
    ]
}
