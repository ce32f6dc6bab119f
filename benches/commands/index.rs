//! An index of millions of chunks, as many sessions would have left it: how fast the cache is made
//! from it, and what a small snapshot takes when the cache is at hand. The packs do not exist; a
//! snapshot of new data does not look for them.

use std::sync::Arc;

use kamba_vault::base::secret::Secret32;
use kamba_vault::crypto;
use kamba_vault::repo::index::write_part;
use kamba_vault::storage::Local;

use crate::bench::Bench;
use crate::measure::{Result, Run};
use crate::report::Work;
use crate::support::packs;
use crate::vault::{NAME, Vault};

/// With an empty cache.
pub const REBUILD: &str = "1 MB with a large index, cache made first";
/// With the cache at hand.
pub const OPEN: &str = "1 MB with a large index, cache at hand";

/// Packs in a part: after as many a session writes one.
const PACKS_PER_PART: u64 = 8;
/// Parts after which the cache that grows while they are written is thrown away: it is not the one
/// that is measured, and random rows into a large one take long.
const PARTS_PER_CACHE: usize = 16;
const SMALL: usize = 1_000_000;

/// Measures both.
pub fn measure(bench: &mut Bench) -> Result<()> {
    let vault = Vault::create(&bench.path("index"))?;
    let packs = bench.args.chunks.div_ceil(packs::CHUNKS);
    bench.say(&format!("writing an index of {packs} packs"));
    fill(bench, &vault, packs)?;
    bench.report.enter(REBUILD, NAME);
    bench.report.enter(OPEN, NAME);
    bench.report.works(REBUILD, Work::Chunks(packs * packs::CHUNKS));
    for round in 0..bench.args.runs {
        // The first round has no cache yet: nothing was run here since the index was filled.
        if round > 0 {
            std::fs::remove_dir_all(vault.cache())?;
        }
        let rebuilt = small_snapshot(bench, &vault, REBUILD, round * 2)?;
        if !rebuilt || !small_snapshot(bench, &vault, OPEN, round * 2 + 1)? {
            break;
        }
    }
    std::fs::remove_dir_all(bench.path("index"))?;
    Ok(())
}

/// Writes index parts that name packs which are not there.
fn fill(bench: &Bench, vault: &Vault, packs: u64) -> Result<()> {
    let scratch = || tempfile::tempdir_in(bench.path("index"));
    let first = scratch()?;
    let repo = vault.open(Arc::new(Local::open(vault.repository())?), first.path())?;
    let (epoch, signer) = (repo.keys().epoch(), repo.keys().signer().id());
    let parts: Vec<u64> = (0..packs).step_by(PACKS_PER_PART as usize).collect();
    for parts in parts.chunks(PARTS_PER_CACHE) {
        let cache = scratch()?;
        let repo = repo.with_cache(cache.path())?;
        for &part in parts {
            bench.check()?;
            let numbers = part..(part + PACKS_PER_PART).min(packs);
            let mut records =
                numbers.map(|n| packs::record(n, epoch, signer)).collect::<std::result::Result<_, _>>()?;
            write_part(&repo, &mut records)?;
        }
    }
    Ok(())
}

/// Snapshots data that nobody has seen before.
fn small_snapshot(bench: &mut Bench, vault: &Vault, task: &'static str, n: u32) -> Result<bool> {
    let mut data = vec![0; SMALL];
    let mut seed = [0; 32];
    seed[..4].copy_from_slice(&n.to_le_bytes());
    crypto::expand("kamba-vault bench small snapshot", &Secret32(seed), &mut data);
    let file = bench.path("small");
    std::fs::write(&file, &data)?;
    let command = vault.command(&["snapshot", "stdin", "--name", "small"]);
    bench.measure(task, NAME, Run::new(command).fed(file))
}
