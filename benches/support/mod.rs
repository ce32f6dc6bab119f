//! What both benches work on, made up and the same on every machine: a shop's dump as plain COPY
//! text, and packs that exist only as what an index says of them.

pub mod heap;
pub mod packs;
pub mod shop;
