//! One file of test vectors: collected, then compared with what stands in the repository, or written.

use std::fmt::Display;
use std::path::PathBuf;

use kamba_vault::base::id::hex;
use serde_json::{Value, json};

/// A chapter's vectors: `format-spec/vectors/<name>.json`.
pub struct Chapter {
    name: &'static str,
    about: &'static str,
    cases: Vec<Value>,
    refused: Vec<Value>,
}

impl Chapter {
    /// A chapter without vectors yet; `about` says in a sentence what they are of.
    pub fn new(name: &'static str, about: &'static str) -> Self {
        Chapter { name, about, cases: Vec::new(), refused: Vec::new() }
    }

    /// `input` is encoded as `bytes`.
    pub fn bytes(&mut self, case: &str, input: Value, bytes: &[u8]) {
        self.case(case, input, json!({ "bytes": hex(bytes) }));
    }

    /// `input` leads to `output`.
    pub fn case(&mut self, case: &str, input: Value, output: Value) {
        self.cases.push(json!({ "case": case, "input": input, "output": output }));
    }

    /// `bytes` must be refused. The words in which this program says so are for people.
    pub fn refused(&mut self, case: &str, bytes: &[u8], error: impl Display) {
        self.refused.push(json!({ "case": case, "bytes": hex(bytes), "because": error.to_string() }));
    }

    /// Compares the chapter with its file, or writes it.
    pub fn finish(self) {
        assert!(!self.cases.is_empty(), "{} has no vectors", self.name);
        let mut all = json!({ "about": self.about, "cases": self.cases });
        if !self.refused.is_empty() {
            all["refused"] = Value::Array(self.refused);
        }
        let text = format!("{all:#}\n");
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("format-spec/vectors")
            .join(format!("{}.json", self.name));
        if std::env::var_os("KAMBA_BLESS").is_some_and(|value| value == "1") {
            std::fs::write(&path, text).unwrap();
            return;
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let stored_json: Value = serde_json::from_str(&stored).unwrap();
        for part in ["cases", "refused"] {
            let (now, then) = (all[part].as_array(), stored_json[part].as_array());
            for (now, then) in now.into_iter().flatten().zip(then.into_iter().flatten()) {
                assert_eq!(now, then, "{}: {}", self.name, now["case"]);
            }
        }
        assert!(stored == text, "{}: the file has more, fewer or other vectors than the program", self.name);
    }
}

/// The first `len` bytes of XOF(`context`, `material`): how vectors describe long inputs.
pub fn xof(context: &str, material: &[u8], len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new_derive_key(context).update(material).finalize_xof().fill(&mut out);
    out
}

/// BLAKE3 in hexadecimal: how vectors describe long outputs.
pub fn hash(bytes: &[u8]) -> String {
    hex(blake3::hash(bytes).as_bytes())
}
