//! WAL objects: one file of PostgreSQL's write-ahead log each. A head of fixed length, which is a small
//! sealed object whose clear part is the wrapped key; then sealed frames, one after another, to the end. The
//! head describes the frames and is signed, so one small read tells what the object is and who says so.

use std::ops::Range;

use crate::base::clock::Timestamp;
use crate::base::id::{ChunkId, ObjectHash};
use crate::base::kind::Coding;
use crate::base::limits;
use crate::format::attrs::{Attribute, RecordReader, RecordWriter, Unknown};
use crate::format::error::{Error, Reason};
use crate::format::header::HEADER_LEN;
use crate::format::pack::{TAG_LEN, WRAPPED_LEN};
use crate::format::sealed::SIGNATURE_LEN;
use crate::format::wire::{Reader, Writer};

/// Bytes of the head: enough for the description of 64 frames, so that one read of known length gets it.
pub const HEAD_LEN: usize = 1024;
/// Bytes of the description with its length and its zeros: what is left of the head.
const BODY_LEN: usize = HEAD_LEN - HEADER_LEN - 4 - WRAPPED_LEN - 4 - TAG_LEN as usize - SIGNATURE_LEN;
/// Bytes of a frame's row.
const FRAME_ROW: usize = 5;
const WHAT: &str = "WAL description";

/// A sealed frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalFrame {
    /// Bytes in the object, with the seal.
    pub stored_len: u32,
    /// How its plaintext was coded: raw, or one zstd frame that is shorter.
    pub coding: Coding,
}

/// What a WAL object holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalBody {
    /// The cluster's system identifier.
    pub system: u64,
    /// The file's name in `pg_wal`.
    pub file: String,
    /// Bytes of the file.
    pub len: u64,
    /// The id of the file's bytes, as of a data chunk.
    pub id: ChunkId,
    /// Plaintext bytes of every frame but the last, which may be shorter.
    pub frame_len: u32,
    /// The frames. What they hold, and the zeros after it, is the file.
    pub frames: Vec<WalFrame>,
    /// Zeros at the file's end that no frame holds.
    pub zeros: u64,
    /// Hash of all frames as they are stored.
    pub stored_hash: ObjectHash,
    /// When the object was made.
    pub pushed: Timestamp,
    /// The magic of a segment's first page: the server's version. Only of segments.
    pub magic: Option<u16>,
    /// The cluster's segment size, in bytes. Only of segments.
    pub segment_size: Option<u32>,
    /// Attributes that this version does not know.
    pub unknown: Unknown,
}

/// Plaintext bytes of a frame for a file of `len` bytes: the smallest size of which 64 are enough.
pub fn frame_len_for(len: u64) -> u32 {
    let mut frame = limits::WAL_FRAME_MIN;
    while frame < limits::WAL_FRAME_MAX && u64::from(frame) * (limits::WAL_FRAMES_MAX as u64) < len {
        frame *= 2;
    }
    frame
}

impl WalBody {
    /// Bytes that the frames hold.
    pub fn framed_len(&self) -> u64 {
        self.len.saturating_sub(self.zeros)
    }

    /// The bytes of the file that frame `number` holds.
    pub fn plain_range(&self, number: usize) -> Range<u64> {
        let start = (number as u64).saturating_mul(self.frame_len.into()).min(self.framed_len());
        start..start.saturating_add(self.frame_len.into()).min(self.framed_len())
    }

    /// Bytes of all frames as they are stored.
    pub fn stored_len(&self) -> u64 {
        self.frames.iter().map(|frame| u64::from(frame.stored_len)).sum()
    }

    /// Bytes of the whole object.
    pub fn object_len(&self) -> u64 {
        HEAD_LEN as u64 + self.stored_len()
    }

    /// The plaintext of the head's sealed part, always of the same length.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        self.check()?;
        let mut rows = Vec::with_capacity(self.frames.len() * FRAME_ROW);
        for frame in &self.frames {
            Writer::new(&mut rows).u32(frame.stored_len).u8(frame.coding.to_u8());
        }
        let mut record = Vec::new();
        RecordWriter::new(&mut record, &self.unknown)
            .u64(1, self.system)
            .bytes(3, self.file.as_bytes())
            .u64(5, self.len)
            .bytes(7, &self.id.0)
            .u64(9, self.frame_len.into())
            .opt_bytes(11, Some(&rows[..]).filter(|rows| !rows.is_empty()))
            .nonzero(13, self.zeros)
            .bytes(15, &self.stored_hash.0)
            .i64(17, self.pushed.0)
            .opt_u64(18, self.magic.map(u64::from))
            .opt_u64(20, self.segment_size.map(u64::from))
            .finish();
        let mut out = Vec::with_capacity(BODY_LEN);
        let (len, max) = (record.len() as u64, (BODY_LEN - 2) as u64);
        let Some(zeros) = (BODY_LEN - 2).checked_sub(record.len()) else {
            return Err(Error::new(WHAT, Reason::TooLarge { what: "a WAL description", len, max }));
        };
        Writer::new(&mut out).u16(record.len() as u16).bytes(&record).zeros(zeros);
        Ok(out)
    }

    /// Reads the plaintext of the head's sealed part.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(WHAT, bytes);
        if bytes.len() != BODY_LEN {
            return Err(reader.inconsistent("it is not as long as every description is"));
        }
        let len = usize::from(reader.u16()?);
        let record = RecordReader::from_reader(Reader::nested(WHAT, reader.bytes(len)?, 2));
        if reader.rest().iter().any(|byte| *byte != 0) {
            return Err(Error::new(WHAT, Reason::NotCanonical("the padding")));
        }
        let body = Self::read(record)?;
        body.check()?;
        Ok(body)
    }

    fn read(mut record: RecordReader<'_>) -> Result<Self, Error> {
        let (mut system, mut file, mut len, mut id, mut frame_len) = (None, None, None, None, None);
        let (mut frames, mut zeros, mut stored_hash, mut pushed) = (Vec::new(), 0, None, None);
        let (mut magic, mut segment_size, mut unknown) = (None, None, Unknown::default());
        while let Some(attribute) = record.next_attribute()? {
            match attribute.tag {
                1 => system = Some(attribute.u64()?),
                3 => file = Some(file_name(&attribute)?),
                5 => len = Some(attribute.u64()?),
                7 => id = Some(ChunkId(attribute.array()?)),
                9 => frame_len = Some(attribute.u32()?),
                11 => frames = read_frames(&attribute)?,
                13 => zeros = attribute.nonzero()?,
                15 => stored_hash = Some(ObjectHash(attribute.array()?)),
                17 => pushed = Some(Timestamp(attribute.i64()?)),
                18 => {
                    let value = u16::try_from(attribute.u64()?);
                    magic = Some(value.map_err(|_| attribute.inconsistent("a magic exceeds 16 bits"))?);
                }
                20 => segment_size = Some(attribute.u32()?),
                _ => unknown.keep(&attribute)?,
            }
        }
        Ok(WalBody {
            system: record.need(system, "system identifier")?,
            file: record.need(file, "file name")?,
            len: record.need(len, "length")?,
            id: record.need(id, "id")?,
            frame_len: record.need(frame_len, "length of a frame")?,
            frames,
            zeros,
            stored_hash: record.need(stored_hash, "hash of what is stored")?,
            pushed: record.need(pushed, "time")?,
            magic,
            segment_size,
            unknown,
        })
    }

    /// What must hold whoever wrote it.
    fn check(&self) -> Result<(), Error> {
        let fail = |reason| Err(Error::new(WHAT, reason));
        let wrong = |what| fail(Reason::Inconsistent(what));
        if !is_file_name(self.file.as_bytes()) {
            return wrong("its file name is none");
        }
        if self.len > limits::WAL_FILE_MAX {
            let (len, max) = (self.len, limits::WAL_FILE_MAX);
            return fail(Reason::TooLarge { what: "a WAL file", len, max });
        }
        let frame = self.frame_len;
        if !frame.is_power_of_two() || !(limits::WAL_FRAME_MIN..=limits::WAL_FRAME_MAX).contains(&frame) {
            return wrong("its frames have a length that none may have");
        }
        if self.zeros > self.len {
            return wrong("it has more zeros than bytes");
        }
        let count = self.framed_len().div_ceil(frame.into());
        if count != self.frames.len() as u64 || self.frames.len() > limits::WAL_FRAMES_MAX {
            return wrong("its number of frames does not fit its length");
        }
        for (number, frame) in self.frames.iter().enumerate() {
            let plain = self.plain_range(number);
            let raw_len = plain.end - plain.start + u64::from(TAG_LEN);
            let stored_len = u64::from(frame.stored_len);
            let fits = match frame.coding {
                Coding::Raw => stored_len == raw_len,
                Coding::Zstd => (u64::from(TAG_LEN) + 1..raw_len).contains(&stored_len),
                Coding::Prefix | Coding::Dictionary => false,
            };
            if !fits {
                return wrong("a frame's coding contradicts its length");
            }
        }
        Ok(())
    }
}

/// Whether these bytes may be a file's name in `pg_wal`: of a few, plain characters.
fn is_file_name(name: &[u8]) -> bool {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=limits::WAL_NAME_MAX).contains(&name.len()) && name.iter().all(plain) && name[0] != b'.'
}

fn file_name(attribute: &Attribute<'_>) -> Result<String, Error> {
    let bytes = attribute.bytes("a file name", limits::WAL_NAME_MAX)?;
    match String::from_utf8(bytes.to_vec()) {
        Ok(name) if is_file_name(bytes) => Ok(name),
        _ => Err(attribute.inconsistent("its file name is none")),
    }
}

fn read_frames(attribute: &Attribute<'_>) -> Result<Vec<WalFrame>, Error> {
    let mut reader = attribute.reader();
    let count = reader.remaining() / FRAME_ROW;
    reader.limit("the number of frames", count as u64, limits::WAL_FRAMES_MAX as u64)?;
    if count == 0 {
        return Err(reader.error(Reason::NotCanonical("an empty list")));
    }
    let mut frames = Vec::with_capacity(count);
    for _ in 0..count {
        let stored_len = reader.u32()?;
        let Some(coding) = Coding::from_u8(reader.u8()?) else {
            return Err(reader.inconsistent("a frame has an unknown coding"));
        };
        frames.push(WalFrame { stored_len, coding });
    }
    reader.finish()?;
    Ok(frames)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::format::testing;
    use proptest::prelude::*;

    fn body(len: u64, zeros: u64, raw: bool) -> WalBody {
        let frame_len = frame_len_for(len);
        let mut body = WalBody {
            system: 0x1234_5678_9ABC_DEF0,
            file: "0000000100000002000000AB".into(),
            len,
            id: ChunkId([1; 32]),
            frame_len,
            frames: Vec::new(),
            zeros,
            stored_hash: ObjectHash([2; 32]),
            pushed: Timestamp(5),
            magic: Some(0xD110),
            segment_size: Some(16 << 20),
            unknown: Unknown::default(),
        };
        for number in 0..body.framed_len().div_ceil(frame_len.into()) {
            let plain = body.plain_range(number as usize);
            let raw_len = (plain.end - plain.start) as u32 + TAG_LEN;
            body.frames.push(match raw || raw_len < TAG_LEN + 2 {
                true => WalFrame { stored_len: raw_len, coding: Coding::Raw },
                false => WalFrame { stored_len: raw_len - 1, coding: Coding::Zstd },
            });
        }
        body
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn descriptions_round_trip_in_one_form(len in 0u64..=limits::WAL_FILE_MAX, zeros: u64, raw: bool) {
            let body = body(len, zeros % (len + 1), raw);
            let bytes = body.encode().unwrap();
            prop_assert_eq!(bytes.len(), BODY_LEN);
            prop_assert_eq!(&WalBody::decode(&bytes).unwrap(), &body);
            prop_assert!(body.object_len() <= limits::WAL_OBJECT_MAX);
        }
    }

    #[test]
    fn a_description_has_one_encoding() {
        let bytes = body(5 << 20, 17, true).encode().unwrap();
        testing::canonical(&bytes, WalBody::decode, |body| body.encode().unwrap());
    }

    #[test]
    fn the_largest_description_fits_with_room_to_grow() {
        let mut body = body(limits::WAL_FILE_MAX, 0, true);
        assert_eq!(body.frames.len(), limits::WAL_FRAMES_MAX);
        body.file = "F".repeat(limits::WAL_NAME_MAX);
        (body.system, body.pushed) = (u64::MAX, Timestamp(i64::MIN));
        (body.magic, body.segment_size) = (Some(u16::MAX), Some(u32::MAX));
        assert_eq!(WalBody::decode(&body.encode().unwrap()).unwrap(), body);
        body.file.push('F');
        assert!(body.encode().is_err());
    }

    #[test]
    fn frames_are_as_long_as_the_file_asks_for() {
        assert_eq!(frame_len_for(0), 1 << 20);
        assert_eq!(frame_len_for(64 << 20), 1 << 20);
        assert_eq!(frame_len_for((64 << 20) + 1), 2 << 20);
        assert_eq!(frame_len_for(1 << 30), 16 << 20);
        assert_eq!(frame_len_for(u64::MAX), 16 << 20);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let good = body(3 << 20, 100, false);
        good.encode().unwrap();
        let bend = |bend: &dyn Fn(&mut WalBody)| {
            let mut bent = good.clone();
            bend(&mut bent);
            assert!(bent.encode().is_err(), "{bent:?}");
        };
        bend(&|body| body.len = limits::WAL_FILE_MAX + 1);
        bend(&|body| body.zeros = body.len + 1);
        bend(&|body| body.zeros = (1 << 20) + 1);
        bend(&|body| body.frame_len = 3 << 20);
        bend(&|body| body.frame_len = 32 << 20);
        bend(&|body| body.frame_len = 1 << 19);
        bend(&|body| body.frames.truncate(2));
        bend(&|body| body.frames[1].stored_len = TAG_LEN);
        bend(&|body| body.frames[1].stored_len = (1 << 20) + TAG_LEN);
        bend(&|body| body.frames[1].coding = Coding::Raw);
        bend(&|body| body.frames[1].coding = Coding::Prefix);
        for name in ["", "a/b", "..", "a b", "ä"] {
            bend(&|body| body.file = name.into());
        }
    }
}
