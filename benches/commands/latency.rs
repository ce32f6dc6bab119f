//! A first snapshot over a network like that to an object store, against the same on local disk.
//! The network is made up in the backend, so both run through the library, in a process of their own.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use kamba_vault::base::clock::Cancel;
use kamba_vault::base::monitor::Silent;
use kamba_vault::codec::Level;
use kamba_vault::ops::snapshot::{Provenance, StreamRequest, snapshot_stdin};
use kamba_vault::storage::{Backend, Context, Fault, Local};

use crate::bench::Bench;
use crate::measure::{Result, Run};
use crate::report::Work;
use crate::streams::{Dumps, warm};
use crate::vault::{Vault, size_of};

/// The task, as it stands in the table.
pub const TASK: &str = "first dump through the library";
/// Without a network.
pub const LOCAL: &str = "local disk";
/// With one.
pub const SLOW: &str = "50 ms a request, 1 Gbit/s";

const LATENCY: Duration = Duration::from_millis(50);
const BYTES_PER_SECOND: u64 = 1_000_000_000 / 8;

/// Measures both.
pub fn measure(bench: &mut Bench) -> Result<()> {
    bench.report.floor(TASK, LOCAL);
    bench.report.enter(TASK, LOCAL);
    bench.report.enter(TASK, SLOW);
    let dumps = Dumps::make(bench)?;
    bench.report.works(TASK, Work::Bytes(dumps.first_len));
    let program = std::env::current_exe()?;
    for _ in 0..bench.args.runs {
        for who in [LOCAL, SLOW] {
            warm(&dumps.first)?;
            let folder = bench.path("latency");
            let vault = Vault::create(&folder)?;
            let mut command = Command::new(&program);
            command.args(["--bench", "--inner"]).arg(&folder);
            if who == SLOW {
                command.arg("--slow");
            }
            if bench.measure(TASK, who, Run::new(command).fed(&dumps.first))? {
                bench.report.stored(TASK, who, size_of(&vault.repository())?);
            }
            std::fs::remove_dir_all(&folder)?;
        }
    }
    Ok(())
}

/// The measured process: snapshots its standard input.
pub fn inner(folder: &Path, slow: bool) -> Result<()> {
    let vault = Vault::at(folder.to_owned());
    let context = Context::new(Cancel::new(), Arc::new(Silent));
    let mut backend: Arc<dyn Backend> = Arc::new(Local::open(vault.repository())?);
    if slow {
        backend = Arc::new(Fault::new(backend).with_network(LATENCY, BYTES_PER_SECOND, &context));
    }
    let repo = vault.open(backend, &vault.cache())?;
    let provenance = Provenance {
        host: "bench".to_owned(),
        user: None,
        tags: Vec::new(),
        description: None,
        program: "bench".to_owned(),
        level: Level::DEFAULT,
    };
    let request = StreamRequest { name: "shop.sql".to_owned(), allow_empty: false };
    let input = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    snapshot_stdin(&repo, &provenance, &request, input, context.monitor, &context.cancel)?;
    Ok(())
}
