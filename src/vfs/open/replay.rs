//! Reading at any place what can only be made from a place on: a few makers stand where readers are, and
//! places on the way are kept, from which another can go on.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use crate::base::clock::Cancel;
use crate::repo::Error;

/// Makers of one open file: a reader, and a few that look here and there.
const CURSORS: usize = 4;
/// Bytes behind a maker that stay at hand: requests of one reader come out of order.
const BEHIND: usize = 1 << 20;
/// Bytes that a maker rather passes over than that another begins elsewhere.
const AHEAD: u64 = 1 << 20;
/// Least distance between places that are kept.
const SPACING: u64 = 4 << 20;
/// Places that are kept; with more, every other goes.
const PLACES: usize = 4096;
/// Bytes that are made and copied at a time, however many are asked for.
const STEP: usize = 1 << 20;

/// Makes bytes one after another.
pub trait Maker: Send {
    /// From where another can go on.
    type Place: Clone + Send;
    /// Appends the next bytes to `out`; `false` at the end. A call may append none.
    fn make(&mut self, out: &mut Vec<u8>) -> Result<bool, Error>;
    /// The place behind all bytes made so far; `None` if one cannot go on there.
    fn place(&mut self) -> Option<Self::Place>;
}

/// Where makers come from.
pub trait Makes: Send + Sync {
    /// What makes the bytes.
    type Maker: Maker;
    /// A maker at the beginning.
    fn begin(&self) -> Result<Self::Maker, Error>;
    /// A maker at a place.
    fn resume(&self, place: &<Self::Maker as Maker>::Place) -> Result<Self::Maker, Error>;
    /// The last place at or before `offset` that is known without any bytes made, and its offset.
    fn known(&self, offset: u64) -> Result<Option<(u64, <Self::Maker as Maker>::Place)>, Error>;
}

/// A file that is made while it is read.
pub struct Replay<S: Makes> {
    source: S,
    cancel: Cancel,
    state: Mutex<State<S::Maker>>,
}

struct State<M: Maker> {
    /// The one used last is the last.
    cursors: Vec<Cursor<M>>,
    places: BTreeMap<u64, M::Place>,
    spacing: u64,
    /// Its length, once it was seen.
    end: Option<u64>,
}

/// A maker, and what it made last.
struct Cursor<M> {
    maker: M,
    /// Offset of the first byte of `made`.
    begin: u64,
    made: Vec<u8>,
    ended: bool,
}

impl<M> Cursor<M> {
    fn end(&self) -> u64 {
        self.begin + self.made.len() as u64
    }
}

impl<S: Makes> Replay<S> {
    /// A file that `source` makes.
    pub fn new(source: S, cancel: Cancel) -> Self {
        let state = State { cursors: Vec::new(), places: BTreeMap::new(), spacing: SPACING, end: None };
        Replay { source, cancel, state: Mutex::new(state) }
    }

    /// Appends the `len` bytes at `offset`, fewer only at the end.
    pub fn read_at(&self, offset: u64, len: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        let (mut at, mut left) = (offset, len);
        let mut state = self.lock()?;
        while left > 0 && state.end.is_none_or(|end| at < end) {
            let wanted = left.min(STEP);
            let before = out.len();
            self.read_step(&mut state, at, wanted, out)?;
            let got = out.len() - before;
            (at, left) = (at + got as u64, left - got);
            if got < wanted {
                break;
            }
        }
        Ok(())
    }

    fn lock(&self) -> Result<MutexGuard<'_, State<S::Maker>>, Error> {
        self.state.lock().map_err(|_| Error::Worker)
    }

    fn read_step(
        &self,
        state: &mut State<S::Maker>,
        offset: u64,
        len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let mut cursor = self.cursor(state, offset)?;
        // A cursor that fails is not put back: the next reader begins anew, and learns the same.
        let end = offset.saturating_add(len as u64);
        while cursor.end() < end && !cursor.ended {
            if self.cancel.is_cancelled() {
                return Err(Error::Interrupted);
            }
            cursor.ended = !cursor.maker.make(&mut cursor.made)?;
            let at = cursor.end();
            if cursor.ended {
                state.end = Some(at);
            } else {
                state.keep_place(at, &mut cursor.maker);
            }
            if cursor.made.len() > 2 * BEHIND + STEP {
                // What comes before the wanted bytes, as far as it is not at hand for others.
                let passed = at.min(offset).saturating_sub(cursor.begin);
                let spare = cursor.made.len().saturating_sub(BEHIND).min(passed as usize);
                cursor.made.drain(..spare);
                cursor.begin += spare as u64;
            }
        }
        let from = usize::try_from(offset - cursor.begin).unwrap_or(usize::MAX).min(cursor.made.len());
        let to = cursor.made.len().min(from.saturating_add(len));
        out.extend_from_slice(&cursor.made[from..to]);
        state.cursors.push(cursor);
        Ok(())
    }

    /// The cursor from which `offset` is reached soonest.
    fn cursor(&self, state: &mut State<S::Maker>, offset: u64) -> Result<Cursor<S::Maker>, Error> {
        let usable = |cursor: &Cursor<S::Maker>| cursor.begin <= offset;
        let nearest =
            state.cursors.iter().enumerate().filter(|(_, c)| usable(c)).max_by_key(|(_, c)| c.end());
        let reached = nearest.map(|(number, cursor)| (number, cursor.end()));
        if let Some((number, end)) = reached
            && offset <= end.saturating_add(AHEAD)
        {
            return Ok(state.cursors.remove(number));
        }
        let kept = state.places.range(..=offset).next_back().map(|(at, place)| (*at, place.clone()));
        let known = if offset > AHEAD { self.source.known(offset)? } else { None };
        let place = [kept, known].into_iter().flatten().max_by_key(|(at, _)| *at);
        let from = place.as_ref().map_or(0, |(at, _)| *at);
        if let Some((number, end)) = reached
            && end >= from
        {
            return Ok(state.cursors.remove(number));
        }
        let maker = match &place {
            Some((_, place)) => self.source.resume(place)?,
            None => self.source.begin()?,
        };
        if state.cursors.len() >= CURSORS {
            state.cursors.remove(0);
        }
        Ok(Cursor { maker, begin: from, made: Vec::new(), ended: false })
    }
}

impl<M: Maker> State<M> {
    /// Keeps a place, if none is near.
    fn keep_place(&mut self, at: u64, maker: &mut M) {
        let before = self.places.range(..=at).next_back().map_or(0, |(at, _)| *at);
        let after = self.places.range(at..).next().map_or(u64::MAX, |(at, _)| *at);
        if at - before < self.spacing || after - at < self.spacing {
            return;
        }
        let Some(place) = maker.place() else { return };
        self.places.insert(at, place);
        if self.places.len() > PLACES {
            let mut is_odd = false;
            self.places.retain(|_, _| {
                is_odd = !is_odd;
                is_odd
            });
            self.spacing *= 2;
        }
    }
}
