//! Stored content at any place: its lists are descended from the top, each a binary search; a chunk is
//! taken out of its segment, which is kept; what comes next is read ahead of a reader who goes through it
//! in order.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use crate::base::id::ChunkId;
use crate::base::kind::ChunkKind;
use crate::base::limits::SHORT_CONTENT;
use crate::format::list::{ListEntry, content_len};
use crate::format::node::Node;
use crate::repo::Error;
use crate::repo::index::Place;
use crate::repo::pack::Scratch;
use crate::repo::read::{ChunkReader, LoadedPack, Loader, read_list};
use crate::vfs::open::ReadCache;
use crate::vfs::open::ahead::{Job, LEAST};
use crate::vfs::open::cache::{Segment, Turn};
use crate::vfs::open::level::Level;
use crate::vfs::open::streams::Streams;

/// The content of a stored file.
pub struct Content {
    stored: Arc<Stored>,
    /// Who goes through it in order.
    streams: Mutex<Streams>,
}

/// What is stored of it, shared with those who read ahead.
pub struct Stored {
    pub(super) reader: Arc<ChunkReader>,
    pub(super) cache: Arc<ReadCache>,
    name: String,
    top: Level,
    /// Where some of its chunks lie, as far as that was looked up beforehand.
    places: Vec<(ChunkId, Place)>,
}

/// Where a chunk lies.
pub struct Found {
    pub(super) id: ChunkId,
    pub(super) place: Place,
    pub(super) pack: Arc<LoadedPack>,
}

impl Content {
    /// The content of `node`.
    pub fn open(reader: Arc<ChunkReader>, cache: Arc<ReadCache>, node: &Node) -> Result<Self, Error> {
        Self::open_placed(reader, cache, node, Vec::new())
    }

    /// The content of `node`, of which some chunks lie at `places`.
    pub fn open_placed(
        reader: Arc<ChunkReader>,
        cache: Arc<ReadCache>,
        node: &Node,
        places: Vec<(ChunkId, Place)>,
    ) -> Result<Self, Error> {
        let name = String::from_utf8_lossy(&node.name).into_owned();
        let top = Self::top(&name, node.size.unwrap_or(0), &node.content)?;
        let stored = Arc::new(Stored { reader, cache, name, top, places });
        Ok(Content { stored, streams: Mutex::default() })
    }

    /// Content of `size` bytes, as is said elsewhere than in its lists, whose top `entries` these are.
    pub fn new(
        reader: Arc<ChunkReader>,
        cache: Arc<ReadCache>,
        name: String,
        size: u64,
        entries: &[ListEntry],
    ) -> Result<Self, Error> {
        let top = Self::top(&name, size, entries)?;
        let stored = Arc::new(Stored { reader, cache, name, top, places: Vec::new() });
        Ok(Content { stored, streams: Mutex::default() })
    }

    fn top(name: &str, size: u64, entries: &[ListEntry]) -> Result<Level, Error> {
        let len = content_len(entries).map_err(Error::format(name))?;
        if len != size {
            let reason = format!("its lists say that it has {len} bytes, and its entry says {size}");
            return Err(Error::damaged(name, reason));
        }
        Ok(Level::new(entries.to_vec()))
    }

    /// An error that says what is wrong with it.
    pub fn damaged(&self, reason: &str) -> Error {
        Error::damaged(&self.stored.name, reason)
    }

    pub(super) fn stored(&self) -> &Stored {
        &self.stored
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.stored.top.len()
    }

    /// Appends the `len` bytes at `offset`, fewer only at the end.
    pub fn read_at(&self, offset: u64, len: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        let end = offset.saturating_add(len as u64).min(self.size());
        if offset >= end {
            return Ok(());
        }
        self.read_ahead(offset..end)?;
        self.stored.read(offset..end, out)
    }

    /// Has what follows `range` read by others, if somebody goes through the content in order.
    fn read_ahead(&self, range: Range<u64>) -> Result<(), Error> {
        // What is shorter is in a segment or two, which come whole.
        if self.size() < LEAST {
            return Ok(());
        }
        let ahead = self.stored.cache.ahead();
        let is_local = self.stored.reader.repo().backend().is_local();
        let reach = ahead.reach(is_local, self.stored.cache.limit());
        let mut streams = self.streams.lock().map_err(|_| Error::Worker)?;
        let Some(stream) = streams.next(&range, reach) else { return Ok(()) };
        let step = ahead.step(is_local);
        while let Some(next) = stream.next_step(step, self.size()) {
            let (stored, end) = (Arc::downgrade(&self.stored), next.end);
            if !ahead.push(Job::Content { stored, range: next, passed: stream.passed() }, is_local) {
                break;
            }
            stream.pushed(end);
        }
        Ok(())
    }
}

impl Stored {
    fn read(&self, range: Range<u64>, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut at = range.start;
        while at < range.end {
            let (entry, start) = self.leaf(at)?;
            let from = at - start;
            let to = entry.content_len().min(range.end - start);
            match entry {
                ListEntry::Chunk { id, len } => {
                    self.append(&id, len as usize, from as usize..to as usize, out)?;
                }
                _ => out.resize(out.len() + (to - from) as usize, 0),
            }
            at = start + to;
        }
        Ok(())
    }

    /// The entry at `offset` that is no list, and where it begins.
    pub(super) fn leaf(&self, offset: u64) -> Result<(ListEntry, u64), Error> {
        let beyond = || Error::damaged(&self.name, "its lists are shorter than they say");
        let (mut entry, mut start) = self.top.at(offset).ok_or_else(beyond)?;
        while let ListEntry::List { id, len, depth } = entry {
            let read = || read_list(&self.reader, &id, len, depth).map(Level::new);
            let level = self.cache.list(&id, read)?;
            // What is kept was read for another promise, maybe.
            if level.len() != len || !level.is_of_depth(depth) {
                let reason = format!("list chunk {id} is not what is said of it");
                return Err(Error::damaged(&self.name, reason));
            }
            let (inner, begins) = level.at(offset - start).ok_or_else(beyond)?;
            (entry, start) = (inner, start + begins);
        }
        Ok((entry, start))
    }

    /// Where the chunk lies; of several copies one that is kept, or that which goes on from `last`.
    pub(super) fn find(&self, id: &ChunkId, last: Option<&Found>) -> Result<Found, Error> {
        if let Some((_, place)) = self.places.iter().find(|(known, _)| known == id) {
            return Ok(Found { id: *id, place: *place, pack: self.reader.pack(place.pack)? });
        }
        let places = self.reader.places(id)?;
        let goes_on = |place: &&Place| {
            last.is_some_and(|last| {
                let before = last.place;
                place.pack == before.pack && (before.segment..=before.segment + 1).contains(&place.segment)
            })
        };
        let place = *places.iter().find(goes_on).or(places.first()).ok_or(Error::MissingChunk { id: *id })?;
        Ok(Found { id: *id, place, pack: self.reader.pack(place.pack)? })
    }

    /// Appends a part of a chunk that has `len` bytes.
    fn append(&self, id: &ChunkId, len: usize, part: Range<usize>, out: &mut Vec<u8>) -> Result<(), Error> {
        let of_length = |chunk: &[u8]| match chunk.len() == len {
            true => Ok(()),
            false => {
                let reason = format!("chunk {id} has another length than its list says");
                Err(Error::damaged(&self.name, reason))
            }
        };
        let kept = self.find(id, None).and_then(|found| Ok((self.segment(&found)?, found)));
        let taken = kept.and_then(|(segment, found)| {
            let chunk = segment.chunk(&self.reader, &found.pack, found.place, id)?;
            of_length(chunk)?;
            out.extend_from_slice(&chunk[part.clone()]);
            Ok(())
        });
        match taken {
            Err(e) if e.is_about_data() => {}
            taken => return taken,
        }
        // From wherever else it is, and every step looked at.
        let mut chunk = Vec::new();
        self.reader.append_chunk(ChunkKind::Data, id, &mut Scratch::default(), &mut chunk)?;
        of_length(&chunk)?;
        out.extend_from_slice(&chunk[part]);
        Ok(())
    }

    /// The segment that a chunk lies in.
    fn segment(&self, found: &Found) -> Result<Arc<Segment>, Error> {
        let is_short = self.top.len() <= SHORT_CONTENT;
        match self.cache.segment((found.pack.info.id, found.place.segment))? {
            Turn::There(segment) => {
                if is_short && segment.is_ahead.swap(false, Ordering::Relaxed) {
                    self.read_neighbours(found);
                }
                Ok(segment)
            }
            Turn::Yours(promise) => {
                let before = found.place.segment.checked_sub(1);
                if is_short
                    && before.is_some_and(|before| self.cache.peek((found.pack.info.id, before)).is_some())
                {
                    self.read_neighbours(found);
                }
                let mut loader = self.cache.loader();
                let plain = self.load(found, &mut loader);
                self.cache.give_back(loader);
                Ok(promise.keep(plain?, false))
            }
        }
    }

    /// Has the segments after one that short files lie in read: who reads one such file after another
    /// comes there next.
    fn read_neighbours(&self, found: &Found) {
        let is_local = self.reader.repo().backend().is_local();
        let job = Job::Pack {
            reader: self.reader.clone(),
            cache: Arc::downgrade(&self.cache),
            pack: found.pack.clone(),
            after: found.place.segment,
        };
        self.cache.ahead().ask_neighbours((found.pack.info.id, found.place.segment));
        self.cache.ahead().push(job, is_local);
    }

    /// Decodes the segment that a chunk lies in.
    pub(super) fn load(&self, found: &Found, loader: &mut Loader) -> Result<Vec<u8>, Error> {
        let Found { place, pack, .. } = found;
        if self.reader.is_delta(pack, *place)? {
            let mut plain = self.cache.buffer();
            self.reader.open_delta(pack, *place, loader, &mut plain)?;
            return Ok(plain);
        }
        let mut opened = Err(Error::Worker);
        let numbers = place.segment..place.segment + 1;
        let mut buffer = || self.cache.buffer();
        self.reader.open_segments(pack, numbers, loader, &mut buffer, &mut |_, segment| opened = segment)?;
        opened
    }
}
