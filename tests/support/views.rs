//! Reading snapshots as `cat` does, and comparing them with what they should be.

use std::collections::BTreeMap;

use kamba_vault::base::class::Class;
use kamba_vault::base::clock::Cancel;
use kamba_vault::base::id::SessionId;
use kamba_vault::base::monitor::Silent;
use kamba_vault::ops::check::Report;
use kamba_vault::ops::select::Which;
use kamba_vault::ops::{self, look};
use kamba_vault::repo::Repository;

use super::Streams;

/// What should be in a repository: snapshots, and the streams in each.
pub type Model = BTreeMap<SessionId, Streams>;

/// A failed read, and what it had given until then.
#[derive(Debug)]
pub struct Lost {
    pub error: ops::Error,
    pub given: Vec<u8>,
}

/// Reads one stream of one snapshot.
pub fn cat(repo: &Repository, id: &SessionId, name: &str) -> Result<Vec<u8>, Box<Lost>> {
    let mut given = Vec::new();
    let read = (|| {
        let cancel = Cancel::new();
        let id = id.to_hex();
        let snapshot = look::find(repo, &Which::Id(id.clone()), &id, &Silent, &cancel)?;
        let view = look::view(repo, &snapshot, &Silent, &cancel)?;
        look::cat(&view, &snapshot, Some(name.as_bytes()), &mut given, &Silent)
    })();
    match read {
        Ok(len) => {
            assert_eq!(len, given.len() as u64);
            Ok(given)
        }
        Err(error) => Err(Box::new(Lost { error, given })),
    }
}

/// Names of all entries of a snapshot.
pub fn ls(repo: &Repository, id: &SessionId) -> Result<Vec<String>, ops::Error> {
    let cancel = Cancel::new();
    let id = id.to_hex();
    let snapshot = look::find(repo, &Which::Id(id.clone()), &id, &Silent, &cancel)?;
    let view = look::view(repo, &snapshot, &Silent, &cancel)?;
    let mut names = Vec::new();
    look::walk(&view, &view.root(), "", true, &mut |path, _| {
        names.push(String::from_utf8_lossy(path).into_owned());
        Ok(())
    })?;
    Ok(names)
}

/// Demands that everything reads back exactly.
pub fn assert_reads(repo: &Repository, model: &Model) {
    for (id, streams) in model {
        let names: Vec<String> = streams.keys().cloned().collect();
        assert_eq!(ls(repo, id).unwrap(), names);
        for (name, data) in streams {
            match cat(repo, id, name) {
                Ok(read) => assert!(read == *data, "{id}:{name} differs"),
                Err(lost) => panic!("{id}:{name}: {}", lost.error),
            }
        }
    }
}

/// What of the model was given back.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub intact: usize,
    pub lost: usize,
}

/// Reads everything from a damaged repository. Demands that nothing wrong is given, that what was
/// given of a lost stream is its beginning, that errors are of damage, and, where `report` is that
/// of a check, that it foretold every loss.
pub fn read_damaged(repo: &Repository, model: &Model, report: Option<&Report>) -> Outcome {
    let mut outcome = Outcome::default();
    for (id, streams) in model {
        for (name, data) in streams {
            match cat(repo, id, name) {
                Ok(read) => {
                    assert!(read == *data, "{id}:{name} is wrong");
                    outcome.intact += 1;
                }
                Err(lost) => {
                    let Lost { error, given } = *lost;
                    outcome.lost += 1;
                    assert!(data.starts_with(&given), "{id}:{name} begins wrong");
                    if let Some(report) = report {
                        assert!(
                            foretold(report, id, name),
                            "{id}:{name}: {error} came unforeseen: {report:#?}"
                        );
                    }
                    let gone =
                        matches!(&error, ops::Error::Repo(kamba_vault::repo::Error::NoSnapshot { .. }));
                    assert!(gone || error.class() == Class::Damaged, "{error} is {:?}", error.class());
                }
            }
        }
    }
    outcome
}

/// Whether the report says that a stream of a snapshot, or all of it, is hurt.
pub fn foretold(report: &Report, id: &SessionId, name: &str) -> bool {
    let root = format!("roots/{id}");
    report.hurt.iter().any(|h| h.snapshot == *id && (h.path == name || h.path.is_empty()))
        || report.damaged.iter().any(|d| d.object == root)
}
