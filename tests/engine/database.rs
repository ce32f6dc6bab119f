//! Damage to a stored database: each of its parts in turn is lost or left out. `check` names it, what
//! does not need the part reads back exactly, and what does gives nothing wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use kamba_vault::base::class::Class;
use kamba_vault::base::clock::Cancel;
use kamba_vault::base::id::{ChunkId, SessionId};
use kamba_vault::base::monitor::Silent;
use kamba_vault::format::list::ListEntry;
use kamba_vault::format::node::{Node, NodeType};
use kamba_vault::ops::snapshot::{DbRequest, snapshot_db};
use kamba_vault::postgres::cluster::{Cluster, ClusterOptions};
use kamba_vault::postgres::dump::PassedOn;
use kamba_vault::postgres::server::Server;
use kamba_vault::postgres::tools::Tools;
use kamba_vault::repo::Repository;
use kamba_vault::repo::read::ChunkReader;
use kamba_vault::repo::roots;
use kamba_vault::vfs::Children;

use crate::support::views::{cat, foretold, ls};
use crate::support::{self, Vault, check_all};

/// Two tables and a large object.
const SHOP: &[u8] = b"
    CREATE TABLE a AS SELECT n, md5(n::text) AS text FROM generate_series(1, 3000) n;
    CREATE TABLE b AS SELECT n FROM generate_series(1, 500) n;
    SELECT lo_from_bytea(16001, convert_to(repeat('large object ', 1000), 'UTF8'));
";

/// A snapshot of a real database and of the cluster's globals.
fn snapshot_shop(repo: &Repository) -> SessionId {
    let tools = Tools::new(None, std::env::var_os("PATH"), &Cancel::new());
    let options = ClusterOptions { may_lose_data: true, ..ClusterOptions::default() };
    let cluster = Cluster::start(&tools, &std::env::temp_dir(), &options).expect("a throwaway cluster");
    let server = Server::new(&tools, &cluster.settings()).unwrap();
    server.create_database("shop", None).unwrap();
    server.database("shop").run(SHOP).unwrap();
    let request = DbRequest {
        settings: cluster.settings(),
        tools: tools.clone(),
        databases: vec!["shop".into()],
        all: false,
        globals: true,
        passed_on: PassedOn::default(),
    };
    let made = snapshot_db(repo, &support::provenance(), &request, Arc::new(Silent), &Cancel::new());
    made.unwrap().id
}

/// The nodes of a folder.
fn children(reader: &ChunkReader, entries: &[ListEntry]) -> Vec<Node> {
    let mut children = Children::new(entries.to_vec());
    std::iter::from_fn(|| children.next(reader).unwrap()).collect()
}

/// What happens to a part.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Harm {
    /// Its bytes are in no pack.
    Lose,
    /// It is not in its folder.
    LeaveOut,
}

/// A folder, below which the part at `path` is harmed, stored anew.
fn harmed(repo: &Repository, entries: &[ListEntry], path: &str, harm: Harm) -> Vec<ListEntry> {
    let reader = ChunkReader::new(repo);
    let (first, rest) = path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let mut nodes = children(&reader, entries);
    let at = nodes.iter().position(|node| node.name == first.as_bytes()).unwrap_or_else(|| panic!("{path}"));
    match (rest, harm) {
        (Some(rest), _) => {
            let inner = harmed(repo, &nodes[at].children, rest, harm);
            nodes[at].children = inner;
        }
        (None, Harm::LeaveOut) => drop(nodes.remove(at)),
        (None, Harm::Lose) => {
            let len = nodes[at].size.unwrap().min(1000) as u32;
            let lost = vec![ListEntry::Chunk { len, id: ChunkId([7; 32]) }];
            nodes[at] = Node::with_content(first, nodes[at].kind, lost).unwrap();
        }
    }
    let session = support::begin(repo).unwrap();
    let listing = support::listing(&session, &nodes).unwrap();
    // Stored and indexed, without a snapshot.
    session.commit(|_, _| Err(kamba_vault::repo::Error::Usage("no".into()))).unwrap_err();
    listing
}

/// Paths of all that is stored of the database, below its own.
fn parts(reader: &ChunkReader, entries: &[ListEntry], above: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for node in children(reader, entries) {
        let path = format!("{above}{}", String::from_utf8(node.name.clone()).unwrap());
        match node.kind {
            NodeType::Directory => paths.extend(parts(reader, &node.children, &format!("{path}/"))),
            _ => paths.push(path),
        }
    }
    paths
}

#[test]
fn each_part_of_a_database_may_be_lost() {
    let vault = Vault::new();
    let repo = &vault.repo;
    let sound = snapshot_shop(repo);
    assert!(support::assert_clean(repo).is_clean());
    let is_file = |path: &String| path.contains('.') || path.contains("large-objects/");
    let files: Vec<String> = ls(repo, &sound).unwrap().into_iter().filter(is_file).collect();
    let whole: BTreeMap<String, Vec<u8>> =
        files.iter().map(|path| (path.clone(), cat(repo, &sound, path).unwrap())).collect();
    assert!(whole.len() >= 8, "{files:?}");
    let listing = roots::list(repo, &Cancel::new()).unwrap();
    let root = listing.snapshots[0].root.root.clone();
    let reader = ChunkReader::new(repo);
    let database = children(&reader, &root.children).into_iter().find(|n| n.kind == NodeType::Database);
    let stored = parts(&reader, &database.unwrap().children, "");
    for needed in ["head", "info", "recipe", "tables/public.a.copy"] {
        assert!(stored.iter().any(|path| path == needed), "no {needed} in {stored:?}");
    }
    for part in &stored {
        for harm in [Harm::Lose, Harm::LeaveOut] {
            let what = format!("{part} {harm:?}");
            let top = harmed(repo, &root.children, &format!("shop/{part}"), harm);
            let session = support::begin(repo).unwrap();
            let id = support::commit_children(session, repo, top).unwrap();
            let report = check_all(repo);
            let of_this = |hurt: &kamba_vault::ops::check::Hurt| hurt.snapshot == id;
            assert!(report.hurt.iter().any(of_this), "{what}: {report:#?}");
            assert!(!foretold(&report, &sound, "shop"), "{what} hurts no other snapshot");
            let mut lost = 0;
            for (path, bytes) in &whole {
                match cat(repo, &id, path) {
                    Ok(read) => assert!(read == *bytes, "{what}: {path} is wrong"),
                    Err(failed) => {
                        lost += 1;
                        assert!(path.starts_with("shop/"), "{what}: {path}: {}", failed.error);
                        assert!(bytes.starts_with(&failed.given), "{what}: {path} begins wrong");
                        // A path that was left out is unknown, not damaged.
                        let gone = harm == Harm::LeaveOut && failed.error.class() == Class::Failed;
                        assert!(gone || failed.error.class() == Class::Damaged, "{what}: {}", failed.error);
                    }
                }
            }
            // Without its description nothing of the database is shown; without another part the rest is.
            assert!(lost > 0, "{what}: nobody missed it");
            assert!(part == "info" || lost < whole.len() - 1, "{what}: {lost} of {} lost", whole.len());
        }
    }
}
