//! How hard is compressed, and what `stats` and `snapshots` say of it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::program::{Sandbox, files, noise};

/// Bytes that shrink.
fn text() -> Vec<u8> {
    let row = |n: u32| format!("{n}\tcustomer {}\t{}\tdelivered\n", n % 977, n.wrapping_mul(2_654_435_761));
    (0..40_000).map(row).collect::<String>().into_bytes()
}

fn size(sandbox: &Sandbox) -> u64 {
    files(&sandbox.path("repository")).iter().map(|file| file.metadata().unwrap().len()).sum()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn every_level_is_taken_and_counts() {
    let sandbox = Sandbox::new();
    let coded: Vec<u64> = ["none", "fast", "default", "9", "max", "auto"]
        .into_iter()
        .zip(1..)
        .map(|(level, shift)| {
            // Of a name and with content of its own: nothing is known, nothing stood there before.
            let data: Vec<u8> = text().iter().map(|byte| byte.wrapping_add(shift)).collect();
            let args = ["--json", "snapshot", "stdin", "--name", level, "--compression", level];
            let stats = sandbox.feed(&data, &args).json()["stats"].clone();
            assert!(number(&stats["new_bytes"]) >= data.len() as u64, "{level}: {stats}");
            assert_eq!(stats["delta_bytes"], 0, "{level}: {stats}");
            assert!(sandbox.run(&["cat", "latest"]).stdout == data, "{level}");
            number(&stats["coded_bytes"])
        })
        .collect();
    let (none, max) = (coded[0], coded[4]);
    assert!(coded[1..].iter().all(|some| *some < none / 3 && *some >= max), "{coded:?}");
    assert_eq!(BTreeSet::from_iter(&coded[..5]).len(), 5, "each is another: {coded:?}");
    // It is an option of files as well.
    std::fs::write(sandbox.path("file"), text()).unwrap();
    let path = sandbox.path("file");
    let args = ["--json", "snapshot", "files", path.to_str().unwrap(), "--compression", "none"];
    let stats = &sandbox.run(&args).json()["stats"];
    assert_eq!(stats["coded_bytes"], stats["new_bytes"]);
}

#[test]
fn figures_of_each_snapshot_and_of_all_agree() {
    let sandbox = Sandbox::new();
    let empty = size(&sandbox);
    let mut data = [text(), noise(100_000)].concat();
    for round in 1..4 {
        sandbox.feed(&data, &["snapshot", "stdin", "--name", "orders"]).text();
        data.chunks_mut(9_000).for_each(|part| part[part.len() / 2] = part[0].wrapping_add(round));
    }
    let stats = sandbox.run(&["stats", "--json"]).json();
    let (each, all) = (stats["per_snapshot"].as_array().unwrap(), &stats["in_all"]);
    for field in [
        "source_bytes",
        "new_bytes",
        "coded_bytes",
        "delta_bytes",
        "delta_coded_bytes",
        "base_bytes",
        "added_bytes",
    ] {
        let sum: u64 = each.iter().map(|snapshot| number(&snapshot[field])).sum();
        assert_eq!(number(&all[field]), sum, "{field}: {stats}");
        for (figures, listed) in each.iter().zip(sandbox.snapshots()) {
            assert_eq!(
                (&figures["id"], &figures[field]),
                (&listed["id"], &listed["stats"][field]),
                "{field}"
            );
        }
    }
    assert_eq!(number(&all["added_bytes"]), size(&sandbox) - empty);
    assert_eq!(each[0]["delta_ratio"], Value::Null);
    assert!(each[2]["delta_ratio"].as_f64().unwrap() > 5.0, "{stats}");
    assert!(each[0]["compression_ratio"].as_f64().unwrap() > 2.0, "{stats}");
    let dedupe = number(&all["source_bytes"]) as f64 / number(&all["new_bytes"]) as f64;
    assert!((all["dedupe_ratio"].as_f64().unwrap() - dedupe).abs() < 1e-9, "{stats}");

    let two = sandbox.run(&["stats", "--json", "latest", "latest~2", "latest"]).json();
    assert_eq!(two["per_snapshot"], serde_json::json!([each[0], each[2]]));
    assert_eq!((&two["snapshots"], &two["stored_bytes"]), (&stats["snapshots"], &stats["stored_bytes"]));
    let none = sandbox.run(&["stats", "latest~3"]);
    assert!(none.failed(1).contains("no snapshot matches latest~3"), "{none:?}");
    let path = sandbox.run(&["stats", "latest:orders"]);
    assert!(path.failed(2).contains("figures are of whole snapshots"), "{path:?}");
    let slip = sandbox.run(&["stats", "latest@host=web1~1"]);
    assert!(slip.failed(1).contains("hint: ~N stands before"), "{slip:?}");
}
