//! Whole segments, for whoever keeps their plaintext and verifies what he takes of it.

use std::ops::Range;

use crate::repo::Error;
use crate::repo::index::Place;
use crate::repo::pack::{Scratch, Sealed};
use crate::repo::read::ChunkReader;
use crate::repo::read::chunk::{LoadedPack, segment_of};

/// Buffers of one reading thread.
#[derive(Default)]
pub struct Loader {
    sealed: Vec<u8>,
    scratch: Scratch,
}

/// Takes what became of the segment with this number.
pub type TakeSegment<'t> = &'t mut dyn FnMut(u32, Result<Vec<u8>, Error>);

impl ChunkReader {
    /// Whether the segment at `place` is a delta.
    pub fn is_delta(&self, pack: &LoadedPack, place: Place) -> Result<bool, Error> {
        Ok(segment_of(pack, place.segment)?.depth > 0)
    }

    /// Where the segment `number` of `pack` lies in it.
    pub fn sealed_range(&self, pack: &LoadedPack, number: u32) -> Result<Range<u64>, Error> {
        segment_of(pack, number).map(|segment| segment.range())
    }

    /// Opens segments that lie one after another and are no deltas, fetched with one request. Their
    /// plaintext is put into what `buffer` gives. Nothing of it is verified.
    pub fn open_segments(
        &self,
        pack: &LoadedPack,
        numbers: Range<u32>,
        loader: &mut Loader,
        buffer: &mut dyn FnMut() -> Vec<u8>,
        each: TakeSegment<'_>,
    ) -> Result<(), Error> {
        let Some(last) = numbers.end.checked_sub(1) else { return Ok(()) };
        let start = self.sealed_range(pack, numbers.start)?.start;
        let end = self.sealed_range(pack, last)?.end;
        let Loader { sealed, scratch } = loader;
        sealed.clear();
        self.source().get_range(self.repo(), pack, start..end, sealed)?;
        for number in numbers {
            let range = self.sealed_range(pack, number)?;
            let own = sealed.get((range.start - start) as usize..(range.end - start) as usize);
            let own = own.ok_or_else(|| Error::damaged(&pack.name, "it is cut off"))?;
            let mut plain = buffer();
            let opened =
                self.open_into(pack, number, Sealed { bytes: own, prefix: &[] }, scratch, &mut plain);
            each(number, opened.map(|()| plain));
        }
        Ok(())
    }

    /// Decodes the delta at `place` into `out`, its bases from what is kept of them. Nothing of it is
    /// verified.
    pub fn open_delta(
        &self,
        pack: &LoadedPack,
        place: Place,
        loader: &mut Loader,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let decoded = self.shared_segment(pack, place, &mut loader.scratch)?;
        out.clear();
        out.extend_from_slice(&decoded.plain);
        Ok(())
    }
}
