//! Places of an archive from which a stored recipe can be followed on, so that its middle is read
//! without its beginning. A place holds positions and no bytes: what the engine had in hand is read
//! again.

use crate::base::limits::RECIPE_LITERAL_MAX;
use crate::postgres::archive::ints::{Int, IntLayout};
use crate::postgres::archive::recipe::{COPY_END, Decoded, Op};
use crate::postgres::archive::reframe::{Doing, Emit, Object, ReframeError, Reframer};
use crate::postgres::archive::split::Block;

/// Where a recipe can be followed on.
#[derive(Clone)]
pub struct Place {
    ints: IntLayout,
    doing: Doing,
    last_frame: Option<u64>,
    objects: usize,
    object: Object,
    /// Bytes of the end marker that were used.
    marked: Option<usize>,
    /// First byte of the archive that comes.
    pub offset: u64,
    /// First byte of the recipe that is needed.
    pub recipe_at: u64,
    /// First byte of the current object that is needed.
    pub object_at: u64,
}

impl Place {
    /// The object whose bytes are needed first; `None` if the recipe names it first.
    pub fn object(&self) -> Option<usize> {
        match self.object {
            Object::Open => self.objects.checked_sub(1),
            Object::None | Object::Ended => None,
        }
    }
}

impl Reframer<'_> {
    /// Hands on all that is put together and tells the place. `recipe` and `object` are the bytes of the
    /// recipe and of the current object that were taken so far.
    pub fn place(&mut self, recipe: u64, object: u64, emit: Emit<'_>) -> Result<Place, ReframeError> {
        self.flush(emit)?;
        let marked = match self.marker.len() {
            0 => None,
            left => Some(COPY_END.len() - left),
        };
        Ok(Place {
            ints: self.ints.unwrap_or_default(),
            doing: self.doing,
            last_frame: self.last_frame,
            objects: self.objects,
            object: self.object,
            marked,
            offset: self.written,
            recipe_at: recipe.saturating_sub((self.ops.len() - self.ops_at) as u64),
            object_at: object.saturating_sub(self.line.len() as u64),
        })
    }

    /// An engine that goes on at `place`.
    pub fn resume(place: &Place) -> Self {
        let mut engine = Reframer::stored(None);
        engine.ints = Some(place.ints);
        engine.doing = place.doing;
        engine.last_frame = place.last_frame;
        engine.objects = place.objects;
        engine.object = place.object;
        engine.marker = place.marked.map_or(&[], |marked| &COPY_END[marked..]);
        engine.written = place.offset;
        engine
    }

    /// Whether the recipe's first bytes were read: before that there is no place.
    pub fn has_begun(&self) -> bool {
        self.ints.is_some()
    }
}

/// Walks a recipe alone and finds the places of its data blocks.
#[derive(Default)]
pub struct BlockFinder {
    ints: Option<IntLayout>,
    objects: usize,
    ops: Vec<u8>,
    /// Bytes of the recipe that were walked over.
    walked: u64,
    found: usize,
}

impl BlockFinder {
    /// Takes the next bytes of the recipe and adds the places found to `places`. `blocks` says where
    /// the data blocks stand in the archive, in order.
    pub fn push(
        &mut self,
        bytes: &[u8],
        blocks: &[Block],
        places: &mut Vec<Place>,
    ) -> Result<(), &'static str> {
        self.ops.extend_from_slice(bytes);
        let mut at = 0;
        if self.ints.is_none() {
            let Some([_, size]) = self.ops.get(..2) else { return Ok(()) };
            self.ints = Some(IntLayout::new(*size).ok_or("integers of an unusual size")?);
            at = 2;
        }
        loop {
            let Decoded::Op(op, len) = Op::decode(&self.ops[at..]) else { break };
            let mut end = at + len;
            if let Op::Literal(n) | Op::Block(n) = op {
                end += (n as usize).min(RECIPE_LITERAL_MAX);
            }
            if end > self.ops.len() {
                break;
            }
            match op {
                Op::Object | Op::Rows => self.objects += 1,
                Op::Block(_) => {
                    let place = self.block(at as u64, &self.ops[at + len..end], blocks)?;
                    self.found += 1;
                    places.push(place);
                }
                _ => {}
            }
            at = end;
        }
        if matches!(Op::decode(&self.ops[at..]), Decoded::Bad) {
            return Err("an operation that this version does not know");
        }
        self.walked += at as u64;
        self.ops.drain(..at);
        Ok(())
    }

    fn block(&self, at: u64, literal: &[u8], blocks: &[Block]) -> Result<Place, &'static str> {
        let ints = self.ints.unwrap_or_default();
        let Some(Int::Value(id @ 1..)) = literal.get(1..).map(|id| ints.read(id)) else {
            return Err("a block without a dump id");
        };
        let block = blocks.get(self.found).filter(|block| i64::from(block.dump_id) == id);
        Ok(Place {
            ints,
            doing: Doing::Nothing,
            last_frame: None,
            objects: self.objects,
            object: Object::None,
            marked: None,
            offset: block.ok_or("blocks that the description of the dump does not name")?.offset,
            recipe_at: self.walked + at,
            object_at: 0,
        })
    }
}
