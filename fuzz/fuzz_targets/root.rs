//! The bodies of snapshots, tombstones, leases and signer lists; the description of a dump.
#![no_main]

use kamba_vault::format::database::DatabaseInfo;
use kamba_vault::format::lease::LeaseBody;
use kamba_vault::format::root::{RootBody, Tombstone};
use kamba_vault::format::signers::SignersBody;
use kamba_vault_fuzz::property::{canonical, refused};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    canonical(data, RootBody::decode(data), |root| root.encode().unwrap());
    canonical(data, Tombstone::decode(data), Tombstone::encode);
    canonical(data, LeaseBody::decode(data), |lease| lease.encode().unwrap());
    canonical(data, SignersBody::decode(data), |signers| signers.encode().unwrap());
    // JSON can be written in many ways, but what it says must survive.
    match DatabaseInfo::decode(data) {
        Ok(info) => assert_eq!(DatabaseInfo::decode(&info.encode().unwrap()), Ok(info)),
        Err(error) => refused(data, &error),
    }
});
