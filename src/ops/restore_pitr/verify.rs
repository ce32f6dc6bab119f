//! The check of a restored cluster: it is started on a private socket and recovers, up to the target or the end
//! of the WAL, where it waits; what it holds is checked by PostgreSQL's own means; it is stopped again.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::base::class::Class;
use crate::base::clock::Cancel;
use crate::base::monitor::{Count, Monitor};
use crate::ops::Error;
use crate::ops::restore_pitr::target::Target;
use crate::ops::restore_pitr::{PitrRequest, Plan, refused};
use crate::postgres::error::Error as PostgresError;
use crate::postgres::lsn::Lsn;
use crate::postgres::process::Running;
use crate::postgres::recovering::{Look, Recovering};
use crate::postgres::server::{Recovery, Server};
use crate::postgres::tools::Tools;
use crate::postgres::version::Version;

/// How often the server is asked how far it is.
const TICK: Duration = Duration::from_millis(100);
/// Answers in a row that must be the same before the end of the WAL counts as reached: the server asks for
/// more twice a second.
const STILL: u32 = 30;

/// How to check.
#[derive(Clone, Debug)]
pub struct VerifyRequest {
    /// Where PostgreSQL's programs are.
    pub tools: Tools,
    /// A folder for the socket.
    pub temp: PathBuf,
    /// The cluster's superuser.
    pub role: String,
}

/// What the check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// How far the WAL was replayed.
    pub replayed: Option<Lsn>,
    /// The time of the last commit that was replayed, in the server's words; none if there was none.
    pub last_commit: Option<String>,
    /// What pg_amcheck says.
    pub relations: Relations,
}

/// What pg_amcheck says of tables and indexes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Relations {
    /// They are sound.
    Sound,
    /// Some are not; its words.
    Corrupt(String),
    /// They were not checked: pg_amcheck is not installed, or its extension in no database.
    #[default]
    Unchecked,
    /// It failed; its words.
    Failed(String),
}

/// Starts the cluster, waits, checks, stops it.
pub fn verify(
    request: &PitrRequest,
    plan: &Plan,
    how: &VerifyRequest,
    monitor: &dyn Monitor,
    cancel: &Cancel,
) -> Result<Verified, Error> {
    monitor.phase("recovering", Count::Items, None);
    let look = Look {
        data: &request.target,
        version: Version(plan.base().server_version),
        waits_at_the_end: request.goal == Target::Latest,
        temp: &how.temp,
        role: &how.role,
    };
    let running = Recovering::start(&how.tools, &look)?;
    let server = Server::new(&how.tools, &running.settings())?;
    let recovery = wait(&running, &server, plan, &request.goal, monitor, cancel)?;
    monitor.phase("checking relations", Count::Items, None);
    let relations = check(&running, how)?;
    running.stop()?;
    Ok(Verified { replayed: recovery.replayed, last_commit: recovery.last_commit, relations })
}

/// Waits until the server has come to where it waits.
fn wait(
    running: &Recovering,
    server: &Server,
    plan: &Plan,
    goal: &Target,
    monitor: &dyn Monitor,
    cancel: &Cancel,
) -> Result<Recovery, Error> {
    // The last segment that is there: behind its beginning, standing still means the end.
    let size = u64::from(plan.base().segment_size);
    let last = Lsn(plan.wal.end.0.saturating_sub(size));
    let (mut still, mut before) = (0, None);
    loop {
        if cancel.is_cancelled() {
            return Err(PostgresError::Cancelled.into());
        }
        match server.recovery() {
            Ok(found) if !found.in_recovery => {
                return Err(refused(
                    Class::Failed,
                    "the server opened for writing, which it was told not to",
                    "start again with another folder",
                ));
            }
            Ok(found) if found.paused => return Ok(found),
            Ok(found) => {
                still = if before == found.replayed { still + 1 } else { 0 };
                before = found.replayed;
                if let Some(at) = found.replayed {
                    monitor.item(&at.to_string());
                }
                if *goal == Target::Latest && before.is_some_and(|at| at >= last) && still >= STILL {
                    return Ok(found);
                }
            }
            // Not yet, or no more.
            Err(PostgresError::Connect { .. }) if running.is_running() => {}
            Err(_) if !running.is_running() => {
                let message = format!("the restored cluster does not recover: {}", running.last_words());
                return Err(refused(
                    Class::Failed,
                    message,
                    "its user must be able to run this program and to read the key and the repository",
                ));
            }
            Err(error) => return Err(error.into()),
        }
        std::thread::sleep(TICK);
    }
}

fn check(running: &Recovering, how: &VerifyRequest) -> Result<Relations, Error> {
    let Some(tool) = running.amcheck(&how.tools) else { return Ok(Relations::Unchecked) };
    let settings = running.settings();
    let mut command = Command::new(&tool.path);
    settings.apply(&mut command);
    command.args(["--all", "--no-password", "--heapallindexed"]);
    command.arg(format!("--maintenance-db={}", settings.connection_string()));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut checking = Running::start("pg_amcheck", &mut command, how.tools.cancel())?;
    let said = String::from_utf8_lossy(&checking.answer(1 << 20)?).trim().to_owned();
    let ended = checking.wait()?;
    Ok(match ended.status.code() {
        Some(0) => Relations::Sound,
        // `main` in pg_amcheck.c: 2 where it found corruption.
        Some(2) => Relations::Corrupt(said),
        // No database has the extension (`no relations to check`): that is no fault of the cluster.
        Some(1) if ended.stderr.contains("no relations to check") => Relations::Unchecked,
        _ => Relations::Failed(ended.stderr),
    })
}
