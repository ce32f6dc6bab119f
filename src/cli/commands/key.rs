//! `key list`: who can unlock the repository.

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::base::units;
use crate::cli::context::Context;
use crate::cli::exit::{Done, Failure};
use crate::cli::table::{Align, Table};
use crate::cli::text::count;
use crate::format::keyslot::SlotKind;
use crate::repo::{read_slot, slot_names};

/// Manage keyslots
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct KeyArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// One variant for each action.
#[derive(Debug, Subcommand)]
pub enum Action {
    List(ListArgs),
}

const LIST_EXAMPLES: &str = "\
Examples:
  kamba-vault key list
  kamba-vault key list --json";

/// List the repository's keyslots
#[derive(Debug, Args)]
#[command(after_help = LIST_EXAMPLES)]
pub struct ListArgs {}

/// One keyslot, for programs.
#[derive(Serialize)]
struct Document {
    id: String,
    unlocked_by: &'static str,
    argon: Option<ArgonDocument>,
}

/// What it costs to try one passphrase.
#[derive(Serialize)]
struct ArgonDocument {
    memory_bytes: u64,
    passes: u32,
    lanes: u32,
}

/// Lists the keyslots.
pub fn run(args: &KeyArgs, context: &Context) -> Result<Done, Failure> {
    let Action::List(_) = &args.action;
    let repository = context.open()?;
    let mut slots = Vec::new();
    for name in slot_names(repository.backend())? {
        let slot = read_slot(repository.backend(), &name)?;
        if slot.repository != repository.id() {
            // What an `init` that lost a race for this place left behind.
            continue;
        }
        let argon = ArgonDocument {
            memory_bytes: u64::from(slot.argon.memory_kib) << 10,
            passes: slot.argon.passes,
            lanes: slot.argon.lanes,
        };
        slots.push(Document {
            id: name.rsplit('/').next().unwrap_or(&name).to_owned(),
            unlocked_by: match slot.kind {
                SlotKind::Passphrase => "passphrase",
                SlotKind::Both => "passphrase_and_key_file",
                SlotKind::KeyFile => "key_file",
            },
            argon: slot.kind.needs_passphrase().then_some(argon),
        });
    }
    context.result(&slots, || words(&slots))?;
    Ok(Done::Complete)
}

fn words(slots: &[Document]) -> String {
    let mut table =
        Table::new(&[("id", Align::Left), ("unlocked by", Align::Left), ("cost of a guess", Align::Left)]);
    for slot in slots {
        let cost = slot.argon.as_ref().map_or(String::new(), |argon| {
            format!(
                "Argon2id, {}, {} {}, {}",
                units::bytes(argon.memory_bytes),
                argon.passes,
                if argon.passes == 1 { "pass" } else { "passes" },
                count(argon.lanes.into(), "lane")
            )
        });
        table.row([slot.id.clone(), slot.unlocked_by.replace('_', " "), cost]);
    }
    table.render()
}
