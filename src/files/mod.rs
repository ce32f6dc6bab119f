//! The live file tree: what Linux keeps about files, written back as a snapshot says.
//!
//! Layer 2, and so without any idea that a repository exists: nodes go in, files come out. Not here:
//! which files are wanted, where their content comes from, and what is said to the user.

pub mod write;
