//! What the user does not want in a snapshot: patterns as in a `.gitignore` at the source, and folders
//! that say of themselves that they are caches. Nothing is walked here: whoever walks asks, from the
//! top down, and does not enter what is excluded, so nothing below it can be wanted again.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::error::{Error, ErrorKind};
use super::folder::Folder;
use super::names::Names;
use super::source::Region;

/// The file that marks a cache, and the only one that is kept of it: as tar does it, so that what is
/// restored is a cache again.
pub const CACHE_TAG: &[u8] = b"CACHEDIR.TAG";
/// How that file has to begin (bford.info/cachedir).
const CACHE_SIGNATURE: &[u8; 43] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// Patterns of what is excluded. The last one that matches decides; `!` before one takes it back.
#[derive(Clone, Debug)]
pub struct Exclude(Gitignore);

impl Default for Exclude {
    /// Nothing is excluded.
    fn default() -> Self {
        Exclude(Gitignore::empty())
    }
}

impl Exclude {
    /// The patterns of `files`, one a line, and then `patterns`, which so have the last word. A
    /// pattern with a slash at its beginning or in its midst counts from each source.
    pub fn new<P: AsRef<str>, F: AsRef<Path>>(
        patterns: impl IntoIterator<Item = P>,
        files: impl IntoIterator<Item = F>,
    ) -> Result<Self, Error> {
        let mut builder = GitignoreBuilder::new("");
        for file in files {
            add_file(&mut builder, file.as_ref())?;
        }
        for pattern in patterns {
            let pattern = pattern.as_ref();
            let added = builder.add_line(None, pattern);
            added.map_err(|error| Error::pattern("use the pattern", pattern.into(), error.to_string()))?;
        }
        let built = builder.build();
        let built = built.map_err(|error| Error::pattern("use all", "patterns".into(), error.to_string()))?;
        Ok(Exclude(built))
    }

    /// Whether nothing is excluded.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the entry at `below`, its path from the source, is excluded; a link to a folder is no
    /// folder. What lies below an excluded folder has to be taken for excluded without being asked.
    pub fn is_excluded(&self, below: &[u8], is_folder: bool) -> bool {
        !below.is_empty() && self.0.matched(Path::new(OsStr::from_bytes(below)), is_folder).is_ignore()
    }
}

fn add_file(builder: &mut GitignoreBuilder, path: &Path) -> Result<(), Error> {
    let bytes = fs::read(path).map_err(|error| Error::new("read the patterns in", path.into(), error))?;
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let added = match std::str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line)) {
            Ok(line) => builder.add_line(Some(path.into()), line).map(drop).map_err(|e| e.to_string()),
            Err(_) => Err("it is not UTF-8".to_owned()),
        };
        added.map_err(|reason| {
            Error::pattern(format!("use the pattern in line {} of", index + 1), path.into(), reason)
        })?;
    }
    Ok(())
}

/// Whether the folder says that it is a cache: it has a regular file `CACHEDIR.TAG` with the right
/// beginning. Then only that file is to be kept of it. `names` are the folder's, so that one without
/// such a file costs nothing. That the file cannot be read is an error, and no cache.
pub fn is_cache(folder: &Folder, names: &Names) -> Result<bool, Error> {
    if !names.contains(CACHE_TAG) {
        return Ok(false);
    }
    let mut tag = match folder.open_file(CACHE_TAG) {
        Err(error) if matches!(error.kind, ErrorKind::Vanished | ErrorKind::OtherType) => return Ok(false),
        tag => tag?,
    };
    let (mut head, mut len) = ([0; CACHE_SIGNATURE.len()], 0);
    while let Some(Region::Data { .. }) = tag.next_region()? {
        match tag.read(&mut head[len..])? {
            0 => break,
            read => len += read,
        }
    }
    Ok(head == *CACHE_SIGNATURE)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::base::class::Class;
    use crate::files::testing::{Tree, as_nobody};

    const NO_FILES: [&str; 0] = [];

    fn exclude(patterns: &[&str]) -> Exclude {
        Exclude::new(patterns, NO_FILES).unwrap()
    }

    #[test]
    fn patterns_are_those_of_gitignore() {
        let cases: [(&[&str], &str, bool, bool); 24] = [
            (&["*.log"], "a.log", false, true),
            (&["*.log"], "x/y/a.log", false, true),
            (&["*.log"], "a.log.gz", false, false),
            (&["/cache"], "cache", true, true),
            (&["/cache"], "x/cache", true, false),
            (&["cache/"], "x/cache", true, true),
            (&["cache/"], "x/cache", false, false),
            (&["a/b"], "a/b", false, true),
            (&["a/b"], "x/a/b", false, false),
            (&["**/a/b"], "x/a/b", false, true),
            (&["a/**"], "a", true, false),
            (&["a/**"], "a/b/c", false, true),
            (&["a/*/c"], "a/b/c", false, true),
            (&["a/*/c"], "a/b/b/c", false, false),
            (&["*", "!*.php"], "index.php", false, false),
            (&["*", "!*.php"], "index.html", false, true),
            (&["!a", "a"], "a", false, true),
            (&["# a", "", "   "], "a", false, false),
            (&["\\#a"], "#a", false, true),
            (&["[ab]?"], "bx", false, true),
            (&["[!ab]?"], "bx", false, false),
            (&[".*"], ".git", true, true),
            (&["*.LOG"], "a.log", false, false),
            (&["a b"], "a b", false, true),
        ];
        for (patterns, below, is_folder, excluded) in cases {
            let found = exclude(patterns).is_excluded(below.as_bytes(), is_folder);
            assert_eq!(found, excluded, "{patterns:?} {below}");
        }
        assert!(!exclude(&["*"]).is_excluded(b"", true), "a source that was named is wanted");
    }

    #[test]
    fn names_of_any_bytes_are_matched() {
        let exclude = exclude(&["*.log", "?x"]);
        assert!(exclude.is_excluded(b"\xff\xfe/\xff.log", false));
        assert!(!exclude.is_excluded(b"\xff.txt", false));
        assert!(exclude.is_excluded(b"a\n.log", false));
        assert!(exclude.is_excluded(b"./x.log", false));
    }

    #[test]
    fn files_of_patterns_come_first() {
        let tree = Tree::new();
        tree.file("one", "\u{feff}*.log\r\n# text\r\n\r\n!keep.log".as_bytes());
        tree.file("two", b"/tmp\n");
        let exclude = Exclude::new(["keep.log"], [tree.at("one"), tree.at("two")]).unwrap();
        for (below, excluded) in [("a.log", true), ("keep.log", true), ("tmp", true), ("x/tmp", false)] {
            assert_eq!(exclude.is_excluded(below.as_bytes(), false), excluded, "{below}");
        }
        assert!(!exclude.is_empty() && Exclude::default().is_empty());
        assert!(!Exclude::default().is_excluded(b"a", false));
        assert!(Exclude::new(["# nothing"], NO_FILES).unwrap().is_empty());
    }

    #[test]
    fn patterns_that_cannot_be_understood_are_named() {
        let error = Exclude::new(["a{b"], NO_FILES).unwrap_err();
        assert_eq!((error.kind, error.class()), (ErrorKind::Pattern, Class::Usage));
        assert!(error.to_string().starts_with("cannot use the pattern a{b: "), "{error}");
        let tree = Tree::new();
        for (text, line) in [(&b"a\nb{\n"[..], 2), (b"a\n\nb\xff\n", 3)] {
            tree.file("patterns", text);
            let error = Exclude::new(NO_FILES, [tree.at("patterns")]).unwrap_err().to_string();
            let start =
                format!("cannot use the pattern in line {line} of {}: ", tree.at("patterns").display());
            assert!(error.starts_with(&start), "{error}");
        }
        let error = Exclude::new(NO_FILES, [tree.at("gone")]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Vanished);
    }

    #[test]
    fn caches_are_known_by_their_tag() {
        let is_cache = |tree: &Tree| is_cache(&tree.folder(), &Names::read(&tree.folder()).unwrap());
        let tag = |tree: &Tree, bytes: &[u8]| tree.file("CACHEDIR.TAG", bytes);
        let tree = Tree::new();
        assert!(!is_cache(&tree).unwrap());
        for (bytes, cache) in [
            (&CACHE_SIGNATURE[..], true),
            (b"Signature: 8a477f597d28d172789f06886806bc55\n# This is a cache\n", true),
            (&CACHE_SIGNATURE[..42], false),
            (b"", false),
            (b"signature: 8a477f597d28d172789f06886806bc55", false),
            (&[0; 5000], false),
        ] {
            tag(&tree, bytes);
            assert_eq!(is_cache(&tree).unwrap(), cache, "{bytes:?}");
        }
        tag(&tree, CACHE_SIGNATURE);
        fs::set_permissions(tree.at("CACHEDIR.TAG"), fs::Permissions::from_mode(0o000)).unwrap();
        as_nobody(|| assert_eq!(is_cache(&tree).unwrap_err().kind, ErrorKind::Denied));
        fs::rename(tree.at("CACHEDIR.TAG"), tree.at("real")).unwrap();
        tree.link("CACHEDIR.TAG", "real");
        assert!(!is_cache(&tree).unwrap(), "a link is no tag");
        fs::remove_file(tree.at("CACHEDIR.TAG")).unwrap();
        tree.fifo("CACHEDIR.TAG");
        assert!(!is_cache(&tree).unwrap(), "nor is a FIFO, and nobody waits for it");
    }
}
