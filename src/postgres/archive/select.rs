//! Which entries of a table of contents bring single tables back. `pg_restore --table` leaves out
//! indexes, constraints and sequences, and mixes up equal names in two schemas; a list of entries
//! (`pg_restore --use-list`) does neither.

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::postgres::archive::toc::{Entry, Head};

/// The entries that make up some tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Dump ids of everything to restore.
    pub dump_ids: BTreeSet<u32>,
    /// Places in the request of tables that the archive does not have.
    pub missing: Vec<usize>,
}

impl Selection {
    /// Selects tables, each a schema and a name, with what belongs to them: their rows, indexes,
    /// constraints, triggers, owned sequences, privileges, comments, and their partitions. Not
    /// foreign keys and views of others, which may well exist.
    pub fn of_tables(head: &Head, tables: &[(&[u8], &[u8])]) -> Self {
        let mut selection = Selection::default();
        let mut queue = VecDeque::new();
        for (place, (schema, name)) in tables.iter().enumerate() {
            let mut found = head
                .entries()
                .filter(|e| is_relation(e) && e.namespace() == *schema && e.tag() == *name)
                .peekable();
            if found.peek().is_none() {
                selection.missing.push(place);
            }
            queue.extend(found);
        }
        let dependents = dependents(head);
        while let Some(entry) = queue.pop_front() {
            if !selection.dump_ids.insert(entry.dump_id()) {
                continue;
            }
            for dependent in dependents.get(&entry.dump_id()).into_iter().flatten() {
                if belongs(dependent, &entry) {
                    queue.push_back(*dependent);
                    queue.extend(partition(head, dependent, &entry));
                }
            }
        }
        selection
    }

    /// The list for `pg_restore --use-list`, in the archive's order, which a pipe demands.
    pub fn use_list(&self, head: &Head) -> Vec<u8> {
        let mut list = String::new();
        for entry in head.entries().filter(|e| self.dump_ids.contains(&e.dump_id())) {
            list.push_str(&format!("{};\n", entry.dump_id()));
        }
        list.into_bytes()
    }
}

/// Entries by what they depend on.
fn dependents(head: &Head) -> HashMap<u32, Vec<Entry<'_>>> {
    let mut map: HashMap<u32, Vec<Entry<'_>>> = HashMap::new();
    for entry in head.entries() {
        for id in entry.dependencies() {
            map.entry(*id).or_default().push(entry);
        }
    }
    map
}

/// What can be asked for by name.
fn is_relation(entry: &Entry<'_>) -> bool {
    // A dump with --data-only has the rows alone.
    matches!(entry.desc(), b"TABLE" | b"TABLE DATA" | b"FOREIGN TABLE" | b"MATERIALIZED VIEW")
}

/// Whether `entry`, which depends on the chosen `on`, is a part of it.
fn belongs(entry: &Entry<'_>, on: &Entry<'_>) -> bool {
    match entry.desc() {
        b"TABLE DATA" | b"MATERIALIZED VIEW DATA" => {
            entry.tag() == on.tag() && entry.namespace() == on.namespace()
        }
        b"INDEX" | b"INDEX ATTACH" | b"TABLE ATTACH" | b"STATISTICS" => true,
        b"SEQUENCE" | b"SEQUENCE OWNED BY" | b"SEQUENCE SET" => true,
        b"COMMENT" | b"ACL" | b"SECURITY LABEL" => true,
        // Their tags are the table's name and their own. The name tells a table's own foreign
        // keys from those that point at it. They depend on their table itself, so the other
        // things that they depend on, such as the key that a foreign key points at, decide nothing.
        b"CONSTRAINT" | b"CHECK CONSTRAINT" | b"FK CONSTRAINT" | b"TRIGGER" | b"RULE" | b"POLICY"
        | b"ROW SECURITY" | b"DEFAULT" => {
            let rest = entry.tag().strip_prefix(on.tag());
            let is_own = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b" "));
            is_table(on) && is_own && entry.namespace() == on.namespace()
        }
        _ => false,
    }
}

fn is_table(entry: &Entry<'_>) -> bool {
    matches!(entry.desc(), b"TABLE" | b"FOREIGN TABLE" | b"MATERIALIZED VIEW")
}

/// If `attach` attaches a partition to the chosen table `to`: that partition.
fn partition<'h>(head: &'h Head, attach: &Entry<'h>, to: &Entry<'h>) -> Option<Entry<'h>> {
    if attach.desc() != b"TABLE ATTACH" || attach.tag() == to.tag() {
        return None;
    }
    let named = |e: &Entry<'_>| is_table(e) && e.tag() == attach.tag() && e.namespace() == attach.namespace();
    attach.dependencies().iter().filter_map(|id| head.entry(*id)).find(named)
}
