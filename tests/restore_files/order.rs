//! Files that were stored in another order than that of their names: each segment is read about once.

use std::fs;
use std::sync::Arc;

use kamba_vault::base::id::SessionId;
use kamba_vault::format::name::DATA;
use kamba_vault::format::node::{Node, NodeType};
use kamba_vault::storage::{Backend, Op, Record};

use crate::support::{self, Vault, noise};
use crate::tree::{commit, meta, restore, to};

/// Many more than one batch has.
const FILES: u64 = 2000;
const LEN: usize = 5000;

/// The name of the file that comes as the `number`-th: neighbours have names far apart.
fn name(number: u64) -> String {
    format!("{:04}", number * 617 % FILES)
}

#[test]
fn files_stored_in_any_order_are_read_about_once() {
    let vault = Vault::new();
    let session = support::begin(&vault.repo).unwrap();
    let node = |number| {
        let content = support::store(&session, &noise(number, LEN)).unwrap().entries;
        Node { meta: meta(0o600), ..Node::with_content(name(number), NodeType::File, content).unwrap() }
    };
    let mut nodes: Vec<Node> = (0..FILES).map(node).collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let listing = support::listing(&session, &nodes).unwrap();
    let folder = Node { meta: meta(0o700), ..Node::with_children("base", NodeType::Directory, listing) };
    let children = support::listing(&session, &[folder]).unwrap();
    let id = commit(&vault.repo, session, children, "/srv");

    let (temp, fetched) = restored(&vault, &id);
    for number in 0..FILES {
        let found = fs::read(temp.path().join("target/base").join(name(number))).unwrap();
        assert!(found == noise(number, LEN), "{number}");
    }
    let held = FILES * LEN as u64;
    // What several batches share is read by each; the noise does not shrink.
    assert!(fetched >= held, "{fetched} of {held} bytes");
    assert!(fetched < held + held / 4, "{fetched} bytes were read for {held}");
}

/// Restores to the folder `target` in the folder that comes back, by a machine that has seen nothing yet; and what
/// that read of packs of data, in bytes.
fn restored(vault: &Vault, id: &SessionId) -> (tempfile::TempDir, u64) {
    let record = Arc::new(Record::new(vault.memory.clone()));
    let backend: Arc<dyn Backend> = record.clone();
    let (cache, temp) = (support::folder(), support::folder());
    let repo = support::open(&backend, cache.path());
    record.clear();
    restore(&repo, id, &to(&temp.path().join("target")));
    let is_data = |name: &str| name.starts_with(DATA);
    let calls = record.calls();
    let reads = calls.iter().filter(|call| call.op == Op::GetRange && is_data(&call.name));
    (temp, reads.map(|call| call.amount).sum())
}

/// Of a file that was changed here and there, what is between the changes lies where the bases of the changes
/// lie, in the same segments.
#[test]
fn a_file_with_changes_here_and_there_is_read_about_once() {
    let vault = Vault::new();
    let mut data = noise(1, 12 << 20);
    support::snapshot(&vault.repo, "orders", &data).unwrap();
    for at in (0..data.len()).step_by(300_000) {
        data[at] ^= 1;
    }
    let made = support::snapshot(&vault.repo, "orders", &data).unwrap();
    let mut held = 0;
    vault.memory.list(DATA, &mut |object| held += object.size).unwrap();
    assert!(made.added.stored_bytes < held / 10, "what was changed is stored as deltas");

    let (temp, fetched) = restored(&vault, &made.id);
    assert!(fs::read(temp.path().join("target/orders")).unwrap() == data);
    assert!(fetched >= data.len() as u64, "{fetched} bytes");
    assert!(fetched < held + held / 4, "{fetched} bytes were read of {held}");
}
