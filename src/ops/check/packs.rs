//! Packs: whether each is there with its size, and, for those that are read, whether every byte
//! and every id is right and the index tells the truth about them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Mutex;

use rayon::prelude::*;

use crate::base::clock::Cancel;
use crate::base::id::{ChunkId, PackId};
use crate::base::kind::PackKind;
use crate::base::limits::PACK_SIZE_MAX;
use crate::base::monitor::{Count, Monitor};
use crate::crypto;
use crate::format::name::pack_name;
use crate::ops::Error;
use crate::ops::check::{BadPlaces, ReadData, Report, said};
use crate::repo::index::{PackInfo, Place};
use crate::repo::pack::{OpenPack, Scratch};
use crate::repo::read::ChunkReader;
use crate::repo::{self, Repository};

/// Compares the index with the packs that were `listed`.
pub fn check_presence(
    repo: &Repository,
    mut listed: HashMap<(PackKind, PackId), u64>,
    report: &mut Report,
    bad: &mut BadPlaces,
    monitor: &dyn Monitor,
) -> Result<(), Error> {
    monitor.phase("looking for packs", Count::Items, None);
    let mut numbers: HashMap<PackId, u32> = HashMap::new();
    repo.index().each_pack(&mut |number, pack| {
        if let Some(first) = numbers.insert(pack.id, number) {
            // Which description is right, only reading shows; readers try both.
            report.damage(pack_name(pack.kind, &pack.id), "parts of the index describe it differently");
            bad.doubtful.extend([first, number]);
            return Ok(());
        }
        let reason = match listed.remove(&(pack.kind, pack.id)) {
            Some(size) if size == pack.size => None,
            Some(size) => {
                bad.doubtful.insert(number);
                Some(format!("it has {size} bytes where the index says {}", pack.size))
            }
            None => {
                bad.packs.insert(number);
                Some("it is missing".to_owned())
            }
        };
        if let Some(reason) = reason {
            report.damage(pack_name(pack.kind, &pack.id), &reason);
            bad.reasons.insert(number, reason);
        }
        monitor.add(Count::Items, 1);
        Ok(())
    })?;
    if !listed.is_empty() {
        let bytes = crate::base::units::bytes(listed.values().sum());
        report.notes.push(format!(
            "{} packs ({bytes}) are in no index part: left by sessions that died, or of one at work now",
            listed.len()
        ));
    }
    Ok(())
}

/// Reads the packs that `read` asks for, on all cores. Those that are known to be damaged are left to
/// whoever asks for their chunks.
pub fn read_packs(
    repo: &Repository,
    read: ReadData,
    report: &mut Report,
    bad: &mut BadPlaces,
    monitor: &dyn Monitor,
    cancel: &Cancel,
) -> Result<(), Error> {
    let mut chosen = Vec::new();
    let mut plain = 0;
    repo.index().each_pack(&mut |number, pack| {
        let is_damaged = bad.packs.contains(&number) || bad.doubtful.contains(&number);
        if is_chosen(&pack.id.0, read) && !is_damaged {
            plain += pack.plain_len();
            chosen.push(number);
        }
        Ok(())
    })?;
    if chosen.is_empty() {
        return Ok(());
    }
    repo.keys().may_read(PackKind::Data)?;
    let rows = repo.index().chunks_by_pack()?;
    monitor.phase("reading packs", Count::DoneBytes, Some(plain));
    let (found, reader) = (Mutex::new((report, bad)), ChunkReader::new(repo));
    chosen.par_iter().try_for_each_init(Buffers::default, |buffers, &number| {
        if cancel.is_cancelled() {
            return Err(Error::from(repo::Error::Interrupted));
        }
        let rows = rows.get(&number).copied().unwrap_or(0);
        let outcome = read_pack(&reader, number, rows, buffers)?;
        monitor.add(Count::DoneBytes, outcome.plain);
        let mut found = found.lock().map_err(|_| repo::Error::Worker)?;
        outcome.file(number, &mut found);
        Ok(())
    })
}

/// What one thread needs, allocated once.
#[derive(Default)]
struct Buffers {
    bytes: Vec<u8>,
    scratch: Scratch,
    /// For the bases of deltas.
    bases: Scratch,
}

/// What came of reading one pack.
struct Outcome {
    name: String,
    plain: u64,
    verified: u64,
    /// Something is wrong with the pack as a whole: what can be read of it, reading must show.
    whole: Option<String>,
    /// Single places are.
    places: Vec<(Place, String)>,
    /// Places that cannot be read because of other packs.
    baseless: Vec<(Place, String)>,
}

impl Outcome {
    fn file(self, number: u32, (report, bad): &mut (&mut Report, &mut BadPlaces)) {
        report.packs_read += 1;
        report.bytes_read += self.verified;
        if self.whole.is_some() {
            bad.doubtful.insert(number);
        }
        if let Some(reason) = self.whole.or_else(|| self.places.first().map(|(_, r)| r.clone())) {
            report.damage(self.name, &reason);
            bad.reasons.insert(number, reason);
        }
        if let Some((_, reason)) = self.baseless.first() {
            bad.reasons.entry(number).or_insert_with(|| reason.clone());
        }
        bad.places.extend(self.places.into_iter().chain(self.baseless).map(|(place, _)| place));
    }
}

/// Reads pack `number`, of which the index has so many `rows`.
fn read_pack(reader: &ChunkReader, number: u32, rows: u64, buffers: &mut Buffers) -> Result<Outcome, Error> {
    let repo = reader.repo();
    let info = repo.index().pack(number)?.ok_or(repo::Error::Worker)?;
    let name = pack_name(info.kind, &info.id);
    let plain = info.plain_len();
    let mut outcome =
        Outcome { name, plain, verified: 0, whole: None, places: Vec::new(), baseless: Vec::new() };
    if info.size > PACK_SIZE_MAX {
        outcome.whole = Some(format!("{} bytes is larger than a pack may be", info.size));
        return Ok(outcome);
    }
    buffers.bytes.clear();
    if let Err(e) = repo.backend().get_range(&outcome.name, 0..info.size, &mut buffers.bytes) {
        outcome.whole = Some(said(e.into())?);
        return Ok(outcome);
    }
    let named = crypto::hash(&buffers.bytes) == info.id.0;
    match OpenPack::new(&outcome.name, info.kind, &buffers.bytes, repo.keys()) {
        Ok(pack) => {
            if !is_as_described(&info, &pack, &buffers.bytes) {
                outcome.whole =
                    Some("the index describes another content than its own directory does".into());
            }
            compare_rows(repo, number, rows, &pack, &mut outcome)?;
            {
                let Buffers { scratch, bases, .. } = buffers;
                read_segments(reader, number, &pack, scratch, bases, &mut outcome)?;
            }
        }
        Err(e) => {
            outcome.whole = Some(e.to_string());
            probe_segments(reader, number, &info, buffers, &mut outcome)?;
        }
    }
    if !named && outcome.whole.is_none() && outcome.places.is_empty() {
        outcome.whole = Some("its bytes do not hash to its name".into());
    }
    Ok(outcome)
}

fn mark_segment(info: &PackInfo, number: u32, segment: u32, reason: &str, outcome: &mut Outcome) {
    let chunks = info.segments.get(segment as usize).map_or(0, |s| s.chunk_count);
    for ordinal in 0..chunks {
        outcome.places.push((Place { pack: number, segment, ordinal }, reason.to_owned()));
    }
}

/// The index repeats the directory, so that of a pack without one what is intact can still be read.
fn probe_segments(
    reader: &ChunkReader,
    number: u32,
    info: &PackInfo,
    buffers: &mut Buffers,
    outcome: &mut Outcome,
) -> Result<(), Error> {
    let Buffers { bytes, scratch, bases } = buffers;
    let pack = match OpenPack::by_index(&outcome.name, info, bytes, reader.repo().keys()) {
        Err(e @ repo::Error::Denied { .. }) => return Err(e.into()),
        opened => opened.map_err(|e| e.to_string()),
    };
    let mut gathering = Gathering::new(reader, bases);
    for segment in 0..info.segments.len() as u32 {
        let probed = pack.as_ref().map_err(Clone::clone);
        let probed =
            probed.and_then(|pack| pack.probe(segment, scratch, &mut |b, d, o| gathering.of(b, d, o)));
        if let Err(reason) = probed {
            mark_segment(info, number, segment, &reason, outcome);
        }
    }
    gathering.end()
}

/// Gathers the bases of deltas, and tells what is wrong with a pack from what is wrong with others.
struct Gathering<'g> {
    reader: &'g ChunkReader,
    scratch: &'g mut Scratch,
    /// Whether the last bases could not be had.
    failed: bool,
    /// What ends the check.
    fatal: Option<repo::Error>,
}

impl<'g> Gathering<'g> {
    fn new(reader: &'g ChunkReader, scratch: &'g mut Scratch) -> Self {
        Gathering { reader, scratch, failed: false, fatal: None }
    }

    fn of(&mut self, bases: &[ChunkId], below: u8, out: &mut Vec<u8>) -> Result<(), String> {
        let gathered = self.reader.gather(bases, below, self.scratch, out);
        self.failed = gathered.is_err();
        gathered.map_err(|e| {
            let reason = format!("what it is coded against cannot be read: {e}");
            if !e.is_about_data() {
                self.fatal.get_or_insert(e);
            }
            reason
        })
    }

    fn end(self) -> Result<(), Error> {
        self.fatal.map_or(Ok(()), |e| Err(e.into()))
    }
}

/// Whether the index, by which readers go, says the same as the pack itself.
fn is_as_described(info: &PackInfo, pack: &OpenPack<'_>, bytes: &[u8]) -> bool {
    let key_at = info.header.len()..info.header.len() + info.wrapped.len();
    info.segments == pack.directory.segments()
        && info.lens.iter().eq(pack.directory.chunks().iter().map(|chunk| &chunk.len))
        && bytes.starts_with(&info.header)
        && bytes.get(key_at) == Some(&info.wrapped)
}

/// Compares the directory with the index both ways: every chunk must have its row, and every row its
/// chunk.
fn compare_rows(
    repo: &Repository,
    number: u32,
    rows: u64,
    pack: &OpenPack<'_>,
    outcome: &mut Outcome,
) -> Result<(), Error> {
    let mut found = 0;
    for (segment, at) in (0u32..).zip(pack.directory.segments()) {
        for (ordinal, chunk) in (0u16..).zip(pack.directory.chunks_of(at)) {
            let place = Place { pack: number, segment, ordinal };
            if repo.index().places(&chunk.id)?.contains(&place) {
                found += 1;
            } else {
                outcome.places.push((place, format!("the index names another chunk than {}", chunk.id)));
            }
        }
    }
    if rows > found {
        // Honest chunks may stand at the same places: which can be read, only reading shows.
        let claimed = || format!("the index names {} chunks that it does not hold", rows - found);
        outcome.whole.get_or_insert_with(claimed);
    }
    Ok(())
}

/// Opens every segment and recomputes every id.
fn read_segments(
    reader: &ChunkReader,
    number: u32,
    pack: &OpenPack<'_>,
    scratch: &mut Scratch,
    bases: &mut Scratch,
    outcome: &mut Outcome,
) -> Result<(), Error> {
    let (mut verified, mut wrong, mut baseless) = (0, Vec::new(), Vec::new());
    let gathering = RefCell::new(Gathering::new(reader, bases));
    pack.read_all(
        reader.repo().keys(),
        scratch,
        &mut |bases, below, out| gathering.borrow_mut().of(bases, below, out),
        &mut |_, plain| verified += plain.len() as u64,
        &mut |segment, ordinals, reason| {
            let found = (segment as u32, ordinals, format!("segment {segment}: {reason}"));
            if gathering.borrow().failed { baseless.push(found) } else { wrong.push(found) }
        },
    );
    outcome.verified = verified;
    let each = |found: Vec<(u32, Range<u16>, String)>| {
        found.into_iter().flat_map(move |(segment, ordinals, reason)| {
            ordinals.map(move |ordinal| (Place { pack: number, segment, ordinal }, reason.clone()))
        })
    };
    outcome.places.extend(each(wrong));
    outcome.baseless.extend(each(baseless));
    gathering.into_inner().end()
}

/// Whether a pack is among those to read. Chosen by name, so several machines agree.
pub(super) fn is_chosen(id: &[u8; 32], read: ReadData) -> bool {
    let mut head = [0; 8];
    head.copy_from_slice(&id[..8]);
    let number = u64::from_le_bytes(head);
    match read {
        ReadData::None => false,
        ReadData::All => true,
        ReadData::Part { part, of } => number % u64::from(of.max(1)) == u64::from(part) - 1,
        ReadData::Share { share, seed } => {
            let mixed = crypto::hash(&[&id[..], &seed.to_le_bytes()].concat());
            let mut head = [0; 8];
            head.copy_from_slice(&mixed[..8]);
            (u64::from_le_bytes(head) as f64) < share * u64::MAX as f64
        }
    }
}
