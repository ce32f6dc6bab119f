//! Takes the frames of one object out of the stream: gathers the small ones into a buffer, finds
//! out by which operations they can be put back, and hands on large pieces.
//!
//! COPY rows come as frames of 45 to 150 bytes, so the cost of one frame decides the speed: a
//! whole buffer of rows is proven to be one line each by two facts, that every frame ends in a
//! newline and that the buffer has as many newlines as frames.

use memchr::{memchr, memchr_iter};

use crate::base::limits::ARCHIVE_LINE_MAX;
use crate::postgres::archive::ints::{Int, IntLayout};
use crate::postgres::archive::recipe::{COPY_END, Op};
use crate::postgres::archive::split::{ObjectEnd, Sink};

/// Bytes gathered before they are handed on.
pub const BATCH: usize = 256 << 10;

/// Frames gathered before they are handed on: for dumps whose frames are a few bytes each.
const BATCH_FRAMES: usize = 64 << 10;

/// What ended a portion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The portion; what is left of it is part of a frame's length.
    More,
    /// The object: its closing zero was read.
    End,
    /// A length that makes no sense. It is not taken.
    Odd,
}

/// Why gathered frames are handed on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The buffer is full: the object goes on.
    Full,
    /// A frame follows that is not gathered.
    Large,
    /// The object ends here.
    End,
    /// The stream cannot be followed any further.
    Abandoned,
}

/// How the frames so far are coded, and what may still be added to the last operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    Nothing,
    /// LINES is open.
    Lines(u64),
    /// The last frame had this length; AGAIN is open if there is a count.
    Frame(u64, Option<u64>),
}

/// The frames of the current object.
pub struct Frames {
    ints: IntLayout,
    batch: usize,
    is_rows: bool,
    /// `held` bytes that operations cover already, then the gathered frames.
    buf: Vec<u8>,
    held: usize,
    lens: Vec<u32>,
    all_end_in_newline: bool,
    /// Bytes missing of the last gathered frame.
    missing: usize,
    /// Bytes missing of a frame that is not gathered.
    large_left: u64,
    coding: Coding,
    /// Bytes of frames coded since the last line: only those may turn out to be the end marker.
    since_line: u64,
    /// Operations not yet handed on.
    pub ops: Vec<u8>,
    end: ObjectEnd,
}

impl Frames {
    /// Frames whose lengths are laid out as `ints` says, gathered up to `batch` bytes.
    pub fn new(ints: IntLayout, batch: usize) -> Self {
        Frames {
            ints,
            batch,
            is_rows: false,
            buf: Vec::new(),
            held: 0,
            lens: Vec::new(),
            all_end_in_newline: true,
            missing: 0,
            large_left: 0,
            coding: Coding::Nothing,
            since_line: 0,
            ops: Vec::new(),
            end: ObjectEnd::default(),
        }
    }

    /// The archive's integers, once its header is known.
    pub fn set_layout(&mut self, ints: IntLayout) {
        self.ints = ints;
    }

    /// Begins an object; `is_rows` if it is COPY data.
    pub fn begin(&mut self, is_rows: bool) {
        self.is_rows = is_rows;
        self.coding = Coding::Nothing;
        self.since_line = 0;
        self.end = ObjectEnd { bytes: 0, rows: is_rows.then_some(0) };
    }

    /// Whether the stream stands between two frames.
    pub fn is_between_frames(&self) -> bool {
        self.missing == 0 && self.large_left == 0
    }

    /// Takes frames from `input` until it, or the object, ends. Returns the bytes taken.
    pub fn feed<S: Sink>(&mut self, input: &[u8], sink: &mut S) -> Result<(usize, Stop), S::Error> {
        let mut at = self.resume(input, sink)?;
        if !self.is_between_frames() {
            return Ok((at, Stop::More));
        }
        let width = self.ints.width();
        loop {
            let len = match self.ints.read(&input[at..]) {
                Int::NeedMore => return Ok((at, Stop::More)),
                Int::Value(0) => return Ok((at + width, Stop::End)),
                Int::Value(len @ 1..) => len as usize,
                Int::Value(_) | Int::Odd => return Ok((at, Stop::Odd)),
            };
            at += width;
            if len > ARCHIVE_LINE_MAX {
                self.begin_large(len as u64, sink)?;
                at += self.resume(&input[at..], sink)?;
                if self.large_left > 0 {
                    return Ok((at, Stop::More));
                }
                continue;
            }
            if self.buf.len() + len > self.batch || self.lens.len() == BATCH_FRAMES {
                self.hand_on(Why::Full, sink)?;
            }
            let frame = &input[at..input.len().min(at + len)];
            self.buf.extend_from_slice(frame);
            self.lens.push(len as u32);
            at += frame.len();
            if frame.len() < len {
                self.missing = len - frame.len();
                return Ok((at, Stop::More));
            }
            self.all_end_in_newline &= frame[len - 1] == b'\n';
        }
    }

    /// Goes on with a frame that an earlier portion began. Returns the bytes taken.
    fn resume<S: Sink>(&mut self, input: &[u8], sink: &mut S) -> Result<usize, S::Error> {
        if self.missing > 0 {
            let part = &input[..input.len().min(self.missing)];
            self.buf.extend_from_slice(part);
            self.missing -= part.len();
            if self.missing == 0 {
                self.all_end_in_newline &= self.buf.last() == Some(&b'\n');
            }
            return Ok(part.len());
        }
        let n = usize::try_from(self.large_left).unwrap_or(usize::MAX).min(input.len());
        if n > 0 {
            self.large_left -= n as u64;
            self.pass_on(&input[..n], sink)?;
        }
        Ok(n)
    }

    fn begin_large<S: Sink>(&mut self, len: u64, sink: &mut S) -> Result<(), S::Error> {
        self.hand_on(Why::Large, sink)?;
        self.code_frame(len);
        self.hand_on_ops(sink)?;
        self.large_left = len;
        Ok(())
    }

    /// Ends the object: what is gathered is handed on, and END with it.
    pub fn end<S: Sink>(&mut self, sink: &mut S) -> Result<ObjectEnd, S::Error> {
        self.hand_on(Why::End, sink)?;
        Ok(self.end)
    }

    /// Ends the object where the stream stopped making sense.
    pub fn abandon<S: Sink>(&mut self, sink: &mut S) -> Result<ObjectEnd, S::Error> {
        self.hand_on(Why::Abandoned, sink)?;
        Ok(self.end)
    }

    /// Hands on operations that no bytes follow.
    pub fn hand_on_ops<S: Sink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        if !self.ops.is_empty() {
            sink.recipe(&self.ops)?;
            self.ops.clear();
        }
        Ok(())
    }

    /// Codes what is gathered and hands it on, operations before the bytes they cover. A frame
    /// that looks like the end marker waits until it is known whether the object ends after it,
    /// and so do bytes that could be a part of it.
    fn hand_on<S: Sink>(&mut self, why: Why, sink: &mut S) -> Result<(), S::Error> {
        let marker = self.is_rows
            && self.lens.last() == Some(&(COPY_END.len() as u32))
            && self.buf.ends_with(COPY_END)
            && matches!(why, Why::Full | Why::End);
        let kept = if marker { COPY_END.len() } else { 0 };
        self.code_gathered(self.lens.len() - usize::from(marker), self.buf.len() - kept);
        let ended = matches!(why, Why::End | Why::Abandoned);
        let until =
            if ended { self.code_end(why, marker) } else { self.buf.len() - kept - self.possible_marker() };
        self.hand_on_ops(sink)?;
        emit(&mut self.end, &self.buf[..until], sink)?;
        self.buf.drain(..until);
        if ended {
            self.buf.clear();
        }
        self.held = self.buf.len().saturating_sub(kept);
        self.lens.clear();
        if marker && !ended {
            self.lens.push(COPY_END.len() as u32);
        }
        self.all_end_in_newline = true;
        Ok(())
    }

    /// Operations for the object's end. Returns how many of the gathered bytes belong to the
    /// object: the end marker does not.
    fn code_end(&mut self, why: Why, marker: bool) -> usize {
        let mut until = self.buf.len();
        if marker || (why == Why::End && self.ends_in_marker()) {
            until -= COPY_END.len();
        }
        match self.coding {
            // No COUNT: the lines go to the object's end, and this frame is what comes after.
            Coding::Lines(_) if marker => Op::Frame(COPY_END.len() as u64).encode(&mut self.ops),
            _ if marker => self.code_frame(COPY_END.len() as u64),
            _ => {}
        }
        if let Coding::Frame(_, Some(count)) = self.coding {
            Op::Count(count).encode(&mut self.ops);
        }
        if why == Why::End {
            Op::End.encode(&mut self.ops);
        }
        until
    }

    /// Operations for the first `frames` gathered frames, which fill `buf[held..until]`.
    fn code_gathered(&mut self, frames: usize, until: usize) {
        if frames == 0 {
            return;
        }
        let bytes = &self.buf[self.held..until];
        let starts_well = self.may_be_line(self.lens[0] as usize);
        if self.is_rows
            && self.all_end_in_newline
            && starts_well
            && memchr_iter(b'\n', bytes).count() == frames
        {
            self.code_lines(frames as u64);
            return;
        }
        let mut at = self.held;
        for i in 0..frames {
            let len = self.lens[i] as usize;
            let is_line = memchr(b'\n', &self.buf[at..at + len]) == Some(len - 1);
            if self.is_rows && is_line && self.may_be_line(len) {
                self.code_lines(1);
            } else {
                self.code_frame(len as u64);
            }
            at += len;
        }
    }

    /// A lone newline does not begin a run of lines: where a writer cuts the data into even
    /// pieces, it is the last byte of the end marker.
    fn may_be_line(&self, len: usize) -> bool {
        len > 1 || matches!(self.coding, Coding::Lines(_))
    }

    fn code_lines(&mut self, n: u64) {
        match self.coding {
            Coding::Lines(count) => self.coding = Coding::Lines(count + n),
            Coding::Nothing | Coding::Frame(..) => {
                self.close_coding();
                Op::Lines.encode(&mut self.ops);
                self.coding = Coding::Lines(n);
            }
        }
        self.since_line = 0;
    }

    fn code_frame(&mut self, len: u64) {
        self.since_line = self.since_line.saturating_add(len);
        match self.coding {
            Coding::Frame(last, Some(count)) if last == len => {
                self.coding = Coding::Frame(len, Some(count + 1));
            }
            Coding::Frame(last, None) if last == len => {
                Op::Again.encode(&mut self.ops);
                self.coding = Coding::Frame(len, Some(1));
            }
            _ => {
                self.close_coding();
                Op::Frame(len).encode(&mut self.ops);
                self.coding = Coding::Frame(len, None);
            }
        }
    }

    fn close_coding(&mut self) {
        if let Coding::Lines(count) | Coding::Frame(_, Some(count)) = self.coding {
            Op::Count(count).encode(&mut self.ops);
        }
    }

    /// Whether the data ends in the end marker, in frames that are not coded as lines.
    fn ends_in_marker(&self) -> bool {
        self.is_rows && self.since_line >= COPY_END.len() as u64 && self.buf.ends_with(COPY_END)
    }

    /// How many of the last coded bytes may turn out to belong to the end marker.
    fn possible_marker(&self) -> usize {
        if self.is_rows { self.since_line.min(COPY_END.len() as u64) as usize } else { 0 }
    }

    /// Hands on a piece of a large frame, which an operation covers already, without copying it.
    fn pass_on<S: Sink>(&mut self, piece: &[u8], sink: &mut S) -> Result<(), S::Error> {
        let keep = self.possible_marker();
        if piece.len() >= keep {
            let (now, later) = piece.split_at(piece.len() - keep);
            emit(&mut self.end, &self.buf, sink)?;
            emit(&mut self.end, now, sink)?;
            self.buf.clear();
            self.buf.extend_from_slice(later);
        } else {
            self.buf.extend_from_slice(piece);
            let now = self.buf.len().saturating_sub(keep);
            emit(&mut self.end, &self.buf[..now], sink)?;
            self.buf.drain(..now);
        }
        self.held = self.buf.len();
        Ok(())
    }
}

/// Hands on bytes of the object and counts them, and the rows among them.
fn emit<S: Sink>(end: &mut ObjectEnd, bytes: &[u8], sink: &mut S) -> Result<(), S::Error> {
    if bytes.is_empty() {
        return Ok(());
    }
    end.bytes += bytes.len() as u64;
    if let Some(rows) = &mut end.rows {
        // COPY writes a newline inside a value as backslash n: a newline byte ends a row.
        *rows += memchr_iter(b'\n', bytes).count() as u64;
    }
    sink.object_bytes(bytes)
}
