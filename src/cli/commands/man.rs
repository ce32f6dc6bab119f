//! `man [DIR]`: the manual pages, one for each command, from the very texts of `--help`.

use std::fs;
use std::io;
use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_mangen::Man;

use crate::cli::args::Cli;
use crate::cli::context::Context;
use crate::cli::exit::{Done, Failure};

const EXAMPLES: &str = "\
Examples:
  kamba-vault man | man -l -                         read all pages, one after the other
  kamba-vault man /usr/local/share/man/man1          install them";

/// Print the manual pages, or write them into a folder
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ManArgs {
    /// Write one file for each command into this folder, which must exist
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints or writes the pages.
pub fn run(args: &ManArgs, context: &Context) -> Result<Done, Failure> {
    let pages = pages().map_err(|e| Failure::io("make the manual pages", &e))?;
    for (name, page) in &pages {
        match &args.dir {
            None => context.output.text(&String::from_utf8_lossy(page))?,
            Some(dir) => {
                let path = dir.join(name);
                fs::write(&path, page).map_err(|e| Failure::io(format!("write {}", path.display()), &e))?;
            }
        }
    }
    Ok(Done::Complete)
}

/// Every page's file name and text, the program's own first.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut command = Cli::command();
    // Fills in what only parsing would: full names of subcommands, inherited options.
    command.build();
    let mut pages = Vec::new();
    collect(&command, &mut pages)?;
    Ok(pages)
}

fn collect(command: &clap::Command, pages: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    // The generator leaves out the words of options that only the long help shows.
    let man = Man::new(command.clone().mut_args(|arg| arg.hide_short_help(false)));
    let mut page = Vec::new();
    man.render(&mut page)?;
    pages.push((man.get_filename(), page));
    command.get_subcommands().try_for_each(|sub| collect(sub, pages))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_command_has_a_page_under_its_full_name() {
        let pages = pages().unwrap();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in
            ["kamba-vault.1", "kamba-vault-snapshot-db.1", "kamba-vault-restore-db.1", "kamba-vault-man.1"]
        {
            assert!(names.contains(&name), "{name} is missing from {names:?}");
        }
        let mut unique = names.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), names.len());
        for (name, page) in &pages {
            let page = String::from_utf8(page.clone()).unwrap();
            assert!(page.contains(".TH ") && page.contains("SYNOPSIS"), "{name}");
        }
    }
}
