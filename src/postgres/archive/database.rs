//! What a dump says of the database itself: its definition, owner, settings, privileges and
//! comment. pg_restore brings these back with `--create` alone, and under the name that the
//! database had; so the head is rewritten for another name.

use std::ops::Range;

use crate::postgres::archive::schema::quoted;
use crate::postgres::archive::toc::{Entry, Head};
use crate::postgres::sql::{is_word, quoted_len};

/// What `pg_restore --create --use-list` makes a database of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfDatabase {
    /// A head under another name; offsets in it mean nothing.
    pub head: Vec<u8>,
    /// The entries that are about the database.
    pub use_list: Vec<u8>,
}

/// The encoding of the dump's text, as the dump says itself.
pub fn encoding(head: &Head) -> Option<&str> {
    let entry = head.entries().find(|entry| entry.desc() == b"ENCODING")?;
    let statement = std::str::from_utf8(entry.defn()).ok()?;
    statement.trim_ascii_end().strip_prefix("SET client_encoding = '")?.strip_suffix("';")
}

/// The entries about the database, under the name `name`. `None` if the dump has no definition of
/// it, or one that cannot be rewritten.
pub fn of_database(head: &Head, name: &str) -> Option<OfDatabase> {
    // The name goes into text of the dump's encoding.
    if !name.is_ascii() && encoding(head) != Some("UTF8") {
        return None;
    }
    let definition = head.entries().find(|entry| entry.desc() == b"DATABASE")?;
    let old = definition.tag();
    let new = [b"\"", name.replace('"', "\"\"").as_bytes(), b"\""].concat();
    let (mut changes, mut list) = (Vec::new(), Vec::new());
    for entry in head.entries().filter(is_about_database) {
        let Some(statements) = renamed(entry.defn(), old, &new) else {
            // Without the definition there is nothing that the rest could be about.
            if entry.dump_id() == definition.dump_id() {
                return None;
            }
            continue;
        };
        list.extend_from_slice(format!("{};\n", entry.dump_id()).as_bytes());
        changes.extend(entry.defn_at().map(|at| (at, statements)));
        changes.extend(entry.drop_stmt_at().zip(renamed(entry.drop_stmt(), old, &new)));
        // pg_restore connects to the database that the tag names.
        changes.extend(entry.tag_at().filter(|_| entry.tag() == old).map(|at| (at, name.into())));
    }
    Some(OfDatabase { head: with(head, changes), use_list: list })
}

fn is_about_database(entry: &Entry<'_>) -> bool {
    match entry.desc() {
        b"DATABASE" | b"DATABASE PROPERTIES" => true,
        b"ACL" | b"COMMENT" | b"SECURITY LABEL" => entry.tag().starts_with(b"DATABASE "),
        _ => false,
    }
}

/// `statements` with the database `old` called `new`, which is in quotes already. `None` if they
/// do not name it.
fn renamed(statements: &[u8], old: &[u8], new: &[u8]) -> Option<Vec<u8>> {
    const KEYWORD: &[u8] = b"DATABASE ";
    let plain = quoted(old);
    let always = [b"\"", old, b"\""].concat();
    let name_at = |at: usize| {
        let rest = &statements[at..];
        let ends = |len: usize| !rest.get(len).is_some_and(|b| is_word(*b) || *b == b'"');
        [&plain, &always].into_iter().map(|n| (n, n.len())).find(|(n, len)| rest.starts_with(n) && ends(*len))
    };
    let (mut out, mut at, mut found) = (Vec::with_capacity(statements.len() + new.len()), 0, false);
    while at < statements.len() {
        let starts_word = at == 0 || !is_word(statements[at - 1]);
        let len = match statements[at] {
            b'\'' | b'"' => quoted_len(statements, at)?,
            _ if starts_word && statements[at..].starts_with(KEYWORD) => KEYWORD.len(),
            _ => 1,
        };
        out.extend_from_slice(&statements[at..at + len]);
        at += len;
        if let (true, Some((_, len))) = (len == KEYWORD.len() && out.ends_with(KEYWORD), name_at(at)) {
            out.extend_from_slice(new);
            at += len;
            found = true;
        }
    }
    found.then_some(out)
}

/// The head with some of its strings replaced. The length of each stands before it.
fn with(head: &Head, mut changes: Vec<(Range<usize>, Vec<u8>)>) -> Vec<u8> {
    changes.sort_by_key(|(at, _)| at.start);
    let (bytes, ints) = (head.bytes(), head.header().ints);
    let (mut out, mut done) = (Vec::with_capacity(bytes.len() + 256), 0);
    for (at, text) in changes {
        out.extend_from_slice(&bytes[done..at.start - ints.width()]);
        ints.write(&mut out, text.len() as u32);
        out.extend_from_slice(&text);
        done = at.end;
    }
    out.extend_from_slice(&bytes[done..]);
    out
}

#[cfg(test)]
mod tests {
    use super::renamed;

    #[test]
    fn the_name_is_replaced_where_it_is_one() {
        let cases = [
            (
                "shop",
                "CREATE DATABASE shop WITH TEMPLATE = t;\n",
                Some("CREATE DATABASE \"new\" WITH TEMPLATE = t;\n"),
            ),
            (
                "shop",
                "ALTER DATABASE shop SET a TO 'on DATABASE shop';",
                Some("ALTER DATABASE \"new\" SET a TO 'on DATABASE shop';"),
            ),
            (
                "shop",
                "ALTER ROLE \"DATABASE shop\" IN DATABASE shop SET b TO E'\\' DATABASE shop';",
                Some("ALTER ROLE \"DATABASE shop\" IN DATABASE \"new\" SET b TO E'\\' DATABASE shop';"),
            ),
            (
                "Shop",
                "REVOKE ALL ON DATABASE \"Shop\" FROM a;",
                Some("REVOKE ALL ON DATABASE \"new\" FROM a;"),
            ),
            ("user", "DROP DATABASE \"user\";", Some("DROP DATABASE \"new\";")),
            ("shop", "DROP DATABASE shop2;", None),
            ("shop", "DROP MYDATABASE shop;", None),
            ("shop", "SET a TO 'open", None),
        ];
        for (old, sql, want) in cases {
            let got = renamed(sql.as_bytes(), old.as_bytes(), b"\"new\"");
            assert_eq!(got.map(|sql| String::from_utf8_lossy(&sql).into_owned()).as_deref(), want, "{sql}");
        }
    }
}
