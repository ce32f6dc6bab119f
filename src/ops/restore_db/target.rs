//! The database to restore into: refused if something is in it, created if it is not there, with
//! what the dump says of the database itself. Whatever can be refused is refused before the first
//! change.

use crate::ops::Error;
use crate::ops::restore_db::{Job, pg_restore_failed};
use crate::ops::snapshot::GLOBALS;
use crate::postgres::archive::database::of_database;
use crate::postgres::archive::toc::Head;
use crate::postgres::connect::Settings;
use crate::postgres::globals::globals_script;
use crate::postgres::restore::{RestoreOptions, restore_stream};
use crate::postgres::server::{self, Server};
use crate::postgres::tools::Tool;
use crate::vfs::{EntryKind, View};

impl Job<'_> {
    /// Refuses to write over what is there, restores globals, and creates the database.
    pub(super) fn prepare(
        &self,
        view: &View,
        pg_restore: &Tool,
        head: Option<&Head>,
        (target, settings): (&str, &Settings),
    ) -> Result<Server, Error> {
        let (tools, request) = (&self.request.tools, self.request);
        let server = Server::new(tools, settings)?;
        let admin = match request.create || request.globals {
            true => Some(Server::maintenance(tools, settings)?),
            false => None,
        };
        let is_there = match &admin {
            Some(admin) if request.create => admin.has_database(target)?,
            _ => true,
        };
        if is_there {
            self.refuse_what_is_not_empty(&server, target)?;
        }
        let globals = if request.globals { Some(self.globals(view)?) } else { None };
        if let Some(admin) = &admin {
            if let Some(script) = globals {
                admin.run(&script)?;
            }
            if !is_there {
                self.create(pg_restore, head, admin, target)?;
            }
        }
        Ok(server)
    }

    fn refuse_what_is_not_empty(&self, server: &Server, target: &str) -> Result<(), Error> {
        let contents = server.contents()?;
        if contents.objects == 0 || self.request.into_nonempty || self.request.options.clean {
            return Ok(());
        }
        let example = contents.example.map_or_else(String::new, |name| format!(", {name} among them"));
        Err(Error::NotEmpty { database: target.into(), objects: contents.objects, example })
    }

    /// What `Server::run` is to run for roles and tablespaces.
    fn globals(&self, view: &View) -> Result<Vec<u8>, Error> {
        let found = view.find(GLOBALS.as_bytes())?.filter(|entry| entry.kind == EntryKind::File);
        let entry = found.ok_or_else(|| Error::Usage {
            message: format!("the snapshot has no {GLOBALS}"),
            hint: Some("`snapshot db --globals` keeps roles and settings beside the databases"),
        })?;
        let mut sql = Vec::new();
        view.write(&entry, &mut sql, &crate::base::monitor::Silent)?;
        Ok(globals_script(&sql)?)
    }

    /// Creates the database as the dump defines it, with its owner, settings, privileges and
    /// comment. What this server cannot have of that, such as a role that it lacks, is a warning.
    fn create(
        &self,
        pg_restore: &Tool,
        head: Option<&Head>,
        admin: &Server,
        target: &str,
    ) -> Result<(), Error> {
        let warn = |text: &str| text.lines().for_each(|line| self.monitor.warn(line));
        let Some(of_database) = head.and_then(|head| of_database(head, target)) else {
            warn(&format!("{target} is created without the settings and privileges of the dumped database"));
            return Ok(admin.create_database(target, self.like(admin)?.as_ref())?);
        };
        let options = RestoreOptions {
            create: true,
            use_list: Some(of_database.use_list),
            no_owner: self.request.options.no_owner,
            no_privileges: self.request.options.no_privileges,
            ..RestoreOptions::default()
        };
        let temp = &self.request.temp;
        let mut running = restore_stream(pg_restore, admin.settings(), &options, temp, self.cancel)?;
        // If it does not take everything, what it says is the reason.
        let _ = std::io::Write::write_all(&mut running, &of_database.head);
        match pg_restore_failed(running.finish())? {
            Ok(warnings) => warn(&warnings),
            Err(failure) => {
                warn(&format!("not all of what the snapshot says of {target} itself came back: {failure}"));
                if !admin.has_database(target)? {
                    admin.create_database(target, self.like(admin)?.as_ref())?;
                }
            }
        }
        Ok(())
    }

    /// What a new database should be like: as the dumped one was.
    fn like(&self, admin: &Server) -> Result<Option<server::Database>, Error> {
        let info = self.database.info();
        let template = admin.databases()?.into_iter().find(|d| d.name == "template0");
        Ok(template.map(|template| {
            let recorded = info.locale_provider.as_deref().and_then(server::provider);
            let (provider, locale, icu_rules) = match (recorded, template.provider) {
                (Some(recorded), Some(_)) => (Some(recorded), info.locale.clone(), info.icu_rules.clone()),
                _ => (template.provider, template.locale, template.icu_rules),
            };
            server::Database {
                encoding: info.encoding.clone(),
                collate: info.collate.clone().unwrap_or(template.collate),
                ctype: info.ctype.clone().unwrap_or(template.ctype),
                provider,
                locale,
                icu_rules,
                ..template
            }
        }))
    }
}
