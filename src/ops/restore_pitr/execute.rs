//! The restore itself, in an order that leaves no cluster that starts and is none: a marker, and no
//! `pg_control`; then the files, by what `restore files` goes by; then what tells the server to recover; then
//! `pg_control`; and the marker goes.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::base::class::Class;
use crate::base::clock::Cancel;
use crate::base::monitor::Monitor;
use crate::files::write::{Folder, Options, Problem, Target as Place, What, is_temporary};
use crate::format::node::{FileMeta, Node, NodeType};
use crate::ops::Error;
use crate::ops::look;
use crate::ops::restore_files::{FilesRequest, Observer, Report, Severity, restore_files};
use crate::ops::restore_pitr::place::{MARKER, State, marker_text};
use crate::ops::restore_pitr::plan::{file, needed};
use crate::ops::restore_pitr::settings::{Settings, auto_conf, targets_in};
use crate::ops::restore_pitr::{PitrRequest, Placed, Plan, refused};
use crate::postgres::control;
use crate::postgres::label::{Link, write_map};
use crate::repo::Repository;
use crate::vfs::{EntryKind, View};

/// Settings that the server itself writes, and into which ours go.
const AUTO_CONF: &str = "postgresql.auto.conf";
/// What makes a server recover from its archive.
const RECOVERY_SIGNAL: &str = "recovery.signal";

/// Files of the data folder that are written here, or that must not come back.
const OWN: [&str; 7] = [
    MARKER,
    control::PATH,
    "tablespace_map",
    AUTO_CONF,
    RECOVERY_SIGNAL,
    // A base backup of a standby has it, and the server would wait for more WAL for ever.
    "standby.signal",
    "pg_tblspc/*",
];

/// What was restored.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// What became of the files: all folders together.
    pub files: Report,
    /// What there is to think of before the start, in words.
    pub notes: Vec<String>,
}

/// Restores as planned.
pub fn execute(
    repo: &Repository,
    request: &PitrRequest,
    plan: &Plan,
    observer: &dyn Observer,
    monitor: &dyn Monitor,
    cancel: &Cancel,
) -> Result<Restored, Error> {
    let view = look::view(repo, &plan.snapshot, monitor, cancel)?;
    let options = Options { numeric_ids: request.numeric_ids, replace: true };
    let place = Place::open(&request.target, options)?;
    let work = Work { repo, request, plan, observer, monitor, cancel, metas: Metas::of(&view)? };
    // So that the folder itself gets the metadata that the cluster's had.
    place.mark()?;
    work.begin(&place)?;
    let mut restored = Restored::default();
    work.files(&view, options, &mut restored)?;
    if restored.files.count(Severity::Damaged) + restored.files.count(Severity::Failed) > 0 {
        // Without pg_control nobody takes it for a cluster, and the marker says what it is.
        return Ok(restored);
    }
    work.end(&view, &place, &mut restored.notes)?;
    Ok(restored)
}

impl Restored {
    /// Whether the cluster is there as a whole.
    pub fn is_whole(&self) -> bool {
        self.files.count(Severity::Damaged) + self.files.count(Severity::Failed) == 0
    }
}

/// Metadata of what is made anew: those of the cluster's own files and folders.
struct Metas {
    file: FileMeta,
    folder: FileMeta,
}

impl Metas {
    /// Of a base backup. Of the data folder itself its mode is known, or not even that: then it is as those in
    /// it are, which the server makes alike (`pg_dir_create_mode`).
    fn of(view: &View) -> Result<Self, Error> {
        let folder = |path: &str| {
            let folder = view.find(path.as_bytes())?.filter(|entry| entry.kind == EntryKind::Directory);
            folder.map(|folder| folder.meta).ok_or_else(|| {
                let message = format!("the base backup has no folder {path}");
                refused(Class::Damaged, message, "choose another with --base")
            })
        };
        let (own, meta) = (folder("pgdata")?, folder("pgdata/global")?);
        let group = own.mode.or(meta.mode).unwrap_or(0) & 0o050;
        let with = |mode| FileMeta {
            mode: Some(mode),
            uid: meta.uid,
            gid: meta.gid,
            user: meta.user.clone(),
            group: meta.group.clone(),
            ..FileMeta::default()
        };
        Ok(Metas { file: with(0o600 | group & 0o040), folder: with(0o700 | group) })
    }
}

/// Says what of a folder's metadata is missing. Whose it is, only root can set, and who starts the server is
/// told apart.
fn tell(problems: &[Problem], folder: &Path, notes: &mut Vec<String>) {
    for problem in problems.iter().filter(|p| !matches!(p.what, What::Owner | What::Group)) {
        notes.push(format!(
            "{}: its {} could not be set: {}",
            folder.display(),
            problem.what,
            problem.reason
        ));
    }
}

struct Work<'a> {
    repo: &'a Repository,
    request: &'a PitrRequest,
    plan: &'a Plan,
    observer: &'a dyn Observer,
    monitor: &'a dyn Monitor,
    cancel: &'a Cancel,
    metas: Metas,
}

impl Work<'_> {
    /// Makes the folder one that nobody can start, and says so in it.
    fn begin(&self, place: &Place) -> Result<(), Error> {
        let root = place.root();
        let marker = marker_text(self.plan.base().system, &self.plan.choice.candidate.id);
        self.write(root, MARKER, marker.as_bytes())?;
        // What an earlier restore left that was killed before it had a marker.
        for entry in root.entries()?.collect::<Result<Vec<_>, _>>()? {
            if is_temporary(&entry.name) {
                root.remove(&entry.name)?;
            }
        }
        if let Some(global) = root.existing(b"global")? {
            global.remove(b"pg_control")?;
        }
        for name in ["standby.signal", RECOVERY_SIGNAL] {
            root.remove(name.as_bytes())?;
        }
        place.sync()?;
        self.links(root)
    }

    /// Links to the tablespaces, before what is in them: a restore that goes on knows them by these.
    fn links(&self, root: &Folder) -> Result<(), Error> {
        let links = root.folder(b"pg_tblspc")?;
        let wanted = |name: &[u8]| self.plan.tablespaces.iter().any(|t| t.oid.to_string().as_bytes() == name);
        let there: Vec<Vec<u8>> =
            links.entries()?.map(|entry| Ok(entry?.name)).collect::<Result<_, Error>>()?;
        for name in there.iter().filter(|name| !wanted(name)) {
            links.remove(name)?;
        }
        for tablespace in &self.plan.tablespaces {
            let name = tablespace.oid.to_string();
            let mut node = Node::new(name.as_bytes(), NodeType::Symlink);
            node.meta = FileMeta {
                mode: None,
                link_target: Some(tablespace.to.as_os_str().as_bytes().to_vec()),
                ..self.metas.file.clone()
            };
            links.entry(name.as_bytes(), &node)?;
        }
        Ok(())
    }

    fn files(&self, view: &View, options: Options, restored: &mut Restored) -> Result<(), Error> {
        let pgdata = FilesRequest {
            path: Some(b"pgdata".to_vec()),
            target: self.request.target.clone(),
            exclude: OWN.iter().map(|name| format!("/{name}")).collect(),
            delete: self.plan.state != State::Empty,
            numeric_ids: self.request.numeric_ids,
            ..FilesRequest::default()
        };
        self.restore(&pgdata, &mut restored.files)?;
        for tablespace in &self.plan.tablespaces {
            self.tablespace(view, tablespace, options, restored)?;
        }
        Ok(())
    }

    /// A tablespace: the folders of this server version in it. Others may have theirs beside them, and keep
    /// them.
    fn tablespace(
        &self,
        view: &View,
        tablespace: &Placed,
        options: Options,
        restored: &mut Restored,
    ) -> Result<(), Error> {
        let Restored { files: report, notes } = restored;
        let path = format!("tablespaces/{}", tablespace.oid);
        let Some(folder) = view.find(path.as_bytes())? else { return Ok(()) };
        let place = Place::open(&tablespace.to, options)?;
        let mut names = Vec::new();
        view.children(&folder, &mut |child| {
            if child.kind == EntryKind::Directory {
                names.push(child.name);
            }
            Ok(())
        })?;
        for name in names {
            let request = FilesRequest {
                path: Some([path.as_bytes(), b"/", &name].concat()),
                target: tablespace.to.join(std::ffi::OsStr::from_bytes(&name)),
                delete: tablespace.is_there,
                numeric_ids: self.request.numeric_ids,
                ..FilesRequest::default()
            };
            self.restore(&request, report)?;
        }
        if !tablespace.is_there {
            let problems = place.root().finish(&self.metas.folder);
            tell(&problems, &tablespace.to, notes);
        }
        place.sync()?;
        Ok(())
    }

    fn restore(&self, request: &FilesRequest, report: &mut Report) -> Result<(), Error> {
        let (snapshot, observer) = (&self.plan.snapshot, self.observer);
        let done = restore_files(self.repo, snapshot, request, observer, self.monitor, self.cancel)?;
        report.add(done);
        Ok(())
    }

    /// What tells the server to recover; then what makes it a cluster.
    fn end(&self, view: &View, place: &Place, notes: &mut Vec<String>) -> Result<(), Error> {
        let root = place.root();
        if !self.plan.tablespaces.is_empty() {
            let link = |t: &Placed| Link { oid: t.oid, location: t.to.as_os_str().as_bytes().to_vec() };
            let links: Vec<Link> = self.plan.tablespaces.iter().map(link).collect();
            self.write(root, "tablespace_map", &write_map(&links))?;
        } else {
            root.remove(b"tablespace_map")?;
        }
        let old = file(view, AUTO_CONF)?.unwrap_or_default();
        let settings = Settings {
            fetch: &self.request.fetch,
            partial: self.plan.wal.partial.is_some_and(|partial| partial.is_used),
            target: &self.request.goal,
            exclusive: self.request.exclusive,
            timeline: self.plan.timeline_setting(),
            action: self.request.action,
        };
        self.write(root, AUTO_CONF, &auto_conf(&old, &settings))?;
        self.write(root, RECOVERY_SIGNAL, b"")?;
        self.settings_elsewhere(view, notes)?;
        tell(&root.finish(&self.metas.folder), &self.request.target, notes);
        place.sync()?;

        let mut control = needed(view, control::PATH)?;
        control::invalidate_checkpoint(&mut control)?;
        let global = root.folder(b"global")?;
        self.write(&global, "pg_control", &control)?;
        place.sync()?;
        root.remove(MARKER.as_bytes())?;
        place.sync()?;
        Ok(())
    }

    /// Says what of the cluster's own configuration gets in the way of the recovery.
    fn settings_elsewhere(&self, view: &View, notes: &mut Vec<String>) -> Result<(), Error> {
        match file(view, "postgresql.conf")? {
            Some(bytes) => {
                let own = self.request.goal.setting().map(|(name, _)| name);
                for name in targets_in(&bytes).iter().filter(|name| Some(name.as_str()) != own) {
                    notes.push(format!(
                        "postgresql.conf sets {name}: take it out, for the server refuses to have two targets"
                    ));
                }
            }
            None => notes.push(
                "the base backup has no postgresql.conf: the cluster kept it elsewhere, and the server needs it"
                    .to_owned(),
            ),
        }
        Ok(())
    }

    fn write(&self, folder: &Folder, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let file = folder.file(name.as_bytes())?;
        file.write_at(bytes, 0)?;
        file.finish(bytes.len() as u64, &self.metas.file)?;
        Ok(())
    }
}
