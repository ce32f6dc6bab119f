//! What `init` finds out about a backend.

use std::ops::Range;
use std::sync::Arc;
use std::thread;

use kamba_vault::base::clock::SystemClock;
use kamba_vault::base::secret::Secret32;
use kamba_vault::crypto::SystemRandom;
use kamba_vault::repo::{self, Credentials, InitOptions};
use kamba_vault::storage::{
    Backend, CreateIfAbsent, Effect, Entry, Error, ErrorKind, Fault, Gate, LookFirst, Memory, Op, Probe,
    Probed, Rule, probe,
};

use crate::conformance::{kind, listed};

pub const SOUND: Probe =
    Probe { create_if_absent: Probed::Atomic, list_after_write: true, read_back: true, delete: true };

/// A service that claims what it does not keep.
#[derive(Debug, Default)]
struct Liar {
    memory: Memory,
    overwrites: bool,
    lists_nothing: bool,
    keeps_deleted: bool,
    reads_stale: bool,
}

impl Backend for Liar {
    fn location(&self) -> String {
        "liar".to_owned()
    }
    fn create_if_absent(&self) -> CreateIfAbsent {
        CreateIfAbsent::Atomic
    }
    fn is_local(&self) -> bool {
        false
    }
    fn get(&self, name: &str, max: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = self.memory.get(name, max)?;
        if self.reads_stale {
            bytes[0] ^= 1;
        }
        Ok(bytes)
    }
    fn get_range(&self, name: &str, range: Range<u64>, into: &mut Vec<u8>) -> Result<(), Error> {
        self.memory.get_range(name, range, into)
    }
    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        if self.overwrites {
            self.memory.overwrite(name, bytes);
            return Ok(());
        }
        self.memory.put_new(name, bytes)
    }
    fn list(&self, prefix: &str, each: &mut dyn FnMut(Entry)) -> Result<(), Error> {
        if self.lists_nothing { Ok(()) } else { self.memory.list(prefix, each) }
    }
    fn stat(&self, name: &str) -> Result<Option<u64>, Error> {
        self.memory.stat(name)
    }
    fn delete(&self, name: &str) -> Result<(), Error> {
        if self.keeps_deleted { Ok(()) } else { self.memory.delete(name) }
    }
}

#[test]
fn a_sound_backend_is_found_sound_and_left_clean() {
    let folder = tempfile::tempdir().unwrap();
    let local = kamba_vault::storage::Local::open(folder.path()).unwrap();
    assert_eq!(probe(&local).unwrap(), SOUND);
    assert_eq!(listed(&local, "").len(), 0);
    assert_eq!(probe(&local).unwrap(), SOUND, "a second time too");
}

#[test]
fn what_a_backend_lacks_is_found() {
    let overwrites = Liar { overwrites: true, ..Liar::default() };
    assert_eq!(probe(&overwrites).unwrap(), Probe { create_if_absent: Probed::Ignored, ..SOUND });
    assert_eq!(listed(&overwrites.memory, "").len(), 0);
    let lists_nothing = Liar { lists_nothing: true, ..Liar::default() };
    assert_eq!(probe(&lists_nothing).unwrap(), Probe { list_after_write: false, ..SOUND });
    let keeps_deleted = Liar { keeps_deleted: true, ..Liar::default() };
    assert_eq!(probe(&keeps_deleted).unwrap(), Probe { delete: false, ..SOUND });
    let reads_stale = Liar { reads_stale: true, ..Liar::default() };
    assert!(!probe(&reads_stale).unwrap().read_back);
    let looks_first = LookFirst::new(Memory::named(""));
    assert_eq!(probe(&looks_first).unwrap(), Probe { create_if_absent: Probed::LookFirst, ..SOUND });
}

#[test]
fn a_creation_that_is_only_looked_for_is_found_by_the_race() {
    /// Claims to be atomic, but looks and then writes, with all creators between the two at once.
    #[derive(Debug)]
    struct Racy(LookFirst, std::sync::Barrier);
    impl Backend for Racy {
        fn location(&self) -> String {
            "racy".to_owned()
        }
        fn create_if_absent(&self) -> CreateIfAbsent {
            CreateIfAbsent::Atomic
        }
        fn is_local(&self) -> bool {
            false
        }
        fn get(&self, name: &str, max: u64) -> Result<Vec<u8>, Error> {
            self.0.get(name, max)
        }
        fn get_range(&self, name: &str, range: Range<u64>, into: &mut Vec<u8>) -> Result<(), Error> {
            self.0.get_range(name, range, into)
        }
        fn put_new(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
            if !name.contains("race") {
                return self.0.put_new(name, bytes);
            }
            let free = self.0.stat(name)?.is_none();
            self.1.wait();
            if free { Ok(()) } else { self.0.put_new(name, bytes) }
        }
        fn list(&self, prefix: &str, each: &mut dyn FnMut(Entry)) -> Result<(), Error> {
            self.0.list(prefix, each)
        }
        fn stat(&self, name: &str) -> Result<Option<u64>, Error> {
            self.0.stat(name)
        }
        fn delete(&self, name: &str) -> Result<(), Error> {
            self.0.delete(name)
        }
    }
    let racy = Racy(LookFirst::new(Memory::named("")), std::sync::Barrier::new(4));
    assert_eq!(probe(&racy).unwrap(), Probe { create_if_absent: Probed::LookFirst, ..SOUND });
}

#[test]
fn an_init_that_finds_out_does_not_overwrite_either() {
    let liar = Arc::new(Liar { overwrites: true, ..Liar::default() });
    let (fault, gate) = (Fault::new(liar.clone()), Gate::new());
    // After the probe: the keyslot comes first, the configuration last.
    fault.add(Rule::new(Effect::Wait(gate.clone()), |op, name| op == Op::Put && name.starts_with("keys/")));
    let credentials = Credentials { passphrase: None, key_file: Some(Secret32([7; 32])) };
    let init = || repo::init(&fault, &credentials, &InitOptions::default(), &SystemClock, &SystemRandom);
    let ended = thread::scope(|scope| {
        let init = scope.spawn(init);
        gate.wait_until_reached();
        liar.memory.overwrite("config", b"another's");
        gate.open();
        init.join().unwrap()
    });
    assert!(matches!(ended, Err(repo::Error::AlreadyThere { .. })), "{ended:?}");
    assert_eq!(liar.memory.get("config", 100).unwrap(), b"another's");
}

#[test]
fn an_append_only_place_passes_without_deletion() {
    let fault = Fault::new(Memory::named(""));
    fault.add(Rule::on(Op::Delete, Effect::Fail(ErrorKind::Permission)));
    assert_eq!(probe(&fault).unwrap(), Probe { delete: false, ..SOUND });
}

#[test]
fn a_failing_backend_fails_the_probe_and_is_left_clean() {
    let memory = Memory::named("");
    let fault = Arc::new(Fault::new(memory.clone()));
    fault.add(Rule::on(Op::Put, Effect::Fail(ErrorKind::Full)).after(3));
    assert_eq!(kind(probe(&*fault)), ErrorKind::Full);
    assert_eq!(listed(&*memory, "").len(), 0);
}
