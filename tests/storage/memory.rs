//! The backend in memory.

use std::sync::Arc;

use kamba_vault::storage::{Backend, Memory};

use crate::conformance;

#[test]
fn memory_conforms() {
    conformance::run(&|place| Memory::named(&format!("conformance-{place}")) as Arc<dyn Backend>);
}

#[test]
fn only_named_memory_is_found_again() {
    Memory::named("kept").put_new("x", b"x").unwrap();
    assert_eq!(Memory::named("kept").stat("x").unwrap(), Some(1));
    Memory::named("").put_new("x", b"x").unwrap();
    assert_eq!(Memory::named("").stat("x").unwrap(), None);
}
