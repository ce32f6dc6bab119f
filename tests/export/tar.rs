//! Tars, read by GNU tar and by Python.

use crate::look::{assert_same, look};
use crate::maker::Owner;
use crate::scene::{extract, piped, tree};
use crate::vault::{Vault, places};

/// As root with all that only root may make and restore, else with what anybody may.
#[test]
fn gnu_tar_brings_everything_back() {
    for (seed, place) in places().iter().enumerate() {
        let vault = Vault::new(place, Owner::Runner);
        let top = vault.path("tree");
        let should = tree(&top, 100 + seed as u64, Owner::Runner);
        assert_eq!(vault.snapshot(&top)["problems"], 0);
        let target = vault.path("target");
        let (export, tar) = piped(&vault, &top, &[], &mut extract(&target));
        assert_eq!((tar.status, tar.stderr.as_str()), (0, ""), "{tar:?}");
        assert_eq!(export.status, 0, "{export:?}");
        assert!(export.stderr.contains("note: 3 entries were left out"), "{export:?}");
        assert_same(&should, &look(&target));
    }
}
