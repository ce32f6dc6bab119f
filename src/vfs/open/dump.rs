//! A dump at any place: the recipe tells where its data blocks begin and which object each is made of, so
//! that a block is read without those before it.

use std::sync::{Arc, Mutex, OnceLock};

use crate::base::class::Class;
use crate::postgres::archive::reframe::{BlockFinder, Place, ReframeError, Reframer, Want};
use crate::postgres::archive::split::Block;
use crate::repo::Error;
use crate::vfs::Database;
use crate::vfs::database::Folders;
use crate::vfs::open::content::Content;
use crate::vfs::open::replay::{Maker, Makes};
use crate::vfs::open::{Form, ReadCache};

/// Bytes of the recipe read at a time.
const READ_RECIPE: usize = 32 << 10;
/// Bytes of an object read at a time.
const READ_OBJECT: usize = 256 << 10;

/// What makes the dump of a database.
pub struct Dump {
    database: Arc<Database>,
    cache: Arc<ReadCache>,
    recipe: Content,
    form: Form,
    /// The head with offsets filled in, once it was asked for.
    head: OnceLock<Arc<Vec<u8>>>,
    folders: Mutex<Folders>,
    /// Where the data blocks begin, once somebody looked.
    blocks: OnceLock<Vec<Place>>,
}

impl Dump {
    /// The dump of `database`, which is stored in parts.
    pub fn new(database: Arc<Database>, cache: Arc<ReadCache>, form: Form) -> Result<Self, Error> {
        let recipe = Content::open(database.reader().clone(), cache.clone(), &database.required("recipe")?)?;
        let (head, folders, blocks) = (OnceLock::new(), Mutex::default(), OnceLock::new());
        Ok(Dump { database, cache, recipe, form, head, folders, blocks })
    }

    fn bad(&self, reason: &str) -> Error {
        self.database.damaged(&format!("its recipe: {reason}"))
    }

    fn object(&self, number: usize) -> Result<Input, Error> {
        let missing = || self.database.damaged("its recipe names an object it lacks");
        let path = self.database.info().objects.get(number).ok_or_else(missing)?;
        if path == "head" && self.form == Form::Seekable {
            return Ok(Input { path: path.clone(), bytes: Bytes::Head(self.seekable_head()?) });
        }
        let mut folders = self.folders.lock().map_err(|_| Error::Worker)?;
        let object = folders.find(&self.database, path)?;
        drop(folders);
        let (reader, cache) = (self.database.reader().clone(), self.cache.clone());
        let content = Content::new(reader, cache, path.clone(), object.size, &object.content)?;
        Ok(Input { path: path.clone(), bytes: Bytes::Stored(content) })
    }

    fn seekable_head(&self) -> Result<Arc<Vec<u8>>, Error> {
        if let Some(head) = self.head.get() {
            return Ok(head.clone());
        }
        let head = self.database.patched_head()?.unwrap_or_default();
        Ok(self.head.get_or_init(|| Arc::new(head)).clone())
    }

    fn blocks(&self) -> Result<&[Place], Error> {
        if let Some(blocks) = self.blocks.get() {
            return Ok(blocks);
        }
        let blocks = self.database.blocks();
        if !blocks.is_sorted_by(|a, b| a.offset < b.offset) {
            return Err(self.database.damaged("its data blocks are not in order"));
        }
        let (mut finder, mut places, mut bytes, mut at) = (BlockFinder::default(), Vec::new(), Vec::new(), 0);
        loop {
            bytes.clear();
            self.recipe.read_at(at, READ_RECIPE, &mut bytes)?;
            if bytes.is_empty() {
                break;
            }
            at += bytes.len() as u64;
            finder.push(&bytes, &blocks, &mut places).map_err(|reason| self.bad(reason))?;
        }
        Ok(self.blocks.get_or_init(|| places))
    }
}

/// An object that is being read.
struct Input {
    path: String,
    bytes: Bytes,
}

enum Bytes {
    Head(Arc<Vec<u8>>),
    Stored(Content),
}

impl Input {
    fn read(&self, at: u64, out: &mut Vec<u8>) -> Result<(), Error> {
        match &self.bytes {
            Bytes::Stored(content) => content.read_at(at, READ_OBJECT, out),
            Bytes::Head(head) => {
                let from = usize::try_from(at).unwrap_or(usize::MAX).min(head.len());
                out.extend_from_slice(&head[from..head.len().min(from + READ_OBJECT)]);
                Ok(())
            }
        }
    }
}

/// Follows the recipe.
pub struct DumpMaker {
    dump: Arc<Dump>,
    engine: Reframer<'static>,
    /// Bytes of the recipe that were taken.
    recipe_at: u64,
    recipe_ended: bool,
    object: Option<Input>,
    /// Bytes of the object that were read.
    object_at: u64,
    input: Vec<u8>,
    /// Bytes of `input` that were taken.
    taken: usize,
    place: Option<Place>,
    operations: Vec<u8>,
}

impl DumpMaker {
    fn new(dump: &Arc<Dump>, engine: Reframer<'static>) -> Self {
        DumpMaker {
            dump: dump.clone(),
            engine,
            recipe_at: 0,
            recipe_ended: false,
            object: None,
            object_at: 0,
            input: Vec::new(),
            taken: 0,
            place: None,
            operations: Vec::new(),
        }
    }

    fn resume(dump: &Arc<Dump>, place: &Place) -> Result<Self, Error> {
        let object = place.object().map(|number| dump.object(number)).transpose()?;
        let (recipe_at, object_at) = (place.recipe_at, place.object_at);
        Ok(DumpMaker { object, recipe_at, object_at, ..Self::new(dump, Reframer::resume(place)) })
    }

    fn failed(&self, e: ReframeError) -> Error {
        match e {
            ReframeError::Bad(reason) => self.dump.bad(reason),
            ReframeError::Out(source) => Error::Sink { what: "the dump".into(), source },
        }
    }

    fn add_operations(&mut self) -> Result<(), Error> {
        self.operations.clear();
        self.dump.recipe.read_at(self.recipe_at, READ_RECIPE, &mut self.operations)?;
        self.recipe_at += self.operations.len() as u64;
        self.engine.add_operations(&self.operations);
        if self.operations.is_empty() {
            self.recipe_ended = true;
            self.engine.end_operations();
        }
        Ok(())
    }

    fn add_bytes(&mut self) -> Result<(), Error> {
        self.input.clear();
        self.taken = 0;
        if let Some(object) = &self.object {
            object.read(self.object_at, &mut self.input).map_err(|e| match e.class() {
                Class::Damaged => self.dump.database.damaged(&format!("its {}: {e}", object.path)),
                _ => e,
            })?;
        }
        self.object_at += self.input.len() as u64;
        if self.input.is_empty() {
            self.object = None;
            self.engine.end_object().map_err(|e| self.failed(e))?;
        }
        Ok(())
    }

    /// The blocks that came must be where the description of the dump says: readers begin there.
    fn check_blocks(&mut self) -> Result<(), Error> {
        let listed = &self.dump.database.info().blocks;
        for block in self.engine.take_blocks() {
            let found = listed.binary_search_by_key(&block.offset, |listed| listed.offset);
            if found.is_ok_and(|at| listed[at].dump_id == block.dump_id) {
                continue;
            }
            let reason = "a data block is not where its description says";
            return Err(self.dump.database.damaged(reason));
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        let engine = std::mem::replace(&mut self.engine, Reframer::stored(None));
        let written = engine.finish(&mut |bytes| {
            out.extend_from_slice(bytes);
            Ok(())
        });
        match written.map_err(|e| self.failed(e))? == self.dump.database.dump_len() {
            true => Ok(()),
            false => Err(self.dump.database.damaged("what is put together has another length than the dump")),
        }
    }
}

impl Maker for DumpMaker {
    type Place = Place;

    fn make(&mut self, out: &mut Vec<u8>) -> Result<bool, Error> {
        let mut emit = |bytes: &[u8]| {
            out.extend_from_slice(bytes);
            Ok(())
        };
        let mut input = &self.input[self.taken..];
        let want = self.engine.run(&mut input, &mut emit);
        self.taken = self.input.len() - input.len();
        let want = want.map_err(|e| self.failed(e))?;
        let object_at = self.object_at - (self.input.len() - self.taken) as u64;
        let place = self.engine.place(self.recipe_at, object_at, &mut emit);
        let place = place.map_err(|e| self.failed(e))?;
        self.place = self.engine.has_begun().then_some(place);
        self.check_blocks()?;
        match want {
            Want::Operations if self.recipe_ended => {
                self.finish(out)?;
                return Ok(false);
            }
            Want::Operations => self.add_operations()?,
            Want::Object(number) => {
                // The place is one before the object is opened, and it is opened again from there.
                self.object = Some(self.dump.object(number)?);
                self.object_at = 0;
            }
            Want::Bytes => self.add_bytes()?,
        }
        Ok(true)
    }

    fn place(&mut self) -> Option<Place> {
        self.place.clone()
    }
}

impl Makes for Arc<Dump> {
    type Maker = DumpMaker;

    fn begin(&self) -> Result<DumpMaker, Error> {
        Ok(DumpMaker::new(self, Reframer::stored(None)))
    }

    fn resume(&self, place: &Place) -> Result<DumpMaker, Error> {
        DumpMaker::resume(self, place)
    }

    fn known(&self, offset: u64) -> Result<Option<(u64, Place)>, Error> {
        let blocks = self.blocks()?;
        let after = blocks.partition_point(|place| place.offset <= offset);
        Ok(after.checked_sub(1).map(|at| (blocks[at].offset, blocks[at].clone())))
    }
}

impl Database {
    /// Where the data blocks stand.
    fn blocks(&self) -> Vec<Block> {
        self.info().blocks.iter().map(|b| Block { dump_id: b.dump_id, offset: b.offset }).collect()
    }
}
