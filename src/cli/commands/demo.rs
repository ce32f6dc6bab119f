//! `demo`: the whole story once, on a throwaway database and a folder of images.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::base::class::Class;
use crate::base::units;
use crate::cli::connection;
use crate::cli::context::Context;
use crate::cli::exit::{Done, Failure};
use crate::cli::gallery::Gallery;
use crate::cli::stage::{Stage, quoted};
use crate::postgres::cluster::{Cluster, ClusterOptions};
use crate::postgres::server::Server;
use crate::postgres::shop::Shop;

const EXAMPLES: &str = "\
Examples:
  kamba-vault demo
  kamba-vault demo --keep";

/// See everything once, on a throwaway PostgreSQL database and a folder of images
///
/// Starts a PostgreSQL cluster in a temporary folder, fills a small shop with a folder of product
/// images beside it, snapshots both, lets a day of orders pass, snapshots again, shows what that
/// cost and what differs, checks, restores a lost table, a lost image and then everything, and
/// compares. Prints what it does as commands to repeat. Needs no configuration and leaves nothing
/// behind.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DemoArgs {
    /// Leave the cluster and the repository standing
    #[arg(long)]
    pub keep: bool,

    /// How much data the shop has, roughly
    #[arg(long, value_name = "SIZE", default_value = "100M", value_parser = size)]
    pub size: u64,

    /// Find PostgreSQL's programs in this folder
    #[arg(long, value_name = "DIR")]
    pub pg_bin_dir: Option<PathBuf>,
}

/// Bytes of a shop of scale 1.
const SCALE: f64 = 100.0 * 1024.0 * 1024.0;
/// Any number makes a shop; this one always makes the same.
const SEED: u32 = 1;

fn size(text: &str) -> Result<u64, String> {
    let size = units::parse_bytes(text).filter(|n| (1 << 20..=100 << 30).contains(n));
    size.ok_or_else(|| "expected a size from 1M to 100G".to_owned())
}

/// Rows and content of every table and of all large objects, as PostgreSQL itself counts and
/// hashes them, whatever their order: nothing of ours has a part in it.
const FINGERPRINT: &str = "\
SELECT format('SELECT %L AS \"table\", count(*) AS rows, sum(hashtextextended(t::text, 0)::numeric) AS hash FROM ONLY %s t',
              c.oid::regclass, c.oid::regclass)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname = 'public' ORDER BY c.relname \\gexec
SELECT 'large objects' AS \"table\", count(*) AS rows, sum(hashtextextended(encode(lo_get(oid), 'hex'), 0)::numeric) AS hash
FROM pg_largeobject_metadata;
";

/// Plays the story.
pub fn run(args: &DemoArgs, context: &Context) -> Result<Done, Failure> {
    let tools = connection::tools(args.pg_bin_dir.clone(), context);
    let options = ClusterOptions { may_lose_data: true, settings: Vec::new() };
    let cluster = Cluster::start(&tools, &context.environment.temp_dir(), &options)?;
    let stage = Stage::new(&cluster, &tools, context)?;
    stage.say(&format!(
        "A throwaway PostgreSQL {} stands in {}.\nTo repeat what follows, begin with:\n\n{}",
        cluster.version(),
        cluster.folder().display(),
        stage.exports()
    ))?;

    let server = Server::new(&tools, &cluster.settings())?;
    server.create_database("shop", None)?;
    stage.say(&format!("== A small shop is filled, about {} ==\n", units::bytes(args.size)))?;
    let mut gallery = Gallery::create(stage.path("images"))?;
    let mut shop = Shop::create(&server.database("shop"), args.size as f64 / SCALE, SEED)?;
    let (images, bytes) = gallery.size();
    let bytes = units::bytes(bytes);
    stage.say(&format!(
        "Beside it lie {images} images of its products, {bytes}, in {}.\n",
        gallery.folder().display()
    ))?;
    snapshots(&stage, &mut shop, &mut gallery)?;
    disasters(&stage)?;
    lost_images(&stage, &gallery)?;

    if args.keep {
        keep(&stage, &cluster)?;
        stage.keep();
        cluster.keep();
    } else {
        cluster.stop()?;
        stage.say("Everything is cleaned up. With --keep it stays.")?;
    }
    Ok(Done::Complete)
}

/// Two snapshots of each with a day between them, what they cost and what differs.
fn snapshots(stage: &Stage<'_>, shop: &mut Shop, gallery: &mut Gallery) -> Result<(), Failure> {
    let folder = gallery.folder().display().to_string();
    let both = || {
        stage.kamba(&["snapshot", "db", "--dbname", "shop"])?;
        stage.kamba(&["snapshot", "files", &folder])
    };
    stage.say("== A repository, and first snapshots ==\n")?;
    stage.kamba(&["init"])?;
    both()?;
    stage.say("== A day of orders passes, some images are new, and second snapshots ==\n")?;
    shop.a_day(1)?;
    gallery.a_day()?;
    both()?;
    stage.kamba(&["snapshots"])?;
    let made = stage.ask(&["snapshots"])?;
    stage.say(&format!("{}\n{}\n", cost(&made, "db", "dump"), cost(&made, "files", "images")))?;
    stage.say("== What made it so small? ==\n")?;
    stage.kamba(&["stats"])?;
    stage.say("== What did the day do to the images? ==\n")?;
    stage.kamba(&["diff", "latest~1@kind=files", "latest@kind=files"])?;
    stage.say("== Is every byte of it intact? ==\n")?;
    stage.kamba(&["check", "--read-data"])?;
    stage.kamba(&["ls", "latest@db=shop:shop/tables"])
}

/// A lost table comes back, then the whole database, and both are compared.
fn disasters(stage: &Stage<'_>) -> Result<(), Failure> {
    let file = stage.path("fingerprint.sql");
    fs::write(&file, FINGERPRINT).map_err(|e| Failure::io("write to a temporary folder", &e))?;
    stage.say("== Somebody drops a table ==\n")?;
    let before = fingerprint(stage, &file, "shop")?;
    stage.say(&before)?;
    stage.psql(&["--dbname", "shop", "--command", "DROP TABLE order_lines"])?;
    stage.say("")?;
    stage.kamba(&[
        "restore",
        "db",
        "latest@db=shop",
        "--dbname",
        "shop",
        "--table",
        "public.order_lines",
        "--yes",
    ])?;
    compare(stage, &file, "shop", &before)?;
    stage.say("== Everything, into a new database ==\n")?;
    stage.kamba(&["restore", "db", "latest@db=shop", "--dbname", "shop_again", "--create"])?;
    compare(stage, &file, "shop_again", &before)
}

/// A lost image comes back, then the whole folder, and all of it is compared.
fn lost_images(stage: &Stage<'_>, gallery: &Gallery) -> Result<(), Failure> {
    let stored = |path: &Path| format!("latest@kind=files:{}", path.display());
    let back = |path: &Path, target: &Path| {
        let target = target.display().to_string();
        stage.kamba(&["restore", "files", &stored(path), "--target", &target])?;
        gallery.compare()?;
        stage.say("Every image is as it was, byte for byte.\n")
    };
    let folder = gallery.folder();
    let image = folder.join(gallery.favourite());
    stage.say("== Somebody deletes an image ==\n")?;
    stage.remove(&image)?;
    back(&image, image.parent().unwrap_or(folder))?;
    stage.say("== And then all of them ==\n")?;
    stage.remove(folder)?;
    back(folder, folder)
}

fn fingerprint(stage: &Stage<'_>, file: &Path, database: &str) -> Result<String, Failure> {
    let file = file.display().to_string();
    stage.psql(&["--dbname", database, "--csv", "--tuples-only", "--file", &file])
}

fn compare(stage: &Stage<'_>, file: &Path, database: &str, before: &str) -> Result<(), Failure> {
    if fingerprint(stage, file, database)? != before {
        let message = format!("database {database} has other content than before");
        return Err(Failure::new(Class::Damaged, message));
    }
    stage.say("Every row and every large object is as it was.\n")
}

/// What the second snapshot of this kind cost, next to the first.
fn cost(snapshots: &serde_json::Value, kind: &str, source: &str) -> String {
    let all = snapshots.as_array().map_or(&[][..], Vec::as_slice);
    let stats: Vec<_> = all.iter().filter(|s| s["kind"] == kind).map(|s| &s["stats"]).collect();
    let stat = |i: usize, name: &str| stats.get(i).and_then(|stats| stats[name].as_u64()).unwrap_or(0);
    let (first, second) = (stat(0, "stored_bytes"), stat(1, "stored_bytes"));
    let share = if first > 0 { second as f64 / first as f64 * 100.0 } else { 0.0 };
    format!(
        "The first took {} for {} of {source}; the second took {} more, {share:.0} % of that.",
        units::bytes(first),
        units::bytes(stat(0, "source_bytes")),
        units::bytes(second)
    )
}

/// Says what stays and how to get rid of it.
fn keep(stage: &Stage<'_>, cluster: &Cluster) -> Result<(), Failure> {
    let path = |path: &Path| quoted(&path.display().to_string());
    let folder = path(cluster.folder());
    let data = path(&cluster.folder().join("data"));
    let stop = format!("{} stop --pgdata {data} --mode immediate", path(cluster.pg_ctl()));
    let stop = if rustix::process::geteuid().is_root() {
        // The server's own user stops it: pg_ctl refuses root.
        format!("su -s /bin/sh \"$(stat -c %U {folder})\" -c {}", quoted(&stop))
    } else {
        stop
    };
    stage.say(&format!(
        "All of it stays, with the settings from above. To remove it:\n\n  {stop}\n  rm -r {folder} {}",
        path(&stage.path(""))
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_of_the_second_snapshot_is_put_next_to_the_first() {
        let of = |kind, stored| serde_json::json!({"kind": kind, "stats": {"source_bytes": 100 << 20, "stored_bytes": stored}});
        let all = serde_json::json!([of("db", 20 << 20), of("files", 99 << 20), of("db", 1 << 20)]);
        insta::assert_snapshot!(cost(&all, "db", "dump"), @"The first took 20.0 MiB for 100.0 MiB of dump; the second took 1.0 MiB more, 5 % of that.");
    }
}
