//! Puts an archive together again: the exact bytes, streamed, from a recipe and the objects.
//! Memory is bounded whatever the recipe says. Where objects come from is the caller's.

use std::io::{self, Read, Write};

use crate::postgres::archive::reframe::{Filter, ReframeError, Reframer, Want};
use crate::postgres::archive::split::Block;

/// Bytes of the recipe read at a time.
const READ_RECIPE: usize = 32 << 10;

/// Bytes of an object read at a time.
const READ_OBJECT: usize = 256 << 10;

/// Why an archive could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Recipe and objects do not fit each other.
    #[error("the recipe of the dump is damaged: {0}")]
    Recipe(&'static str),
    /// The recipe or an object could not be read.
    #[error("{0}")]
    Read(#[source] io::Error),
    /// The output failed.
    #[error("{0}")]
    Write(#[source] io::Error),
}

impl From<ReframeError> for JoinError {
    fn from(error: ReframeError) -> Self {
        match error {
            ReframeError::Bad(reason) => JoinError::Recipe(reason),
            ReframeError::Out(error) => JoinError::Write(error),
        }
    }
}

/// What was put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Length of the archive.
    pub bytes: u64,
    /// Where its data blocks begin, for `seekable::patch_head`.
    pub blocks: Vec<Block>,
}

/// Streams the archive to `out`. `objects` opens the object with a number;
/// numbers count the objects in order of appearance, and are asked for in that order.
///
/// With a `filter`, data blocks whose dump id it refuses are left out: pg_restore takes such an
/// archive from a pipe as long as it is asked for nothing that is missing. The head is always
/// there. A dump that was not taken apart to its end cannot be filtered.
pub fn join<'o, R, O, W>(
    mut recipe: R,
    mut objects: O,
    filter: Option<Filter<'_>>,
    out: &mut W,
) -> Result<Joined, JoinError>
where
    R: Read,
    O: FnMut(usize) -> io::Result<Box<dyn Read + 'o>>,
    W: Write + ?Sized,
{
    let mut engine = Reframer::stored(filter);
    let mut emit = |bytes: &[u8]| out.write_all(bytes);
    let mut operations = vec![0u8; READ_RECIPE];
    let mut buf = vec![0u8; READ_OBJECT];
    let (mut at, mut end) = (0, 0);
    let mut recipe_ended = false;
    let mut object: Option<Box<dyn Read + 'o>> = None;
    loop {
        let mut input = &buf[at..end];
        let want = engine.run(&mut input, &mut emit)?;
        at = end - input.len();
        match want {
            Want::Operations if recipe_ended => break,
            Want::Operations => {
                let n = read_some(&mut recipe, &mut operations)?;
                engine.add_operations(&operations[..n]);
                if n == 0 {
                    recipe_ended = true;
                    engine.end_operations();
                }
            }
            Want::Object(number) => object = Some(objects(number).map_err(JoinError::Read)?),
            Want::Bytes => {
                let n = match &mut object {
                    Some(object) => read_some(object, &mut buf)?,
                    None => 0,
                };
                (at, end) = (0, n);
                if n == 0 {
                    object = None;
                    engine.end_object()?;
                }
            }
        }
    }
    let blocks = engine.take_blocks();
    Ok(Joined { bytes: engine.finish(&mut emit)?, blocks })
}

fn read_some<R: Read + ?Sized>(from: &mut R, buf: &mut [u8]) -> Result<usize, JoinError> {
    loop {
        match from.read(buf) {
            Ok(n) => return Ok(n),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(JoinError::Read(error)),
        }
    }
}
