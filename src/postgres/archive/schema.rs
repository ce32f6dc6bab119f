//! The definitions of a dump as SQL to look at: what `pg_restore --schema-only --file=-` prints
//! (`RestoreArchive` and `_printTocEntry` in PostgreSQL's `pg_backup_archiver.c`), without running
//! it. Restoring goes through pg_restore itself.

use crate::postgres::archive::toc::{Entry, Head, Section};

/// SQL of everything but rows and large objects, in the dump's encoding.
pub fn schema_sql(head: &Head) -> Vec<u8> {
    let mut printer = Printer { head, out: Vec::new(), tablespace: None, table_am: Vec::new() };
    printer.preamble();
    // Privileges come after all objects, and after them what may depend on privileges.
    for pass in [Pass::Main, Pass::Privileges, Pass::Last] {
        for entry in head.entries().filter(|e| is_schema(e) && pass_of(e) == pass) {
            printer.entry(&entry);
        }
    }
    printer.line(&[b"--\n-- PostgreSQL database dump complete\n--\n"]);
    printer.out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Main,
    Privileges,
    Last,
}

fn pass_of(entry: &Entry<'_>) -> Pass {
    match entry.desc() {
        b"ACL" | b"ACL LANGUAGE" | b"DEFAULT ACL" => Pass::Privileges,
        b"EVENT TRIGGER" | b"MATERIALIZED VIEW DATA" => Pass::Last,
        b"COMMENT" if entry.tag().starts_with(b"EVENT TRIGGER ") => Pass::Last,
        _ => Pass::Main,
    }
}

/// Whether the entry is printed without data and without `--create`.
fn is_schema(entry: &Entry<'_>) -> bool {
    let about = |what: &[u8]| {
        matches!(entry.desc(), b"ACL" | b"COMMENT" | b"SECURITY LABEL") && entry.tag().starts_with(what)
    };
    match entry.desc() {
        b"ENCODING" | b"STDSTRINGS" | b"SEARCHPATH" => false,
        b"DATABASE" | b"DATABASE PROPERTIES" => false,
        b"BLOB" | b"BLOB METADATA" | b"BLOB COMMENTS" => false,
        _ if entry.section() == Section::Data || entry.had_dumper() => false,
        _ => !about(b"DATABASE ") && !about(b"LARGE OBJECT") && !entry.defn().is_empty(),
    }
}

struct Printer<'h> {
    head: &'h Head,
    out: Vec<u8>,
    tablespace: Option<Vec<u8>>,
    table_am: Vec<u8>,
}

impl Printer<'_> {
    fn put(&mut self, parts: &[&[u8]]) {
        parts.iter().for_each(|part| self.out.extend_from_slice(part));
    }

    fn line(&mut self, parts: &[&[u8]]) {
        self.put(parts);
        self.out.push(b'\n');
    }

    fn preamble(&mut self) {
        let head = self.head;
        self.line(&[b"--\n-- PostgreSQL database dump\n--\n"]);
        self.line(&[b"-- Dumped from database version ", head.server_version()]);
        self.line(&[b"-- Dumped by pg_dump version ", head.dump_version(), b"\n"]);
        self.line(&[b"SET statement_timeout = 0;\nSET lock_timeout = 0;"]);
        self.line(&[b"SET idle_in_transaction_session_timeout = 0;"]);
        for desc in [b"ENCODING".as_slice(), b"STDSTRINGS", b"SEARCHPATH"] {
            for entry in head.entries().filter(|e| e.desc() == desc) {
                match entry.defn() {
                    b"SET standard_conforming_strings = 'on';\n" => {
                        self.line(&[b"SET standard_conforming_strings = on;"]);
                    }
                    other => self.put(&[other]),
                }
            }
        }
        self.line(&[b"SET check_function_bodies = false;\nSET xmloption = content;"]);
        self.line(&[b"SET client_min_messages = warning;\nSET row_security = off;\n"]);
    }

    fn entry(&mut self, entry: &Entry<'_>) {
        // relkind, known since 1.16: a partitioned table has no storage for an access method.
        let is_partitioned = entry.relkind() == i32::from(b'p');
        self.select_tablespace(entry);
        if !is_partitioned {
            self.select_table_am(entry);
        }
        let (tag, schema, owner) =
            (one_line(entry.tag()), one_line(entry.namespace()), one_line(entry.owner()));
        self.put(&[b"--\n-- Name: ", &tag, b"; Type: ", entry.desc(), b"; Schema: "]);
        self.put(&[or_hyphen(&schema), b"; Owner: ", or_hyphen(&owner)]);
        let tablespace = entry.tablespace().unwrap_or_default();
        if !tablespace.is_empty() {
            self.put(&[b"; Tablespace: ", &one_line(tablespace)]);
        }
        self.line(&[b"\n--\n"]);
        self.line(&[entry.defn(), b"\n"]);
        self.owner(entry);
        if is_partitioned && !entry.table_am().is_empty() {
            let name = qualified(entry);
            self.line(&[b"ALTER TABLE ", &name, b" SET ACCESS METHOD ", &quoted(entry.table_am()), b";\n"]);
        }
    }

    fn select_tablespace(&mut self, entry: &Entry<'_>) {
        let Some(want) = entry.tablespace() else { return };
        if self.tablespace.as_deref() == Some(want) {
            return;
        }
        let name = if want.is_empty() { b"''".to_vec() } else { quoted(want) };
        self.line(&[b"SET default_tablespace = ", &name, b";\n"]);
        self.tablespace = Some(want.to_vec());
    }

    fn select_table_am(&mut self, entry: &Entry<'_>) {
        let want = entry.table_am();
        if want.is_empty() || self.table_am == want {
            return;
        }
        self.line(&[b"SET default_table_access_method = ", &quoted(want), b";\n"]);
        self.table_am = want.to_vec();
    }

    fn owner(&mut self, entry: &Entry<'_>) {
        if entry.owner().is_empty() || entry.drop_stmt().is_empty() {
            return;
        }
        if let Some(what) = owned(entry, self.head.header().minor) {
            self.line(&[b"ALTER ", &what, b" OWNER TO ", &quoted(entry.owner()), b";\n"]);
        }
    }
}

/// The object as `ALTER … OWNER TO` names it; `None` for those without an owner of their own.
fn owned(entry: &Entry<'_>, minor: u8) -> Option<Vec<u8>> {
    let desc = entry.desc();
    match desc {
        // Up to version 15, pg_dump says TABLE for all of these.
        b"VIEW" | b"SEQUENCE" | b"MATERIALIZED VIEW" if minor <= 14 => {
            Some([b"TABLE ", qualified(entry).as_slice()].concat())
        }
        b"COLLATION"
        | b"CONVERSION"
        | b"DOMAIN"
        | b"FOREIGN TABLE"
        | b"MATERIALIZED VIEW"
        | b"SEQUENCE"
        | b"STATISTICS"
        | b"TABLE"
        | b"TEXT SEARCH DICTIONARY"
        | b"TEXT SEARCH CONFIGURATION"
        | b"TYPE"
        | b"VIEW"
        | b"PROCEDURAL LANGUAGE"
        | b"SCHEMA"
        | b"EVENT TRIGGER"
        | b"FOREIGN DATA WRAPPER"
        | b"SERVER"
        | b"PUBLICATION"
        | b"SUBSCRIPTION" => Some([desc, b" ", &qualified(entry)].concat()),
        // With their argument types, which stand in the DROP statement.
        b"AGGREGATE" | b"FUNCTION" | b"OPERATOR" | b"OPERATOR CLASS" | b"OPERATOR FAMILY" | b"PROCEDURE" => {
            let dropped = entry.drop_stmt().strip_prefix(b"DROP ")?;
            let end = dropped.iter().rposition(|b| !matches!(b, b';' | b'\n'))?;
            Some(dropped[..=end].to_vec())
        }
        _ => None,
    }
}

/// The name with its schema, quoted where needed.
fn qualified(entry: &Entry<'_>) -> Vec<u8> {
    let name = quoted(entry.tag());
    if entry.namespace().is_empty() {
        name
    } else {
        [&quoted(entry.namespace()), b".".as_slice(), &name].concat()
    }
}

/// An identifier, in double quotes unless it is plain (`fmtId` in PostgreSQL's `string_utils.c`).
pub(super) fn quoted(identifier: &[u8]) -> Vec<u8> {
    let starts_plainly = matches!(identifier.first(), Some(b'a'..=b'z' | b'_'));
    let is_plain = identifier.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    let is_keyword = std::str::from_utf8(identifier)
        .is_ok_and(|word| KEYWORDS.split_ascii_whitespace().any(|k| k == word));
    if starts_plainly && is_plain && !is_keyword {
        return identifier.to_vec();
    }
    let mut out = vec![b'"'];
    for byte in identifier {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
    out
}

/// Names may hold newlines, and a comment must not end early.
fn one_line(text: &[u8]) -> Vec<u8> {
    text.iter().map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { *b }).collect()
}

fn or_hyphen(text: &[u8]) -> &[u8] {
    if text.is_empty() { b"-" } else { text }
}

/// Key words that are quoted as identifiers: all but the unreserved ones of PostgreSQL 15's
/// `kwlist.h`, the set that its `pg_get_keywords()` lists with a catcode other than `U`.
const KEYWORDS: &str = include_str!("keywords.txt");
