//! Zips, read by Python.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use crate::maker::Owner;
use crate::scene::{exported, python, tree};
use crate::vault::Vault;

#[test]
fn python_reads_what_a_zip_holds() {
    let vault = Vault::new(&std::env::temp_dir(), Owner::Runner);
    let top = vault.path("tree");
    tree(&top, 9, Owner::Runner);
    vault.snapshot(&top);
    let archive = vault.path("archive.zip");
    let run = exported(&vault, &top, &["--output", archive.to_str().unwrap()]);
    assert_eq!(run.status, 0, "{run:?}");
    let said = python("read_zip.py", &[archive.to_str().unwrap(), top.to_str().unwrap()]);
    assert_eq!(said, "read\n");
    // What is lost is said once each.
    for note in [
        "left out: no archive holds a socket (first: names/socket)",
        "left out: zip holds no devices and named pipes (",
        "copied: zip has no hard links (first: names/",
        "without attributes and ACLs, which zip does not hold (first: ",
        "with zeros for holes, which zip does not know (first: hole at the end)",
        "renamed: what is no UTF-8 in a name is written as %FF (first: ",
    ] {
        assert_eq!(run.stderr.matches(note).count(), 1, "{note}: {run:?}");
    }
}

#[test]
fn what_goes_to_a_pipe_can_be_read_as_it_comes() {
    let vault = Vault::new(&std::env::temp_dir(), Owner::Runner);
    let top = vault.path("tree");
    fs::create_dir(&top).unwrap();
    let file = File::create(top.join("a")).unwrap();
    file.set_len(200_000).unwrap();
    file.write_all_at(b"PK\x07\x08 looks like an end", 100_000).unwrap();
    fs::write(top.join("b"), "second").unwrap();
    vault.snapshot(&top);
    let archive = exported(&vault, &top, &["--format", "zip"]).stdout;
    // From the first header alone the data of the first file end by themselves, and the next begins behind.
    let path = vault.path("pipe");
    fs::write(&path, &archive).unwrap();
    let program = "import struct, sys, zlib\n\
        rest = open(sys.argv[1], 'rb').read()\n\
        while rest[:4] == b'PK\\x03\\x04':\n\
        \x20   name, extra = struct.unpack('<HH', rest[26:30])\n\
        \x20   inflate = zlib.decompressobj(-15)\n\
        \x20   data = inflate.decompress(rest[30 + name + extra:])\n\
        \x20   rest = inflate.unused_data\n\
        \x20   assert rest[:4] == b'PK\\x07\\x08' and inflate.eof\n\
        \x20   assert struct.unpack('<I', rest[4:8])[0] == zlib.crc32(data)\n\
        \x20   print(len(data))\n\
        \x20   rest = rest[16:]\n";
    let run = crate::program::finish(std::process::Command::new("python3").args(["-c", program]).arg(&path));
    assert_eq!(run.text(), "200000\n6\n");
}
