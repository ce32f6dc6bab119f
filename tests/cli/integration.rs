//! Completions and manual pages.

use std::fs;

use crate::program::{finish, program, run};

#[test]
fn completions_know_commands_and_options() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]);
        for word in ["snapshots", "restore", "read-data-subset", "pg-bin-dir"] {
            assert!(script.text().contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(run(&["completions", "tcsh"]).status, 2);
}

#[test]
fn the_shell_accepts_its_completions() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("completions");
    fs::write(&path, run(&["completions", "bash"]).text()).unwrap();
    let mut bash = std::process::Command::new("bash");
    let listed = finish(bash.args(["-ec", "source \"$1\"; complete -p kamba-vault", "bash"]).arg(&path));
    assert!(listed.text().contains("kamba-vault"));
}

#[test]
fn words_after_a_command_are_completed() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("completions");
    fs::write(&path, run(&["completions", "bash"]).text()).unwrap();
    let complete = |words: &str| {
        let script = format!(
            "source '{}'; COMP_WORDS=(kamba-vault {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
             _kamba__vault kamba-vault \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[@]}}\"",
            path.display()
        );
        finish(std::process::Command::new("bash").args(["-c", &script])).text().trim().to_owned()
    };
    assert_eq!(complete("snapsh"), "snapshot snapshots");
    assert_eq!(complete("check --read-data-s"), "--read-data-subset");
    assert_eq!(complete("snapshot db --all"), "--all-databases");
    assert_eq!(complete("restore db --no-o"), "--no-owner");
    assert_eq!(complete("key l"), "list");
}

#[test]
fn manual_pages_are_printed_or_written() {
    let home = tempfile::tempdir().unwrap();
    let written = finish(program(home.path()).arg("man").arg(home.path()));
    assert_eq!(written.text(), "");
    let mut pages = Vec::new();
    for entry in fs::read_dir(home.path()).unwrap() {
        pages.push(fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    assert!(pages.len() > 15);
    let printed = run(&["man"]);
    let printed = printed.text();
    assert_eq!(printed.matches(".TH ").count(), pages.len());
    for page in &pages {
        assert!(printed.contains(page), "{page}");
        // A page says of every option what it does.
        assert!(!page.contains("\\fR\n.TP"), "an option without words in\n{page}");
    }
}

#[test]
fn a_folder_that_is_not_there_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    let run = finish(program(home.path()).arg("man").arg(home.path().join("none")));
    let said = run.failed(1);
    assert!(said.starts_with("error: cannot write ") && said.contains("kamba-vault.1"), "{said}");
}

#[test]
fn a_reader_that_leaves_ends_it_quietly_and_a_full_disk_does_not() {
    let home = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let run = finish(program(home.path()).arg("man").stdout(writer));
    run.text();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let run = finish(program(home.path()).arg("man").stdout(full));
    assert!(run.failed(1).contains("standard output"), "{run:?}");
}
