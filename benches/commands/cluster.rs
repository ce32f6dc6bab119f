//! A whole cluster, against pgBackRest: the first base backup, the next after a hundredth of one table's pages
//! changed, restoring it, and WAL in and out, a command for each segment as PostgreSQL calls it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kamba_vault::postgres::cluster::{Cluster, ClusterOptions};
use kamba_vault::postgres::connect::VARIABLES;
use kamba_vault::postgres::tools::Tools;

use crate::bench::Bench;
use crate::measure::{Result, Run, run};
use crate::report::Work;
use crate::vault::{NAME, Vault, size_of};

/// The first base backup.
pub const FIRST: &str = "base backup, first";
/// The next.
pub const NEXT: &str = "base backup, 1 % of the pages changed";
/// All of it back.
pub const RESTORE: &str = "cluster restored";
/// Segments in, one after another.
pub const PUSH: &str = "wal push, one by one";
/// Segments out, one after another.
pub const FETCH: &str = "wal fetch, one by one";

/// The peer.
pub const PGBACKREST: &str = "pgBackRest";

/// Bytes that a row and its index entry take.
const ROW: u64 = 151;
/// Rows of a hundred pages.
const ROWS_OF_A_HUNDRED_PAGES: u64 = 6100;
/// Segments that are pushed and fetched.
const SEGMENTS: usize = 40;

/// A server, and what is compared on it.
struct Stage {
    cluster: Cluster,
    folder: PathBuf,
    peer: bool,
}

/// Measures all five.
pub fn measure(bench: &mut Bench) -> Result<()> {
    bench.say("filling a cluster");
    let stage = Stage::set(bench)?;
    let pages = size_of(&stage.data().join("base"))?;
    let wal = (SEGMENTS as u64) << 24;
    for (task, bytes) in [(FIRST, pages), (NEXT, pages), (RESTORE, pages), (PUSH, wal), (FETCH, wal)] {
        bench.report.works(task, Work::Bytes(bytes));
        bench.report.floor(task, PGBACKREST);
        bench.report.enter(task, NAME);
        if stage.peer {
            bench.report.enter(task, PGBACKREST);
        }
    }
    for round in 1..=u64::from(bench.args.runs) {
        let folder = bench.path("cluster");
        let vault = Vault::create(&folder)?;
        stage.begin_peer(&folder)?;
        stage.base(bench, FIRST, &vault, &folder)?;
        stage.sql(&format!("UPDATE t SET b = b + 1 WHERE id % {ROWS_OF_A_HUNDRED_PAGES} = {round}"))?;
        stage.sql("CHECKPOINT")?;
        stage.base(bench, NEXT, &vault, &folder)?;
        stage.write_wal()?;
        stage.wal(bench, &vault, &folder)?;
        let target = bench.path("target");
        let target_text = target.display().to_string();
        let restore = ["restore", "pitr", "--immediate", "--target", &target_text];
        bench.measure_writing(RESTORE, NAME, Run::new(stage.ours(&vault, &restore)), pages)?;
        fs::remove_dir_all(&target)?;
        if stage.peer {
            fs::create_dir(&target)?;
            let mut restore = stage.theirs(&folder);
            restore.arg(format!("--pg1-path={target_text}")).arg("restore");
            bench.measure_writing(RESTORE, PGBACKREST, Run::new(restore), pages)?;
            fs::remove_dir_all(&target)?;
        }
        fs::remove_dir_all(&folder)?;
    }
    stage.cluster.stop()?;
    Ok(())
}

impl Stage {
    fn set(bench: &Bench) -> Result<Self> {
        let tools = Tools::new(None, std::env::var_os("PATH"), &bench.cancel);
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let settings = vec![
            set("autovacuum", "off"),
            set("archive_mode", "on"),
            // What is measured stores WAL itself.
            set("archive_command", "true"),
            set("wal_keep_size", "2GB"),
            set("max_wal_size", "8GB"),
            set("checkpoint_timeout", "1h"),
            set("full_page_writes", "on"),
        ];
        let options = ClusterOptions { may_lose_data: true, settings };
        let cluster = Cluster::start(&tools, bench.base(), &options)?;
        let peer = Command::new("pgbackrest").arg("version").output().is_ok_and(|said| said.status.success());
        let stage = Stage { folder: cluster.folder().to_owned(), cluster, peer };
        let rows = bench.size() / ROW;
        stage.sql(&format!(
            "CREATE TABLE t AS SELECT i AS id, md5(i::text) || md5((i * 7)::text) AS a, \
             hashint4(i) % 100000 AS b, now() + i * interval '1 second' AS at, 'delivered ' || i % 17 AS state \
             FROM generate_series(1, {rows}) i"
        ))?;
        stage.sql("ALTER TABLE t ADD PRIMARY KEY (id)")?;
        stage.sql("VACUUM FREEZE t")?;
        stage.sql("CHECKPOINT")?;
        Ok(stage)
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Measures a base backup with both; what each stored.
    fn base(&self, bench: &mut Bench, task: &'static str, vault: &Vault, folder: &Path) -> Result<()> {
        let repositories = [(NAME, folder.join("repository")), (PGBACKREST, folder.join("pgbackrest"))];
        let before = repositories.each_ref().map(|(_, path)| size_of(path).unwrap_or_default());
        bench.measure(task, NAME, Run::new(self.ours(vault, &["snapshot", "base", "--no-wait"])))?;
        if self.peer {
            let mut peer = self.theirs(folder);
            peer.args(["--type=incr", "--no-archive-check", "--start-fast", "backup"]);
            bench.measure(task, PGBACKREST, Run::new(peer))?;
        }
        for ((who, path), before) in repositories.iter().zip(before) {
            if *who == NAME || self.peer {
                bench.report.stored(task, who, size_of(path)?.saturating_sub(before));
            }
        }
        Ok(())
    }

    /// Segments in, and out again.
    fn wal(&self, bench: &mut Bench, vault: &Vault, folder: &Path) -> Result<()> {
        let names = self.segments()?;
        // What the base backups need as well: in one call, since it is not measured.
        let all = names.iter().map(|name| format!("pg_wal/{name}"));
        let measured: Vec<&String> = names.iter().rev().take(SEGMENTS).rev().collect();
        let system = self.sql("SELECT system_identifier FROM pg_control_system()")?;
        let out = bench.path("fetched/pg_wal");
        fs::create_dir_all(&out)?;
        let target = out.join("RECOVERYXLOG").display().to_string();
        let (mut push, mut fetch) = (Vec::new(), Vec::new());
        for name in &measured {
            push.push(self.ours(vault, &["wal", "push", &format!("pg_wal/{name}")]));
            fetch.push(self.ours(vault, &["wal", "fetch", name, &target, "--system-id", &system]));
        }
        bench.measure(PUSH, NAME, Run::new(self.one_by_one(&push, None)))?;
        let mut rest = self.ours(vault, &["wal", "push"]);
        rest.args(all);
        run(Run::new(rest))?;
        // The server removes what it got before it asks for the next.
        let removed = Some(target.as_str());
        bench.measure(FETCH, NAME, Run::new(self.one_by_one(&fetch, removed)))?;
        if self.peer {
            let command = |arguments: &[&str]| {
                let mut command = self.theirs(folder);
                command.args(arguments);
                command
            };
            let push: Vec<_> = measured
                .iter()
                .map(|name| command(&["archive-push", &format!("{}/pg_wal/{name}", self.data().display())]))
                .collect();
            bench.measure(PUSH, PGBACKREST, Run::new(self.one_by_one(&push, None)))?;
            let fetch: Vec<_> =
                measured.iter().map(|name| command(&["archive-get", name, &target])).collect();
            bench.measure(FETCH, PGBACKREST, Run::new(self.one_by_one(&fetch, removed)))?;
        }
        fs::remove_dir_all(bench.path("fetched"))?;
        Ok(())
    }

    /// Names of the segments that the server wrote last, in order; those that it will fill again have names
    /// beyond.
    fn segments(&self) -> Result<Vec<String>> {
        let last = self.sql("SELECT pg_walfile_name(pg_switch_wal())")?;
        let mut names = Vec::new();
        for entry in fs::read_dir(self.data().join("pg_wal"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let is_segment = name.len() == 24 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
            if is_segment && name <= last {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Makes sure that there are enough segments.
    fn write_wal(&self) -> Result<()> {
        self.sql("CREATE TABLE IF NOT EXISTS w (n int, a text)")?;
        for n in 0..SEGMENTS / 4 {
            self.sql(&format!("INSERT INTO w SELECT {n} + i, md5(i::text) || md5({n}::text) FROM generate_series(1, 500000) i"))?;
        }
        self.sql("TRUNCATE w").map(drop)
    }

    /// A shell that runs these one after another, in the data folder, and stops at the first that fails. What
    /// stands at `removed` is removed before each.
    fn one_by_one(&self, commands: &[Command], removed: Option<&str>) -> Command {
        let quoted = |text: &std::ffi::OsStr| format!("'{}'", text.to_string_lossy().replace('\'', "'\\''"));
        let line = |command: &Command| {
            let words = std::iter::once(command.get_program()).chain(command.get_args());
            words.map(quoted).collect::<Vec<_>>().join(" ")
        };
        let remove = removed.map_or_else(String::new, |path| format!("rm -f {}\n", quoted(path.as_ref())));
        let script: Vec<String> = commands.iter().map(|command| remove.clone() + &line(command)).collect();
        let mut shell = Command::new("sh");
        shell.arg("-ec").arg(script.join("\n")).current_dir(self.data());
        // As the commands themselves have it.
        for (name, value) in commands.first().into_iter().flat_map(Command::get_envs) {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell
    }

    fn ours(&self, vault: &Vault, arguments: &[&str]) -> Command {
        let mut command = vault.command(arguments);
        command.current_dir(self.data());
        self.reach(command)
    }

    /// Tells a command where the server is, whatever the user's environment says.
    fn reach(&self, mut command: Command) -> Command {
        VARIABLES.iter().for_each(|name| {
            command.env_remove(name);
        });
        command.env_remove("DATABASE_URL");
        command.env("PGHOST", &self.folder).env("PGPORT", "5432").env("PGUSER", "postgres");
        command
    }

    /// pgBackRest as it is compared: two processes, zstd at level 3, AES, nothing asynchronous.
    fn theirs(&self, folder: &Path) -> Command {
        let mut command = Command::new("pgbackrest");
        command.arg(format!("--config={}", folder.join("pgbackrest.conf").display()));
        command.arg("--stanza=main");
        self.reach(command)
    }

    fn begin_peer(&self, folder: &Path) -> Result<()> {
        if !self.peer {
            return Ok(());
        }
        let path = |name: &str| folder.join(name).display().to_string();
        let config = format!(
            "[global]\nrepo1-path={}\nrepo1-cipher-type=aes-256-cbc\nrepo1-cipher-pass=bench\ncompress-type=zst\n\
             compress-level=3\nprocess-max=2\nlog-path={}\nlock-path={}\nspool-path={}\narchive-async=n\n\
             repo1-retention-full=9\n[main]\npg1-path={}\npg1-socket-path={}\npg1-user=postgres\n",
            path("pgbackrest"),
            path("log"),
            path("lock"),
            path("spool"),
            self.data().display(),
            self.folder.display(),
        );
        for name in ["pgbackrest", "log", "lock", "spool"] {
            fs::create_dir(folder.join(name))?;
        }
        fs::write(folder.join("pgbackrest.conf"), config)?;
        let mut create = self.theirs(folder);
        create.arg("stanza-create");
        run(Run::new(create)).map(drop)
    }

    fn sql(&self, statement: &str) -> Result<String> {
        let mut psql = self.reach(Command::new("psql"));
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-c", statement]);
        let said = psql.output()?;
        if !said.status.success() {
            return Err(String::from_utf8_lossy(&said.stderr).into_owned().into());
        }
        Ok(String::from_utf8(said.stdout)?.trim().to_owned())
    }
}
