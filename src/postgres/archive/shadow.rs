//! Proves a split while it is made: stands before the real sink, puts the archive together again
//! from the very events that are stored, and hands its bytes to a hasher (or a comparison). If
//! they are the bytes that were read, the dump can be restored exactly.

use crate::postgres::archive::reframe::{ReframeError, Reframer, Want};
use crate::postgres::archive::split::{ObjectEnd, ObjectKey, Sink};

/// A sink in front of another.
pub struct Shadow<S, H> {
    inner: S,
    engine: Reframer<'static>,
    hasher: H,
}

/// Why the shadow fails.
#[derive(Debug, thiserror::Error)]
pub enum ShadowError<E> {
    /// The sink behind it.
    #[error(transparent)]
    Sink(E),
    /// The events do not make an archive: a defect of the split.
    #[error("the split of the dump does not fit together: {0}")]
    Split(&'static str),
}

impl<S: Sink, H: FnMut(&[u8])> Shadow<S, H> {
    /// Passes all events on to `inner`, and the archive that they make to `hasher`.
    pub fn new(inner: S, hasher: H) -> Self {
        Shadow { inner, engine: Reframer::live(), hasher }
    }

    /// The sink behind the shadow.
    pub fn inner(&mut self) -> &mut S {
        &mut self.inner
    }

    /// After the split is finished: hands out the last bytes. Returns the sink, the hasher and
    /// the archive's length.
    pub fn finish(mut self) -> Result<(S, H, u64), ShadowError<S::Error>> {
        let hasher = &mut self.hasher;
        let length = self.engine.finish(&mut |bytes| {
            hasher(bytes);
            Ok(())
        });
        match length {
            Ok(length) => Ok((self.inner, self.hasher, length)),
            Err(error) => Err(split_error(error)),
        }
    }

    /// Lets the engine work. All of `input` must be taken: operations come before their bytes.
    fn run(&mut self, mut input: &[u8]) -> Result<(), ShadowError<S::Error>> {
        let hasher = &mut self.hasher;
        let mut emit = |bytes: &[u8]| {
            hasher(bytes);
            Ok(())
        };
        loop {
            match self.engine.run(&mut input, &mut emit).map_err(split_error)? {
                Want::Object(_) => {}
                Want::Operations | Want::Bytes if input.is_empty() => return Ok(()),
                Want::Operations | Want::Bytes => {
                    return Err(ShadowError::Split("bytes that no operation covers"));
                }
            }
        }
    }
}

fn split_error<E>(error: ReframeError) -> ShadowError<E> {
    match error {
        ReframeError::Bad(reason) => ShadowError::Split(reason),
        // The hasher above never fails.
        ReframeError::Out(_) => ShadowError::Split("the hasher failed"),
    }
}

impl<S: Sink, H: FnMut(&[u8])> Sink for Shadow<S, H> {
    type Error = ShadowError<S::Error>;

    fn object_begin(&mut self, key: &ObjectKey) -> Result<(), Self::Error> {
        self.inner.object_begin(key).map_err(ShadowError::Sink)
    }

    fn object_bytes(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        self.run(bytes)?;
        self.inner.object_bytes(bytes).map_err(ShadowError::Sink)
    }

    fn object_end(&mut self, end: &ObjectEnd) -> Result<(), Self::Error> {
        self.engine.end_object().map_err(split_error)?;
        self.run(&[])?;
        self.inner.object_end(end).map_err(ShadowError::Sink)
    }

    fn recipe(&mut self, operations: &[u8]) -> Result<(), Self::Error> {
        self.engine.add_operations(operations);
        self.run(&[])?;
        self.inner.recipe(operations).map_err(ShadowError::Sink)
    }
}
