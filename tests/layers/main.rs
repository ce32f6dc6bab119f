//! Holds the sources against the architecture: a module imports from lower layers only, each
//! foreign crate stays with its owner, nothing below `cli` prints, exits, reads the environment or
//! a clock. A failure names file, line and rule. The checker itself is tested on sources that
//! break each rule, so that it cannot fall silent.
#![allow(clippy::unwrap_used)]

mod rules;
mod tokens;

use std::fs;
use std::path::Path;

use rules::{LAYERS, LINES_MAX, OWNERS, RESTRICTED, breaches, test_files};

/// Every source below `src/`: its path from there, and its text.
fn sources() -> Vec<(String, String)> {
    fn visit(root: &Path, folder: &Path, into: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(root, &path, into);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                into.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    visit(&root, &root, &mut sources);
    sources.sort();
    sources
}

#[test]
fn the_sources_keep_to_the_layers() {
    let sources = sources();
    assert!(sources.iter().any(|(path, _)| path == "base/mod.rs"), "the sources were not found");
    let tests: Vec<String> = sources.iter().flat_map(|(path, text)| test_files(path, text)).collect();
    let is_test = |path: &str| tests.iter().any(|t| path == t || (t.ends_with('/') && path.starts_with(t)));
    let found: Vec<String> =
        sources.iter().flat_map(|(path, text)| breaches(path, text, is_test(path))).collect();
    assert!(found.is_empty(), "{} breaches:\n{}", found.len(), found.join("\n"));
}

#[test]
fn every_dependency_has_an_owner_and_every_owner_a_dependency() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = toml::from_str(&manifest).unwrap();
    let mut declared: Vec<String> =
        manifest["dependencies"].as_table().unwrap().keys().map(|name| name.replace('-', "_")).collect();
    declared.sort();
    let mut owned: Vec<&str> = OWNERS.iter().map(|(name, _)| *name).collect();
    owned.sort_unstable();
    assert_eq!(declared, owned, "left: Cargo.toml; right: OWNERS in tests/layers/rules.rs");
}

#[test]
fn main_is_small() {
    let (_, main) = sources().into_iter().find(|(path, _)| path == "main.rs").unwrap();
    assert!(main.lines().count() < 60);
}

#[test]
fn exceptions_have_reasons_and_are_needed() {
    let sources = sources();
    for restricted in RESTRICTED {
        for (place, reason) in restricted.except {
            assert!(!reason.is_empty());
            // A place that does not exist yet or no longer would hide a later breach.
            let exists = sources.iter().any(|(path, _)| path.starts_with(place));
            assert!(exists, "the exception for {place} ({}) names nothing", restricted.rule);
        }
    }
}

/// What the checker says of `source` at `path`, with the first line that every file needs.
fn check(path: &str, source: &str) -> Vec<String> {
    breaches(path, &format!("//! x\n{source}"), false)
}

#[test]
fn the_checker_finds_what_breaks_a_rule() {
    let cases = [
        ("repo/x.rs", "use crate::ops::plan;", "repo (layer 3) imports ops (layer 5)"),
        ("repo/x.rs", "use crate::{base::id, cli::args};", "imports cli"),
        ("repo/x.rs", "use crate::{base::{id, units}, vfs};", "imports vfs"),
        ("repo/x.rs", "fn f() { crate::vfs::open() }", "imports vfs"),
        ("format/x.rs", "use crate::crypto::aead;", "not below it"),
        ("storage/x.rs", "use crate::postgres;", "not below it"),
        ("storage/x.rs", "#[cfg(test)] mod tests { use crate::repo::open; }", "imports repo"),
        ("repo/x.rs", "use crate::util::x;", "util stands in no layer"),
        ("util.rs", "fn f() {}", "util stands in no layer"),
        ("repo/x.rs", "use opendal::Operator;", "crate opendal belongs to storage alone"),
        ("repo/x.rs", "use opendal;", "crate opendal"),
        ("repo/x.rs", "fn f() -> opendal::Result<()> {}", "crate opendal"),
        ("repo/x.rs", "use {std::fs, opendal::Operator};", "crate opendal"),
        ("repo/keys.rs", "use rusqlite::Connection;", "belongs to repo/index alone"),
        ("format/x.rs", "use aes_gcm::Aes256Gcm;", "belongs to crypto alone"),
        ("storage_extra/x.rs", "use opendal::X;", "crate opendal"),
        ("repo/x.rs", "fn f() { println!(\"x\") }", "println!"),
        ("cli/x.rs", "fn f() { eprintln!(\"x\") }", "eprintln!"),
        ("ops/x.rs", "fn f() { std::env::var(\"X\"); }", "std::env"),
        ("cli/x.rs", "fn f() { std::env::var(\"X\"); }", "only cli/env.rs"),
        ("ops/x.rs", "use std::env;\nfn f() { env::var(\"X\"); }", "x.rs:3: env::"),
        ("ops/x.rs", "fn f() { SystemTime::now(); }", "handed in"),
        ("repo/x.rs", "fn f() { std::time::Instant::now(); }", "handed in"),
        ("ops/x.rs", "fn f() { std::process::exit(1) }", "return an error"),
        ("ops/x.rs", "fn f() { io::stdout(); }", "only cli talks"),
        ("base/x.rs", "fn f() { unsafe { g() } }", "no unsafe"),
        ("base/x.rs", "#[cfg(test)] mod tests { fn f() { unsafe { g() } } }", "no unsafe"),
        ("base/x.rs", "fn f() { todo!() }", "left to do"),
        ("format/x.rs", "fn f() { blake3::Hasher::new_keyed(k); }", "in crypto alone"),
        ("base/x.rs", "use crate::base::*;", "no glob"),
        ("base/x.rs", "use super::*;", "no glob"),
        ("base/x.rs", "use super::super::repo::x;", "written from crate::"),
    ];
    for (path, source, says) in cases {
        let found = check(path, source);
        assert!(found.iter().any(|f| f.contains(says)), "{path}: {source}: {found:?}");
        assert!(found.iter().all(|f| f.starts_with(&format!("{path}:"))), "{found:?}");
    }
    let line = &check("repo/x.rs", "\n\nuse crate::ops::plan;")[0];
    assert!(line.starts_with("repo/x.rs:4: "), "{line}");
    assert_eq!(breaches("base/x.rs", "// x\n", false).len(), 1);
    assert_eq!(breaches("base/x.rs", &"//! x\n".repeat(LINES_MAX + 1), false).len(), 1);
}

#[test]
fn the_checker_leaves_alone_what_keeps_the_rules() {
    let cases = [
        ("repo/x.rs", "use crate::{base::id, format::{header, name}};\nuse crate::repo::index;"),
        ("repo/index/x.rs", "use rusqlite::Connection;"),
        ("repo/index.rs", "use rusqlite::Connection;"),
        ("storage/mod.rs", "mod url;\npub use url::parse;"),
        ("repo/x.rs", "// crate::ops and println!(\nconst X: &str = \"crate::ops unsafe env::var\";"),
        ("base/x.rs", "const V: &str = env!(\"CARGO_PKG_VERSION\");"),
        ("repo/x.rs", "#[cfg(test)] mod tests { use super::*; fn f() { println!(); zstd::x() } }"),
        ("repo/x.rs", "fn f(tokio: X) { tokio.zstd(); a::zstd::b(); }"),
        ("storage/x.rs", "fn f() { Instant::now(); }"),
        ("main.rs", "fn main() { kamba_vault::cli::main() }"),
    ];
    for (path, source) in cases {
        assert_eq!(check(path, source), [""; 0], "{path}: {source}");
    }
    assert_eq!(test_files("a/mod.rs", "#[cfg(test)] mod t;\nmod u;"), ["a/t.rs", "a/t/"]);
    assert_eq!(test_files("a/b.rs", "#[cfg(test)] pub mod t;"), ["a/b/t.rs", "a/b/t/"]);
    let named = test_files("a/b.rs", "#[cfg(test)]\n#[path = \"b_tests.rs\"]\nmod tests;");
    assert!(named.contains(&"a/b_tests.rs".to_owned()), "{named:?}");
}

#[test]
fn no_module_has_two_layers() {
    let mut names: Vec<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), LAYERS.len());
}
