//! Packs: written by [`PackBuilder`], opened by [`OpenPack`]. A pack that was built is opened and
//! recomputed by the same code that readers use before it gets its name.

mod builder;
mod open;
mod verify;

pub use builder::{Built, PackBuilder, ToSeal};
pub use open::{Gather, OpenPack, Scratch, Sealed, open_directory};
pub use verify::verify;
