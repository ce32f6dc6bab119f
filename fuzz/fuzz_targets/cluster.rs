//! What a PostgreSQL server sends of a cluster, and what lies in one: tars, manifests, control files, labels.
#![no_main]

use kamba_vault_fuzz::cluster;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| cluster::play(data));
