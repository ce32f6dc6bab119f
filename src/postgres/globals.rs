//! What `pg_dumpall --globals-only` wrote, made fit to run on a server that has some of it
//! already: roles and tablespaces that exist are passed over.
//!
//! psql runs it, and psql obeys backslash commands, `\!` among them. New minor releases guard the
//! text with `\restrict`, which older psql do not know; so those lines go, and any other backslash
//! outside of quotes is refused: a hostile file must not run programs on this machine. psql and this
//! file must agree on where quotes end, so whatever they could see differently is refused as well:
//! a backslash in plain quotes, an encoding in which part of a character can look like one. And only
//! statements that pg_dumpall writes are let through.

use crate::postgres::error::Error;
use crate::postgres::sql::{knows_backslashes, quoted_len};

/// How every statement of pg_dumpall's begins (`dumpRoles` to `dumpTablespaces`, and `main`, in
/// PostgreSQL's `pg_dumpall.c`).
const STATEMENTS: [&str; 20] = [
    "SET default_transaction_read_only = off",
    "SET standard_conforming_strings = on",
    "SET standard_conforming_strings = off",
    "SET escape_string_warning = off",
    "SET SESSION AUTHORIZATION ",
    "RESET SESSION AUTHORIZATION",
    "CREATE ROLE ",
    "ALTER ROLE ",
    "COMMENT ON ROLE ",
    "CREATE TABLESPACE ",
    "ALTER TABLESPACE ",
    "COMMENT ON TABLESPACE ",
    "SECURITY LABEL ",
    "GRANT ",
    "REVOKE ",
    // Up to PostgreSQL 10.
    "ALTER DATABASE ",
    "CREATE USER ",
    "ALTER USER ",
    "CREATE GROUP ",
    "ALTER GROUP ",
];

/// The statement that names the encoding, up to the name.
const ENCODING: &[u8] = b"SET client_encoding = '";

/// How the names of encodings begin in which no byte of a longer character is one of ASCII's: those
/// that a server can use itself.
const SAFE_ENCODINGS: [&[u8]; 9] =
    [b"UTF8'", b"SQL_ASCII'", b"MULE_INTERNAL'", b"EUC_", b"LATIN", b"ISO_8859_", b"KOI8", b"WIN1", b"WIN8"];

/// Statements that may fail, because what they create is there. What needs it fails later.
const MAY_FAIL: [&[u8]; 2] = [b"CREATE ROLE ", b"CREATE TABLESPACE "];

/// The script for `Server::run`.
pub fn globals_script(sql: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(sql.len() + 1024);
    let mut rest = sql;
    while !rest.is_empty() {
        let (statement, after) = rest.split_at(statement_len(rest)?);
        check_statement(statement)?;
        if MAY_FAIL.iter().any(|start| statement.trim_ascii_start().starts_with(start)) {
            out.extend_from_slice(b"\n\\set ON_ERROR_STOP off\n");
            out.extend_from_slice(statement.trim_ascii());
            out.extend_from_slice(b"\n\\set ON_ERROR_STOP on\n");
        } else if !is_guard(statement) {
            out.extend_from_slice(statement);
        }
        rest = after;
    }
    Ok(out)
}

/// Refuses a statement that is none of pg_dumpall's. Comments, blanks and guards are none at all.
fn check_statement(sql: &[u8]) -> Result<(), Error> {
    let is_statement = !sql.starts_with(b"--") && !sql[0].is_ascii_whitespace() && !is_guard(sql);
    let is_known = || match sql.strip_prefix(ENCODING) {
        Some(name) => SAFE_ENCODINGS.iter().any(|safe| name.starts_with(safe)),
        None => STATEMENTS.iter().any(|known| match sql.strip_prefix(known.as_bytes()) {
            Some(rest) => known.ends_with(' ') || rest == b";",
            None => false,
        }),
    };
    if is_statement && !is_known() { Err(Error::Script("a statement of another kind")) } else { Ok(()) }
}

/// psql's own guard, alone on its line.
fn is_guard(line: &[u8]) -> bool {
    line.starts_with(b"\\restrict ") || line.starts_with(b"\\unrestrict ")
}

/// Length of the statement, comment, blank or guard that `sql` begins with.
fn statement_len(sql: &[u8]) -> Result<usize, Error> {
    let line = sql.iter().position(|b| *b == b'\n').map_or(sql.len(), |at| at + 1);
    if sql.starts_with(b"--") || sql[0].is_ascii_whitespace() {
        return Ok(if sql.starts_with(b"--") { line } else { 1 });
    }
    let harmless = |b: &u8| b.is_ascii_alphanumeric() || *b == b' ' || *b == b'\n';
    if is_guard(sql) && sql[1..line].iter().all(harmless) {
        return Ok(line);
    }
    let mut at = 0;
    while let Some(byte) = sql.get(at) {
        match byte {
            b';' => return Ok(at + 1),
            b'\'' | b'"' => {
                let len = quoted_len(sql, at).ok_or(Error::Script("a quote without an end"))?;
                let is_plain = *byte == b'\'' && !knows_backslashes(sql, at);
                if is_plain && sql[at..at + len].contains(&b'\\') {
                    return Err(Error::Script("a backslash in plain quotes"));
                }
                at += len;
            }
            b'-' if sql[at..].starts_with(b"--") => {
                return Err(Error::Script("a comment inside a statement"));
            }
            b'/' if sql[at..].starts_with(b"/*") => {
                return Err(Error::Script("a comment inside a statement"));
            }
            b'\\' => return Err(Error::Script("a command for psql")),
            // Neither quotes of this kind nor numbered parameters are ever written here, nor
            // anything that psql would replace by the value of a variable.
            b'$' => return Err(Error::Script("a dollar sign outside of quotes")),
            b':' => return Err(Error::Script("a colon outside of quotes")),
            _ => at += 1,
        }
    }
    Err(Error::Script("a statement without an end"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};

    use super::globals_script;

    fn script(sql: &str) -> Result<String, String> {
        let script = globals_script(sql.as_bytes()).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(script).unwrap())
    }

    #[test]
    fn what_exists_may_exist() {
        let sql = "--\n-- it's \\ a comment\n\n\\restrict aZ09\nSET client_encoding = 'UTF8';\n\
                   CREATE ROLE \"o'dd;\\\";\n\
                   ALTER ROLE \"o'dd;\\\" WITH LOGIN PASSWORD 'SCRAM$x''y';\nCOMMENT ON ROLE a IS E'\\'; \\\\';\n\
                   \\unrestrict aZ09\n";
        let want = "--\n-- it's \\ a comment\n\nSET client_encoding = 'UTF8';\n\
                    \n\\set ON_ERROR_STOP off\nCREATE ROLE \"o'dd;\\\";\n\\set ON_ERROR_STOP on\n\n\
                    ALTER ROLE \"o'dd;\\\" WITH LOGIN PASSWORD 'SCRAM$x''y';\nCOMMENT ON ROLE a IS E'\\'; \\\\';\n";
        assert_eq!(script(sql).unwrap(), want);
        assert_eq!(script("").unwrap(), "");
    }

    #[test]
    fn commands_for_psql_are_refused() {
        let bad = [
            "\\! id\n",
            "GRANT a TO b; \\! id\n",
            "GRANT a TO b \\! id\n;",
            "\\restrict a\\! id\n",
            "-- a name\n\\! id\n",
            "COMMENT ON ROLE a IS 'a' 'b\\''; \\! id '",
            "COMMENT ON ROLE aE'\\'; \\! id;'",
            "GRANT $$; \\! id $$;",
            "GRANT /* ' */ \\! id;",
            "GRANT a -- '\n\\! id\n';",
            "GRANT 'open; \\! id",
            "GRANT \"open; \\! id",
            "GRANT a TO b",
            // psql follows the server's settings: where these are allowed, quotes end elsewhere.
            "SET standard_conforming_strings = off; GRANT '\\' ' \\! id # ';",
            "SET client_encoding = 'SJIS';",
            "SET client_encoding = 'WIN932';",
            "SET client_encoding = 'UTF8'; SET CLIENT_ENCODING = 'BIG5';",
            "GRANT :HOST;",
            // Statements that do more than make roles.
            "COPY (SELECT 1) TO PROGRAM 'id';",
            "ALTER SYSTEM SET archive_command = 'id';",
            "DO 'BEGIN END';",
            "SET standard_conforming_strings = on, off;",
            "SELECT 1;",
        ];
        for sql in bad {
            let error = script(sql).unwrap_err();
            assert!(error.starts_with("globals.sql holds "), "{sql}: {error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_bytes_are_taken_or_refused(sql in any::<Vec<u8>>(), text in "[E'\"\\\\;$\\-/*\n a-c]{0,30}") {
            let _ = globals_script(&sql);
            if let Ok(script) = globals_script(text.as_bytes()) {
                prop_assert!(script.len() <= text.len());
            }
        }
    }
}
