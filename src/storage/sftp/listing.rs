//! Listings over SFTP: the protocol lists one folder, a hundred names an answer, so many folders are
//! asked for at once and distance costs little.

use std::collections::VecDeque;

use super::session::{Session, Ticket};
use super::wire::{Attributes, Reply, Request, Status};
use super::{Failed, Outcome, Sftp, handle};
use crate::storage::Entry;
use crate::storage::name;

/// Folders that are listed at once.
const FOLDERS_AHEAD: usize = 32;

/// The walk of a listing, many folders at a time.
pub(super) struct Listing<'a> {
    sftp: &'a Sftp,
    session: &'a Session,
    /// Folders, with their slash, that nobody has begun to read.
    ahead: Vec<String>,
    under_way: VecDeque<(String, Step)>,
}

enum Step {
    Opening(Ticket),
    Reading { handle: Vec<u8>, ticket: Ticket },
}

impl<'a> Listing<'a> {
    pub(super) fn new(sftp: &'a Sftp, session: &'a Session, prefix: &str) -> Self {
        Listing { sftp, session, ahead: vec![prefix.to_owned()], under_way: VecDeque::new() }
    }

    pub(super) fn run(mut self, each: &mut dyn FnMut(Entry)) -> Outcome<()> {
        let listed = self.walk(each);
        if listed.is_err() {
            self.abandon();
        }
        listed
    }

    fn walk(&mut self, each: &mut dyn FnMut(Entry)) -> Outcome<()> {
        loop {
            while self.under_way.len() < FOLDERS_AHEAD
                && let Some(folder) = self.ahead.pop()
            {
                let ticket = self.session.send(Request::OpenFolder(&self.sftp.path(&folder)))?;
                self.under_way.push_back((folder, Step::Opening(ticket)));
            }
            let Some((folder, step)) = self.under_way.pop_front() else { return Ok(()) };
            let handle = match step {
                Step::Opening(ticket) => match self.session.wait(&ticket)? {
                    Reply::Status(Status::NoSuchFile, _) => continue,
                    reply => handle(reply)?,
                },
                Step::Reading { handle, ticket } => match self.read(&folder, &ticket, each) {
                    Ok(true) => handle,
                    ended => {
                        self.session.tidy(Request::Close(&handle));
                        ended?;
                        continue;
                    }
                },
            };
            let ticket = self.session.send(Request::ReadFolder(&handle))?;
            self.under_way.push_back((folder, Step::Reading { handle, ticket }));
        }
    }

    /// Takes the next names of `folder`; false if there are no more.
    fn read(&mut self, folder: &str, ticket: &Ticket, each: &mut dyn FnMut(Entry)) -> Outcome<bool> {
        match self.session.wait(ticket)? {
            Reply::Names(names) => self.take(folder, names, each).map(|()| true),
            Reply::Status(Status::EndOfFile, _) => Ok(false),
            Reply::Status(status, said) => Err(Failed::Status(status, said)),
            _ => Err(Failed::Nonsense),
        }
    }

    /// Closes what is open, if the connection still serves; otherwise it is closed with that.
    fn abandon(&mut self) {
        for (_, step) in self.under_way.drain(..) {
            let handle = match step {
                Step::Reading { handle, .. } => handle,
                Step::Opening(ticket) => match self.session.wait(&ticket) {
                    Ok(Reply::Handle(handle)) => handle,
                    Ok(_) => continue,
                    Err(_) => return,
                },
            };
            self.session.tidy(Request::Close(&handle));
        }
    }

    fn take(
        &mut self,
        folder: &str,
        names: Vec<(Vec<u8>, Attributes)>,
        each: &mut dyn FnMut(Entry),
    ) -> Outcome<()> {
        for (file, mut found) in names {
            let Ok(file) = String::from_utf8(file) else { continue };
            let name = format!("{folder}{file}");
            if !name::is_part(&file) || !name::is_name(&name) {
                continue;
            }
            if found.is_file() != Some(true) && found.is_folder() != Some(true) {
                // A link perhaps: what it leads to counts.
                match self.session.ask(Request::Stat(&self.sftp.path(&name)))? {
                    Reply::Attributes(target) => found = target,
                    _ => continue,
                }
            }
            match (found.is_folder(), found.size) {
                (Some(true), _) => self.ahead.push(format!("{name}/")),
                (_, Some(size)) if found.is_file() != Some(false) => each(Entry { name, size }),
                _ => {}
            }
        }
        Ok(())
    }
}
