//! Pages and paths.
