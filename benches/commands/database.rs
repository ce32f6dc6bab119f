//! `snapshot db` of a real database against `pg_dump` to nowhere: the first one, again with nothing
//! changed, and after a day of business.

use std::path::Path;
use std::process::{Command, Stdio};

use kamba_vault::postgres::cluster::{Cluster, ClusterOptions};
use kamba_vault::postgres::connect::VARIABLES;
use kamba_vault::postgres::server::Server;
use kamba_vault::postgres::shop::Shop;
use kamba_vault::postgres::tools::{Program, Tool, Tools};

use crate::bench::Bench;
use crate::measure::{Result, Run};
use crate::report::Work;
use crate::vault::{NAME, Vault, size_of};

/// The first snapshot.
pub const FIRST: &str = "database, first";
/// The same database once more.
pub const AGAIN: &str = "database, nothing changed";
/// After a day.
pub const DAY: &str = "database, a day later";

const FLOOR: &str = "pg_dump -Fc -Z0 >/dev/null";
/// Bytes of the shop's dump at scale 1.
const BYTES_AT_ONE: f64 = 1e8;
const DATABASE: &str = "shop";

/// A server with a shop in it.
struct Stage {
    cluster: Cluster,
    pg_dump: Tool,
    shop: Shop,
}

/// Measures all three.
pub fn measure(bench: &mut Bench) -> Result<()> {
    bench.say("filling a database");
    let mut stage = Stage::set(bench)?;
    for task in [FIRST, AGAIN, DAY] {
        bench.report.floor(task, FLOOR);
        bench.report.enter(task, NAME);
        bench.report.enter(task, FLOOR);
    }
    // Once unmeasured, so that every round finds the same cache; and its length.
    let len = stage.dump_len()?;
    [FIRST, AGAIN, DAY].into_iter().for_each(|task| bench.report.works(task, Work::Bytes(len)));
    for round in 1..=bench.args.runs {
        let folder = bench.path("database");
        let vault = Vault::create(&folder)?;
        let repository = vault.repository();
        let play = |bench: &mut Bench, task, stage: &Stage| -> Result<()> {
            bench.measure(task, FLOOR, Run::new(stage.floor()))?;
            if bench.measure(task, NAME, Run::new(stage.ours(&vault)))? {
                bench.report.stored(task, NAME, size_of(&repository)?);
            }
            Ok(())
        };
        play(bench, FIRST, &stage)?;
        play(bench, AGAIN, &stage)?;
        stage.shop.a_day(round)?;
        play(bench, DAY, &stage)?;
        std::fs::remove_dir_all(&folder)?;
    }
    stage.cluster.stop()?;
    Ok(())
}

impl Stage {
    fn set(bench: &Bench) -> Result<Self> {
        let tools = Tools::new(None, std::env::var_os("PATH"), &bench.cancel);
        let settings = vec![("autovacuum".to_owned(), "off".to_owned())];
        let options = ClusterOptions { may_lose_data: true, settings };
        let cluster = Cluster::start(&tools, bench.base(), &options)?;
        let server = Server::new(&tools, &cluster.settings())?;
        server.create_database(DATABASE, None)?;
        let shop = Shop::create(&server.database(DATABASE), bench.size() as f64 / BYTES_AT_ONE, 1)?;
        let pg_dump = tools.find(Program::PgDump, "the server", cluster.version())?;
        Ok(Stage { cluster, pg_dump, shop })
    }

    fn floor(&self) -> Command {
        let mut command = Command::new(&self.pg_dump.path);
        command.args(["-Fc", "-Z0", DATABASE]);
        self.reach(command)
    }

    fn ours(&self, vault: &Vault) -> Command {
        let mut command = vault.command(&["snapshot", "db", "--dbname", DATABASE]);
        let folder = self.pg_dump.path.parent().unwrap_or(Path::new("/"));
        command.arg("--pg-bin-dir").arg(folder);
        self.reach(command)
    }

    /// Tells a command where the server is, whatever the user's environment says.
    fn reach(&self, mut command: Command) -> Command {
        VARIABLES.iter().for_each(|name| {
            command.env_remove(name);
        });
        command.env_remove("DATABASE_URL");
        command.env("PGHOST", self.cluster.folder()).env("PGPORT", "5432").env("PGUSER", "postgres");
        command
    }

    fn dump_len(&self) -> Result<u64> {
        let mut child = self.floor().stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut pipe = child.stdout.take().ok_or("no pipe")?;
        let len = std::io::copy(&mut pipe, &mut std::io::sink())?;
        if child.wait()?.success() { Ok(len) } else { Err("pg_dump failed".into()) }
    }
}
