//! Who owns a file here: by name where that name exists on this machine, else by number. Each name
//! is asked for once, since the answer may come from a directory service.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use nix::unistd::{Group, User};

use crate::format::node::FileMeta;

/// Names and their numbers, as far as they were asked for.
#[derive(Debug)]
pub(super) struct Users {
    numeric: bool,
    users: Mutex<HashMap<String, Option<u32>>>,
    groups: Mutex<HashMap<String, Option<u32>>>,
}

impl Users {
    /// Nothing asked yet; names do not count if `numeric`.
    pub(super) fn new(numeric: bool) -> Self {
        Users { numeric, users: Mutex::default(), groups: Mutex::default() }
    }

    /// The owner that a file should get.
    pub(super) fn uid(&self, meta: &FileMeta) -> Option<u32> {
        let ask = |name: &str| User::from_name(name).ok().flatten().map(|user| user.uid.as_raw());
        self.number(&self.users, meta.user.as_deref(), meta.uid, ask)
    }

    /// The group that a file should get.
    pub(super) fn gid(&self, meta: &FileMeta) -> Option<u32> {
        let ask = |name: &str| Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw());
        self.number(&self.groups, meta.group.as_deref(), meta.gid, ask)
    }

    fn number(
        &self,
        known: &Mutex<HashMap<String, Option<u32>>>,
        name: Option<&str>,
        number: Option<u32>,
        ask: impl FnOnce(&str) -> Option<u32>,
    ) -> Option<u32> {
        let named = name.filter(|name| !self.numeric && !name.is_empty()).and_then(|name| {
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(number) = known.get(name) {
                return *number;
            }
            let number = ask(name);
            known.insert(name.to_owned(), number);
            number
        });
        // To the system the largest number means "leave it": it is nobody's.
        named.or(number).filter(|number| *number != u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_where_they_exist() {
        let meta = |user: &str, uid| FileMeta {
            user: Some(user.to_owned()),
            group: Some(user.to_owned()),
            uid: Some(uid),
            gid: Some(uid),
            ..FileMeta::default()
        };
        let users = Users::new(false);
        for _ in 0..2 {
            assert_eq!(users.uid(&meta("root", 77)), Some(0));
            assert_eq!(users.gid(&meta("root", 77)), Some(0));
            assert_eq!(users.uid(&meta("no such user\0", 77)), Some(77));
            assert_eq!(users.gid(&meta("no-such-group-anywhere", 77)), Some(77));
        }
        assert_eq!(users.uid(&FileMeta::default()), None);
        assert_eq!(users.uid(&meta("nobody-at-all", u32::MAX)), None);
        assert_eq!(Users::new(true).uid(&meta("root", 77)), Some(77));
    }
}
