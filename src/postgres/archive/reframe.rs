//! Follows a recipe: operations and object bytes go in, the archive's bytes come out. The proof
//! that runs beside a split (`shadow`) and the restore (`join`) are both this one engine, so what
//! was proven when a dump was stored is what happens when it is read.
//!
//! A recipe can be hostile: every operation is bounded by the recipe's own length or the object's,
//! limits are checked before memory is taken (I-9), and what does not fit is an error.

mod place;

use std::io;

use memchr::memchr_iter;

use crate::base::limits::ARCHIVE_LINE_MAX;
use crate::postgres::archive::ints::{Int, IntLayout};
use crate::postgres::archive::recipe::{COPY_END, Decoded, Op, RECIPE_VERSION};
use crate::postgres::archive::split::Block;

/// Output gathered before it is handed on.
const OUT: usize = 256 << 10;

/// Pieces at least this long are handed on as they are.
const OUT_DIRECT: usize = 16 << 10;

pub use place::{BlockFinder, Place};

/// What the engine waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// More of the recipe.
    Operations,
    /// The object with this number becomes the current one: its bytes come next.
    Object(usize),
    /// More bytes of the current object, or its end.
    Bytes,
}

/// Why a recipe cannot be followed.
#[derive(Debug)]
pub enum ReframeError {
    /// Recipe and objects do not make an archive.
    Bad(&'static str),
    /// The output failed.
    Out(io::Error),
}

/// How many lines or frames an open-ended operation covers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    /// The next operation will tell, and has not come.
    Open,
    Count(u64),
    ObjectEnd,
}

#[derive(Clone, Copy)]
enum Doing {
    Nothing,
    Lines { done: u64, bound: Bound },
    Frame { left: u64 },
    Again { left: u64, done: u64, bound: Bound },
    All,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Object {
    None,
    Open,
    Ended,
}

/// Which data blocks to keep, by dump id.
pub type Filter<'a> = Box<dyn FnMut(u32) -> bool + Send + 'a>;

/// The engine.
pub struct Reframer<'a> {
    ints: Option<IntLayout>,
    ops: Vec<u8>,
    ops_at: usize,
    doing: Doing,
    last_frame: Option<u64>,
    objects: usize,
    object: Object,
    /// Bytes of the end marker that follow the current object and are not used yet.
    marker: &'static [u8],
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    out: Vec<u8>,
    written: u64,
    /// A stored recipe: nothing is done before it is known what the next operation is.
    is_stored: bool,
    ops_ended: bool,
    filter: Option<Filter<'a>>,
    skipping: bool,
    blocks: Vec<Block>,
}

type Emit<'e> = &'e mut dyn FnMut(&[u8]) -> io::Result<()>;
type Step = Result<Option<Want>, ReframeError>;

impl<'a> Reframer<'a> {
    /// An engine for a recipe that is written while it is followed.
    pub fn live() -> Self {
        Reframer {
            ints: None,
            ops: Vec::new(),
            ops_at: 0,
            doing: Doing::Nothing,
            last_frame: None,
            objects: 0,
            object: Object::None,
            marker: &[],
            line: Vec::new(),
            out: Vec::with_capacity(OUT),
            written: 0,
            is_stored: false,
            ops_ended: false,
            filter: None,
            skipping: false,
            blocks: Vec::new(),
        }
    }

    /// An engine for a whole recipe. With a filter, blocks that it does not keep are left out,
    /// and their objects are never asked for.
    pub fn stored(filter: Option<Filter<'a>>) -> Self {
        Reframer { is_stored: true, filter, ..Self::live() }
    }

    /// Adds to the recipe.
    pub fn add_operations(&mut self, bytes: &[u8]) {
        if self.ops_at > 0 {
            self.ops.drain(..self.ops_at);
            self.ops_at = 0;
        }
        self.ops.extend_from_slice(bytes);
    }

    /// The recipe has no more operations.
    pub fn end_operations(&mut self) {
        self.ops_ended = true;
    }

    /// The current object has no more bytes.
    pub fn end_object(&mut self) -> Result<(), ReframeError> {
        if self.object != Object::Open {
            return Err(ReframeError::Bad("the end of an object that the recipe does not name"));
        }
        self.object = Object::Ended;
        Ok(())
    }

    /// Works until something is missing. `input` are bytes of the current object; what is taken
    /// of them is cut off.
    pub fn run(&mut self, input: &mut &[u8], emit: Emit<'_>) -> Result<Want, ReframeError> {
        loop {
            let want = match self.doing {
                Doing::Nothing => self.operation(input, emit)?,
                Doing::Lines { done, bound } => self.lines(done, bound, input, emit)?,
                Doing::Frame { left } => self.frame(left, input, emit)?,
                Doing::Again { left, done, bound } => self.again(left, done, bound, input, emit)?,
                Doing::All => self.all(input, emit)?,
            };
            if let Some(want) = want {
                return Ok(want);
            }
        }
    }

    /// The data blocks written so far.
    pub fn take_blocks(&mut self) -> Vec<Block> {
        std::mem::take(&mut self.blocks)
    }

    /// Recipe and objects are over. Returns the bytes written.
    pub fn finish(mut self, emit: Emit<'_>) -> Result<u64, ReframeError> {
        let idle = matches!(self.doing, Doing::Nothing);
        if !idle || self.ops.len() > self.ops_at || self.object == Object::Open || self.ints.is_none() {
            return Err(ReframeError::Bad("a recipe that ends early"));
        }
        self.check_marker()?;
        self.flush(emit)?;
        Ok(self.written)
    }

    fn flush(&mut self, emit: Emit<'_>) -> Result<(), ReframeError> {
        if !self.out.is_empty() {
            self.written += self.out.len() as u64;
            emit(&self.out).map_err(ReframeError::Out)?;
            self.out.clear();
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8], emit: Emit<'_>) -> Result<(), ReframeError> {
        if bytes.len() >= OUT_DIRECT {
            self.flush(emit)?;
            self.written += bytes.len() as u64;
            return emit(bytes).map_err(ReframeError::Out);
        }
        self.out.extend_from_slice(bytes);
        if self.out.len() >= OUT { self.flush(emit) } else { Ok(()) }
    }

    fn put_int(&mut self, value: u64, emit: Emit<'_>) -> Result<(), ReframeError> {
        let ints = self.ints.unwrap_or_default();
        // Bounded by the recipe's limits, all below 2^31.
        ints.write(&mut self.out, value as u32);
        if self.out.len() >= OUT { self.flush(emit) } else { Ok(()) }
    }

    /// The next operation and its length, if it is there whole.
    fn peek(&self) -> Result<Option<(Op, usize)>, ReframeError> {
        match Op::decode(&self.ops[self.ops_at..]) {
            Decoded::Op(op, len) => Ok(Some((op, len))),
            Decoded::NeedMore => Ok(None),
            Decoded::Bad => Err(ReframeError::Bad("an operation that this version does not know")),
        }
    }

    /// Settles an open bound if the next operation has come. `None`: it must come first.
    fn settle(&mut self, bound: Bound) -> Result<Option<Bound>, ReframeError> {
        if bound != Bound::Open {
            return Ok(Some(bound));
        }
        match self.peek()? {
            None if self.is_stored && !self.ops_ended => Ok(None),
            None => Ok(Some(Bound::Open)),
            Some((Op::Count(n), len)) => {
                self.ops_at += len;
                Ok(Some(Bound::Count(n)))
            }
            Some(_) => Ok(Some(Bound::ObjectEnd)),
        }
    }

    fn operation(&mut self, input: &[u8], emit: Emit<'_>) -> Step {
        if self.ints.is_none() {
            return self.prologue();
        }
        let Some((op, len)) = self.peek()? else {
            return if self.ops_ended { self.close_object(input) } else { Ok(Some(Want::Operations)) };
        };
        match op {
            Op::Literal(n) | Op::Block(n) => return self.literal(op, len, n as usize, emit),
            Op::Object | Op::Rows => return self.begin_object(op, len, input),
            _ => self.ops_at += len,
        }
        if self.skipping {
            return Ok(None);
        }
        match op {
            Op::End => self.put_int(0, emit)?,
            Op::Frame(n) => {
                self.put_int(n, emit)?;
                self.last_frame = Some(n);
                self.doing = Doing::Frame { left: n };
            }
            Op::Lines => self.doing = Doing::Lines { done: 0, bound: Bound::Open },
            Op::Again => self.doing = Doing::Again { left: 0, done: 0, bound: Bound::Open },
            Op::All => self.doing = Doing::All,
            _ => return Err(ReframeError::Bad("a count that belongs to nothing")),
        }
        match self.doing {
            Doing::Nothing => Ok(None),
            _ if self.object == Object::None => Err(ReframeError::Bad("an operation without an object")),
            Doing::Again { .. } if self.last_frame.is_none() => Err(ReframeError::Bad("no frame to repeat")),
            _ => Ok(None),
        }
    }

    fn prologue(&mut self) -> Step {
        let Some([version, size]) = self.ops.get(self.ops_at..self.ops_at + 2) else {
            return Ok(Some(Want::Operations));
        };
        if *version != RECIPE_VERSION {
            return Err(ReframeError::Bad("a recipe of a newer version"));
        }
        let ints = IntLayout::new(*size).ok_or(ReframeError::Bad("integers of an unusual size"))?;
        self.ints = Some(ints);
        self.ops_at += 2;
        Ok(None)
    }

    fn literal(&mut self, op: Op, op_len: usize, len: usize, emit: Emit<'_>) -> Step {
        let from = self.ops_at + op_len;
        // At most RECIPE_LITERAL_MAX, so waiting for it is cheap.
        if self.ops.len() < from + len {
            return Ok(Some(Want::Operations));
        }
        self.ops_at = from + len;
        if let Op::Block(_) = op {
            let id = self.ints.unwrap_or_default().read(&self.ops[from + 1..from + len]);
            let Int::Value(id @ 1..) = id else {
                return Err(ReframeError::Bad("a block without a dump id"));
            };
            let dump_id = id as u32;
            self.skipping = self.filter.as_mut().is_some_and(|keep| !keep(dump_id));
            // While a dump is stored, the split itself counts its blocks.
            if self.is_stored && !self.skipping {
                self.blocks.push(Block { dump_id, offset: self.written + self.out.len() as u64 });
            }
        }
        if !self.skipping {
            let bytes = std::mem::take(&mut self.ops);
            self.put(&bytes[from..from + len], emit)?;
            self.ops = bytes;
        }
        Ok(None)
    }

    fn begin_object(&mut self, op: Op, op_len: usize, input: &[u8]) -> Step {
        if self.object == Object::Open {
            return self.close_object(input);
        }
        self.ops_at += op_len;
        self.check_marker()?;
        let number = self.objects;
        self.objects += 1;
        self.last_frame = None;
        if self.skipping {
            self.object = Object::None;
            return Ok(None);
        }
        self.object = Object::Open;
        self.marker = if op == Op::Rows { COPY_END } else { &[] };
        Ok(Some(Want::Object(number)))
    }

    /// The end marker stands whole behind an object's bytes or not at all.
    fn check_marker(&self) -> Result<(), ReframeError> {
        match self.marker.len() {
            0 => Ok(()),
            len if len == COPY_END.len() => Ok(()),
            _ => Err(ReframeError::Bad("an object that is longer than its recipe")),
        }
    }

    /// The recipe asks no more of the current object: it must have ended.
    fn close_object(&mut self, input: &[u8]) -> Step {
        if !input.is_empty() {
            return Err(ReframeError::Bad("an object that is longer than its recipe"));
        }
        Ok(Some(if self.object == Object::Open { Want::Bytes } else { Want::Operations }))
    }

    fn lines(&mut self, done: u64, bound: Bound, input: &mut &[u8], emit: Emit<'_>) -> Step {
        let Some(bound) = self.settle(bound)? else { return Ok(Some(Want::Operations)) };
        let left = match bound {
            Bound::Count(n) => n.checked_sub(done).ok_or(ReframeError::Bad("a count that came late"))?,
            Bound::Open | Bound::ObjectEnd => u64::MAX,
        };
        if left == 0 || (input.is_empty() && self.object == Object::Ended) {
            if !self.line.is_empty() || (left > 0 && matches!(bound, Bound::Count(_))) {
                return Err(ReframeError::Bad("an object with too few lines"));
            }
            self.doing = Doing::Nothing;
            return Ok(None);
        }
        self.doing = Doing::Lines { done, bound };
        if input.is_empty() {
            return Ok(Some(Want::Bytes));
        }
        let taken = self.take_lines(input, left, emit)?;
        self.doing = Doing::Lines { done: done + taken, bound };
        Ok(None)
    }

    /// Frames at most `left` lines of `input`; what is left of a line waits for its end.
    fn take_lines(&mut self, input: &mut &[u8], left: u64, emit: Emit<'_>) -> Result<u64, ReframeError> {
        let bytes = *input;
        let ints = self.ints.unwrap_or_default();
        let (mut start, mut taken) = (0, 0);
        for newline in memchr_iter(b'\n', bytes) {
            let line = &bytes[start..=newline];
            let len = self.line.len() + line.len();
            if len > ARCHIVE_LINE_MAX {
                return Err(ReframeError::Bad("a line that is too long"));
            }
            ints.write(&mut self.out, len as u32);
            if !self.line.is_empty() {
                self.out.extend_from_slice(&self.line);
                self.line.clear();
            }
            self.out.extend_from_slice(line);
            if self.out.len() >= OUT {
                self.flush(&mut *emit)?;
            }
            start = newline + 1;
            taken += 1;
            if taken == left {
                *input = &bytes[start..];
                return Ok(taken);
            }
        }
        let rest = &bytes[start..];
        if self.line.len() + rest.len() > ARCHIVE_LINE_MAX {
            return Err(ReframeError::Bad("a line that is too long"));
        }
        self.line.extend_from_slice(rest);
        *input = &[];
        Ok(taken)
    }

    fn frame(&mut self, left: u64, input: &mut &[u8], emit: Emit<'_>) -> Step {
        let left = self.take_frame(left, input, emit)?;
        self.doing = if left == 0 { Doing::Nothing } else { Doing::Frame { left } };
        Ok((left > 0).then_some(Want::Bytes))
    }

    fn again(&mut self, left: u64, done: u64, bound: Bound, input: &mut &[u8], emit: Emit<'_>) -> Step {
        if left > 0 {
            let left = self.take_frame(left, input, emit)?;
            self.doing = Doing::Again { left, done, bound };
            return Ok((left > 0).then_some(Want::Bytes));
        }
        let Some(bound) = self.settle(bound)? else { return Ok(Some(Want::Operations)) };
        let finished = match bound {
            Bound::Count(n) if done > n => return Err(ReframeError::Bad("a count that came late")),
            Bound::Count(n) => done == n,
            Bound::Open | Bound::ObjectEnd => input.is_empty() && self.object == Object::Ended,
        };
        if finished {
            self.doing = Doing::Nothing;
            return Ok(None);
        }
        self.doing = Doing::Again { left: 0, done, bound };
        if input.is_empty() && self.object == Object::Open {
            return Ok(Some(Want::Bytes));
        }
        let len = self.last_frame.unwrap_or_default();
        self.put_int(len, emit)?;
        self.doing = Doing::Again { left: len, done: done + 1, bound };
        Ok(None)
    }

    /// Puts what there is of a frame's bytes. Returns how many are still missing.
    fn take_frame(&mut self, mut left: u64, input: &mut &[u8], emit: Emit<'_>) -> Result<u64, ReframeError> {
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let (now, later) = input.split_at(n);
        self.put(now, &mut *emit)?;
        *input = later;
        left -= n as u64;
        if left > 0 && self.object == Object::Ended {
            let n = usize::try_from(left).unwrap_or(usize::MAX).min(self.marker.len());
            let (now, later) = self.marker.split_at(n);
            self.put(now, emit)?;
            self.marker = later;
            left -= n as u64;
            if left > 0 {
                return Err(ReframeError::Bad("an object that is shorter than its recipe"));
            }
        }
        Ok(left)
    }

    fn all(&mut self, input: &mut &[u8], emit: Emit<'_>) -> Step {
        self.put(input, emit)?;
        *input = &[];
        if self.object == Object::Ended {
            self.doing = Doing::Nothing;
            return Ok(None);
        }
        Ok(Some(Want::Bytes))
    }
}
