//! The rules themselves: which module stands in which layer, which module owns which foreign
//! crate, what may be done only in some places. The table of `src/lib.rs` in a form that a test
//! can hold the sources against.

use std::collections::BTreeSet;

use crate::tokens::{Token, tokens};

/// Longest source file, in lines.
pub const LINES_MAX: usize = 700;

/// Every module at the top of `src/`, with its layer. A module imports from lower layers only.
pub const LAYERS: &[(&str, u8)] = &[
    ("main", 8),
    ("cli", 7),
    ("mount", 6),
    ("agent", 6),
    ("ops", 5),
    ("vfs", 4),
    ("repo", 3),
    ("storage", 2),
    ("files", 2),
    ("postgres", 2),
    ("format", 1),
    ("archive", 1),
    ("chunker", 1),
    ("crypto", 1),
    ("codec", 1),
    ("base", 0),
];

/// Where a crate may be named: anywhere, or below one of these folders of `src/` only.
pub enum Owner {
    /// The vocabulary of all layers: derives, small types.
    Anywhere,
    /// Only below these.
    Only(&'static [&'static str]),
}

/// Every dependency of Cargo.toml and who owns it. One that is not here fails the test, so that
/// each new crate is given a place on purpose.
pub const OWNERS: &[(&str, Owner)] = &[
    ("aes", Owner::Only(&["crypto"])),
    ("aes_gcm", Owner::Only(&["crypto"])),
    ("argon2", Owner::Only(&["crypto"])),
    // Without a key it is only a checksum; with one it belongs to crypto: see RESTRICTED.
    ("blake3", Owner::Anywhere),
    ("bytes", Owner::Only(&["storage"])),
    ("clap", Owner::Only(&["cli"])),
    ("clap_complete", Owner::Only(&["cli"])),
    ("clap_mangen", Owner::Only(&["cli"])),
    ("comfy_table", Owner::Only(&["cli"])),
    // What PostgreSQL sums its control file and backup manifests by.
    ("crc32c", Owner::Only(&["postgres"])),
    ("crossbeam_channel", Owner::Anywhere),
    ("ed25519_dalek", Owner::Only(&["crypto"])),
    ("fastcdc", Owner::Only(&["chunker"])),
    ("fuser", Owner::Only(&["mount"])),
    ("futures", Owner::Only(&["storage"])),
    // In storage: names of temporary files and the jitter of retries, no secrets.
    ("getrandom", Owner::Only(&["crypto", "storage"])),
    ("hpke", Owner::Only(&["crypto"])),
    ("http", Owner::Only(&["storage"])),
    ("http_body", Owner::Only(&["storage"])),
    ("ignore", Owner::Only(&["files"])),
    ("indicatif", Owner::Only(&["cli"])),
    ("jiff", Owner::Only(&["cli"])),
    // PostgreSQL's own client library, found when it is needed.
    ("libloading", Owner::Only(&["postgres/libpq"])),
    ("memchr", Owner::Anywhere),
    ("memmap2", Owner::Only(&["repo"])),
    // Safe calls for the names of users and groups, nothing else.
    ("nix", Owner::Only(&["files"])),
    ("opendal", Owner::Only(&["storage"])),
    ("percent_encoding", Owner::Anywhere),
    ("rand_core", Owner::Only(&["crypto"])),
    ("rayon", Owner::Only(&["ops", "repo"])),
    ("reqwest", Owner::Only(&["storage"])),
    ("rusqlite", Owner::Only(&["repo/index"])),
    ("rustix", Owner::Anywhere),
    ("serde", Owner::Anywhere),
    // In postgres: backup manifests. In storage: which settings a service knows.
    ("serde_json", Owner::Only(&["cli", "format", "ops", "postgres", "storage", "vfs"])),
    ("signal_hook", Owner::Only(&["cli"])),
    ("tempfile", Owner::Anywhere),
    ("thiserror", Owner::Anywhere),
    ("tokio", Owner::Only(&["storage", "postgres", "agent"])),
    ("toml", Owner::Only(&["cli"])),
    ("url", Owner::Only(&["cli", "storage", "postgres"])),
    ("zeroize", Owner::Anywhere),
    ("zstd", Owner::Only(&["codec"])),
];

/// What only some places may do.
pub struct Restricted {
    /// Sequences of tokens that do it, parted by blanks.
    pub patterns: &'static [&'static str],
    /// The rule in words.
    pub rule: &'static str,
    /// Where it is allowed all the same, and why.
    pub except: &'static [(&'static str, &'static str)],
}

/// Every such thing.
pub const RESTRICTED: &[Restricted] = &[
    Restricted {
        patterns: &["println !", "eprintln !", "print !", "eprint !", "dbg !"],
        rule: "nothing prints with a macro: cli has Output and Progress",
        except: &[],
    },
    Restricted {
        patterns: &["io : : stdin", "io : : stdout", "io : : stderr"],
        rule: "only cli talks to the user",
        except: &[("cli/", "the layer that does")],
    },
    Restricted { patterns: &["process : : exit"], rule: "nothing exits: return an error", except: &[] },
    Restricted {
        patterns: &["std : : env"],
        rule: "only cli/env.rs reads the environment",
        except: &[("cli/env.rs", "the one place")],
    },
    Restricted {
        patterns: &["env : :"],
        rule: "only cli/env.rs reads the environment",
        except: &[("cli/", "the names of its variables are in cli::env")],
    },
    Restricted {
        patterns: &["SystemTime : : now", "Instant : : now"],
        rule: "time is handed in as base::clock::Clock",
        except: &[
            ("base/clock.rs", "the system's clock itself"),
            ("cli/progress.rs", "rates and times left, for the eye only"),
            ("storage/", "deadlines of retries and rates of limits; nothing stored depends on them"),
        ],
    },
    Restricted {
        patterns: &["new_keyed", "keyed_hash", "new_derive_key", "derive_key"],
        rule: "keys are used in crypto alone",
        except: &[("crypto/", "the owner of keys")],
    },
    Restricted {
        patterns: &["unsafe"],
        rule: "no unsafe code",
        except: &[
            ("codec/prefix.rs", "zstd takes a prefix by reference, for one frame"),
            ("postgres/libpq", "PostgreSQL's own client library is C"),
        ],
    },
    Restricted { patterns: &["todo !", "unimplemented !"], rule: "nothing is left to do", except: &[] },
    Restricted {
        patterns: &["super : : super"],
        rule: "a path two modules up is written from crate::, so that its layer shows",
        except: &[],
    },
];

/// Every breach of a rule in one source, as `path:line: rule`. `path` is below `src/`; `test` says
/// that the whole file is test code.
pub fn breaches(path: &str, source: &str, test: bool) -> Vec<String> {
    let mut tokens = tokens(source);
    tokens.iter_mut().for_each(|token| token.test |= test);
    let mut found = shape(path, source);
    found.extend(imports(path, &tokens));
    found.extend(foreign(path, &tokens));
    found.extend(restricted(path, &tokens));
    found.extend(globs(path, &tokens));
    found
}

fn shape(path: &str, source: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !source.starts_with("//!") {
        found.push(format!("{path}:1: every file opens with //! and what it is"));
    }
    let lines = source.lines().count();
    if lines > LINES_MAX {
        found.push(format!("{path}:{lines}: a file has at most {LINES_MAX} lines"));
    }
    found
}

/// The top-level module that a file belongs to.
fn module(path: &str) -> &str {
    path.split(['/', '.']).next().unwrap_or(path)
}

fn layer(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

/// Imports from the same layer's other modules, from above, or of modules in no layer. Test code
/// keeps to it as well: a test that needs a higher layer belongs to that layer.
fn imports(path: &str, tokens: &[Token]) -> Vec<String> {
    let own = module(path);
    if own == "lib" {
        return Vec::new();
    }
    let Some(own_layer) = layer(own) else {
        return vec![format!("{path}:1: module {own} stands in no layer")];
    };
    let mut found = Vec::new();
    for (target, line) in crate_paths(tokens) {
        match layer(&target) {
            _ if target == own => {}
            Some(layer) if layer < own_layer => {}
            Some(layer) => found.push(format!(
                "{path}:{line}: {own} (layer {own_layer}) imports {target} (layer {layer}), which is not below it"
            )),
            None => found.push(format!("{path}:{line}: {target} stands in no layer")),
        }
    }
    found
}

/// The first segment of every path that begins with `crate::` or, in the binary, `kamba_vault::`,
/// with groups opened.
fn crate_paths(tokens: &[Token]) -> Vec<(String, usize)> {
    let mut paths = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let head = token.text == "crate" || token.text == "kamba_vault";
        if !head || !follows(tokens, at + 1, &[":", ":"]) {
            continue;
        }
        let mut at = at + 3;
        if !follows(tokens, at, &["{"]) {
            paths.extend(tokens.get(at).map(|t| (t.text.clone(), t.line)));
            continue;
        }
        let mut depth = 0;
        while let Some(token) = tokens.get(at) {
            match token.text.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            if depth == 1 && (token.text == "{" || token.text == ",") {
                let next = tokens.get(at + 1).filter(|t| t.text != "}");
                paths.extend(next.map(|t| (t.text.clone(), t.line)));
            }
            at += 1;
        }
    }
    paths
}

/// Foreign crates named outside their owners. Test code may use what it tests with.
fn foreign(path: &str, tokens: &[Token]) -> Vec<String> {
    let local: BTreeSet<&str> = declared_modules(tokens);
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate().filter(|(_, token)| !token.test) {
        let Some((name, Owner::Only(folders))) = OWNERS.iter().find(|(name, _)| *name == token.text) else {
            continue;
        };
        let before = at.checked_sub(1).and_then(|i| tokens.get(i)).map_or("", |t| t.text.as_str());
        let begins_path = follows(tokens, at + 1, &[":", ":"]) && before != ":" && before != ".";
        let whole = before == "use" && tokens.get(at + 1).is_some_and(|t| t.text == ";" || t.text == "as");
        let owned = folders
            .iter()
            .any(|folder| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with(['/', '.'])));
        if (begins_path || whole) && !owned && !local.contains(token.text.as_str()) {
            found.push(format!(
                "{path}:{}: crate {name} belongs to {} alone",
                token.line,
                folders.join(", ")
            ));
        }
    }
    found
}

/// Modules and imports of the file that hide a crate of the same name.
fn declared_modules(tokens: &[Token]) -> BTreeSet<&str> {
    let pairs = tokens.iter().zip(tokens.iter().skip(1));
    pairs.filter(|(a, _)| a.text == "mod").map(|(_, b)| b.text.as_str()).collect()
}

fn restricted(path: &str, tokens: &[Token]) -> Vec<String> {
    let mut found = Vec::new();
    for restricted in RESTRICTED {
        if restricted.except.iter().any(|(place, _)| path.starts_with(place)) {
            continue;
        }
        for pattern in restricted.patterns {
            let words: Vec<&str> = pattern.split(' ').collect();
            // Unsafe code is out of the question in tests, too.
            let starts = tokens.iter().enumerate().filter(|(_, t)| !t.test || *pattern == "unsafe");
            for (_, token) in starts.filter(|(at, _)| follows(tokens, *at, &words)) {
                found.push(format!("{path}:{}: {}: {}", token.line, words.concat(), restricted.rule));
            }
        }
    }
    found
}

/// `use crate::…::*` and the like: they hide which module depends on which.
fn globs(path: &str, tokens: &[Token]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate().filter(|(_, token)| !token.test && token.text == "use") {
        let statement: Vec<&str> =
            tokens[at + 1..].iter().map(|t| t.text.as_str()).take_while(|t| *t != ";").collect();
        let ours = matches!(statement.first(), Some(&("crate" | "super" | "self" | "kamba_vault")));
        if ours && statement.contains(&"*") {
            found.push(format!("{path}:{}: no glob imports: name what is used", token.line));
        }
    }
    found
}

fn follows(tokens: &[Token], at: usize, pattern: &[&str]) -> bool {
    tokens
        .get(at..at + pattern.len())
        .is_some_and(|here| here.iter().map(|t| t.text.as_str()).eq(pattern.iter().copied()))
}

/// The files that `path` declares as test code with `#[cfg(test)] mod name;`, with or without a
/// `#[path = "…"]` between them, below `src/`.
pub fn test_files(path: &str, source: &str) -> Vec<String> {
    let tokens = tokens(source);
    let folder = match path.rsplit_once('/') {
        Some((folder, "mod.rs")) => format!("{folder}/"),
        _ if path == "lib.rs" || path == "main.rs" => String::new(),
        _ => format!("{}/", path.trim_end_matches(".rs")),
    };
    let parent = path.rsplit_once('/').map_or(String::new(), |(parent, _)| format!("{parent}/"));
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let named = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]");
    let named = named.filter_map(|pair| pair[1].strip_prefix("#[path = \"")?.strip_suffix("\"]"));
    let declared = tokens.windows(3).filter(|w| w[0].test && w[0].text == "mod" && w[2].text == ";");
    let declared =
        declared.flat_map(|w| [format!("{folder}{}.rs", w[1].text), format!("{folder}{}/", w[1].text)]);
    named.map(|name| format!("{parent}{name}")).chain(declared).collect()
}
