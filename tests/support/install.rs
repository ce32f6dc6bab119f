//! Programs that a test makes and starts.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::process::Command;

/// A copy of the program `from` as `to`, to be started at once.
///
/// Another process writes it. Were it written here, whatever another test starts at that moment would be
/// born with the open file, and the kernel starts nothing that someone has open for writing.
pub fn install(from: &Path, to: &Path) {
    let status = Command::new("install").args(["-m", "755"]).args([from, to]).status().unwrap();
    assert!(status.success(), "{} could not be made", to.display());
}

/// A shell script of `text` as `to`, to be started at once.
pub fn install_script(text: &str, to: &Path) {
    let written = to.with_extension("text");
    std::fs::write(&written, format!("#!/bin/sh\n{text}\n")).unwrap();
    install(&written, to);
}
