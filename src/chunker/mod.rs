//! Layer 1: content-defined cut points. FastCDC (Xia et al. 2020) with a gear table drawn from a
//! repository secret, over a window of our own. The algorithm is written out in
//! `format-spec/chunking.md`; the tests hold the crate against that text, because its releases
//! have moved cut points before. And where a chunk stands in an earlier content, by its cut points.

mod cut;
mod follow;
mod window;

pub use cut::{Chunker, GEAR_BYTES, Settings, SettingsError};
pub use follow::{BASES_MAX, Base, Bases, Follow};
pub use window::Window;
