//! `--help` of every command, as snapshots: the reference cannot drift from the program.

use crate::program::run;

/// Every command with its subcommands, as the help itself lists them.
fn commands() -> Vec<Vec<String>> {
    let mut found = vec![Vec::new()];
    let mut at = 0;
    while at < found.len() {
        let path: Vec<String> = found[at].clone();
        let mut args: Vec<&str> = path.iter().map(String::as_str).collect();
        args.push("--help");
        let help = run(&args);
        let listed = help.text().lines().skip_while(|line| *line != "Commands:").skip(1);
        for line in listed.take_while(|line| line.starts_with("  ")) {
            let name = line.split_whitespace().next().unwrap().to_owned();
            found.push(path.iter().cloned().chain([name]).collect());
        }
        at += 1;
    }
    found
}

#[test]
fn help_of_every_command() {
    let commands = commands();
    assert!(commands.len() > 15, "{commands:?}");
    for command in &commands {
        let mut args: Vec<&str> = command.iter().map(String::as_str).collect();
        args.push("--help");
        let help = run(&args);
        let text = help.text();
        let name = if command.is_empty() { "kamba-vault".to_owned() } else { command.join("-") };
        // The shared options are in the program's own help; repeating them in each would hide changes.
        let shown = if command.is_empty() { text.to_owned() } else { without_globals(text) };
        insta::assert_snapshot!(name, shown);
    }
}

fn without_globals(help: &str) -> String {
    let (before, rest) = help.split_once("Global options:\n").unwrap();
    let after = rest.find("\nExamples:").map_or("", |at| &rest[at..]);
    format!("{before}Global options: as above\n{after}")
}

#[test]
fn short_help_names_every_command_and_fits_a_screen() {
    let short = run(&["-h"]);
    assert!(short.text().lines().count() <= 50, "{}", short.text());
    for command in commands().iter().filter(|c| c.len() == 1) {
        assert!(short.text().contains(&format!("\n  {} ", command[0])), "{command:?}");
    }
}

#[test]
fn help_can_be_asked_for_as_a_command() {
    assert_eq!(run(&["help"]).text(), run(&["--help"]).text());
    assert_eq!(run(&["help", "snapshot", "db"]).text(), run(&["snapshot", "db", "--help"]).text());
}

#[test]
fn version_is_the_packages() {
    let version = run(&["--version"]);
    assert_eq!(version.text(), format!("kamba-vault {}\n", env!("CARGO_PKG_VERSION")));
}
