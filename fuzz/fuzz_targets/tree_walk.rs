//! Trees that no honest writer stores, walked as `ls -R` does and restored: nothing panics, hangs or is
//! touched outside of the target, whatever is in the tree and whatever is in the target already. And
//! what was restored without trouble is right: a second restore makes nothing anew.
//!
//! An input is a byte that says how to restore, a byte of traps, and a program that writes a tree.
#![no_main]

use std::path::PathBuf;

use kamba_vault::base::clock::Cancel;
use kamba_vault::base::id::SessionId;
use kamba_vault::base::kind::PackKind;
use kamba_vault::base::monitor::Silent;
use kamba_vault::format::header::Kind;
use kamba_vault::format::index;
use kamba_vault::format::name::root_name;
use kamba_vault::format::root::SnapshotKind;
use kamba_vault::ops::restore_files::{Deaf, FilesRequest, Report, restore_files};
use kamba_vault::ops::{Error, look};
use kamba_vault::repo::Repository;
use kamba_vault::repo::roots::{self, Snapshot};
use kamba_vault_fuzz::forge::{Forge, stored};
use kamba_vault_fuzz::ground::Ground;
use kamba_vault_fuzz::input::Input;
use kamba_vault_fuzz::maker::Maker;
use kamba_vault_fuzz::vault::{Objects, VAULT, backend, cache_folder, credentials, environment, root};
use kamba_vault_fuzz::wild::Wild;
use libfuzzer_sys::fuzz_target;

const SESSION: SessionId = SessionId([0x11; 16]);

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let how = input.u8();
    let ground = Ground::new(&mut input);
    let cache = cache_folder();
    let repo = Repository::open(environment(backend(&repository(&mut input)), cache.path()), &credentials());
    let repo = repo.expect("the repository opens");
    let listing = roots::list(&repo, &Cancel::new()).expect("its snapshot is listed");
    // One whose root is refused is none.
    let Some(snapshot) = listing.snapshots.first() else { return };

    let before = ground.outside();
    if let Err(error) = walk(&repo, snapshot) {
        told(&error);
    }
    let request = request(how, ground.target());
    let first = restore(&repo, snapshot, &request);
    assert_eq!(ground.outside(), before, "something outside was touched");
    let Some(first) = first.filter(|report| report.troubles.is_empty() && !request.dry_run) else { return };
    if let Some(second) = restore(&repo, snapshot, &request) {
        let anew = second.created + second.overwritten;
        assert!(anew == 0 || has_timeless(&repo, snapshot), "{first:#?} and then {second:#?}");
    }
    assert_eq!(ground.outside(), before, "something outside was touched");
});

/// The vault's keys, and one snapshot of the tree that `input` describes.
fn repository(input: &mut Input<'_>) -> Objects {
    let mut maker = Maker::new(&VAULT.keys);
    let children = Wild::new(input, &mut maker).tree();
    let forge = Forge::new(&VAULT.keys, 5);
    let chunks = maker.take_chunks();
    let kinds = [PackKind::Data, PackKind::Meta];
    let packs: Vec<_> = kinds.into_iter().filter_map(|kind| forge.pack(kind, &chunks)).collect();
    let is_key =
        |name: &str| !["data/", "meta/", "index/", "roots/", "leases/"].iter().any(|of| name.starts_with(of));
    let mut objects = VAULT.objects.clone();
    objects.retain(|name, _| is_key(name));
    objects.extend(packs.iter().map(stored));
    let records: Vec<_> = packs.into_iter().map(|pack| pack.record).collect();
    objects.extend(index::encode(&[], &records).ok().map(|plain| forge.part(&plain)));
    let mut body = root(&VAULT.keys, SESSION, SnapshotKind::Files, children);
    body.sources = vec!["/".to_owned()];
    let name = root_name(&SESSION);
    let object = body.encode().ok().and_then(|body| forge.small(Kind::Root, &name, b"", &body));
    objects.extend(object.map(|object| (name, object)));
    objects
}

fn request(how: u8, target: PathBuf) -> FilesRequest {
    let is = |bit: u8| how & bit != 0;
    FilesRequest {
        target,
        delete: is(1),
        verify: is(2) && !is(4),
        dry_run: is(4),
        numeric_ids: is(8),
        quick: is(16),
        path: is(32).then(|| b"/d".to_vec()),
        include: if is(64) { vec!["/a".into(), "f".into()] } else { Vec::new() },
        exclude: if is(128) { vec!["b".into()] } else { Vec::new() },
    }
}

fn restore(repo: &Repository, snapshot: &Snapshot, request: &FilesRequest) -> Option<Report> {
    match restore_files(repo, snapshot, request, &Deaf, &Silent, &Cancel::new()) {
        Ok(report) => {
            report.first.iter().for_each(|trouble| assert!(!trouble.reason.is_empty()));
            Some(report)
        }
        Err(error) => {
            told(&error);
            None
        }
    }
}

/// An error can be told to people.
fn told(error: &Error) {
    assert!(!error.to_string().is_empty());
    let _ = (error.class().exit_status(), error.hint());
}

/// Walks everything, as `ls -R` and `find` do.
fn walk(repo: &Repository, snapshot: &Snapshot) -> Result<(), Error> {
    let view = look::view(repo, snapshot, &Silent, &Cancel::new())?;
    look::walk(&view, &view.root(), "", true, &mut |_, _| Ok(()))
}

/// Whether some file has no time by which it could be known again, and is therefore always written.
fn has_timeless(repo: &Repository, snapshot: &Snapshot) -> bool {
    let view = look::view(repo, snapshot, &Silent, &Cancel::new());
    let mut found = false;
    let walked = view.and_then(|view| {
        look::walk(&view, &view.root(), "", true, &mut |_, entry| {
            found |= entry.size.is_some() && entry.meta.mtime.is_none();
            Ok(())
        })
    });
    found || walked.is_err()
}
