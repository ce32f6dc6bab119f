//! What `pg_dumpall --globals-only` wrote, made fit to run on a server that has some of it
//! already: roles and tablespaces that exist are passed over.
//!
//! psql runs it, and psql obeys backslash commands, `\!` among them. New minor releases guard the
//! text with `\restrict`, which older psql do not know; so those lines go, and any other backslash
//! outside of quotes is refused: a hostile file must not run programs on this machine.

use crate::postgres::error::Error;

/// Statements that may fail, because what they create is there. What needs it fails later.
const MAY_FAIL: [&[u8]; 2] = [b"CREATE ROLE ", b"CREATE TABLESPACE "];

/// The script for `Server::run`.
pub fn globals_script(sql: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(sql.len() + 1024);
    let mut rest = sql;
    while !rest.is_empty() {
        let (statement, after) = rest.split_at(statement_len(rest)?);
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
            b'\'' | b'"' => at += quoted_len(sql, at)?,
            b'-' if sql[at..].starts_with(b"--") => {
                return Err(Error::Script("a comment inside a statement"));
            }
            b'/' if sql[at..].starts_with(b"/*") => {
                return Err(Error::Script("a comment inside a statement"));
            }
            b'\\' => return Err(Error::Script("a command for psql")),
            // Neither quotes of this kind nor numbered parameters are ever written here.
            b'$' => return Err(Error::Script("a dollar sign outside of quotes")),
            _ => at += 1,
        }
    }
    Err(Error::Script("a statement without an end"))
}

/// Length of the quoted string or identifier at `at`, with its quotes. `E'…'` knows backslashes.
fn quoted_len(sql: &[u8], at: usize) -> Result<usize, Error> {
    let quote = sql[at];
    let is_word =
        |i: usize| at.checked_sub(i).is_some_and(|i| sql[i].is_ascii_alphanumeric() || sql[i] == b'_');
    let escapes = quote == b'\'' && at > 0 && matches!(sql[at - 1], b'E' | b'e') && !is_word(2);
    let mut end = at + 1;
    while let Some(byte) = sql.get(end) {
        match byte {
            b'\\' if escapes => end += 2,
            // A doubled quote begins another string right away, which comes to the same.
            b if *b == quote => return Ok(end + 1 - at),
            _ => end += 1,
        }
    }
    Err(Error::Script("a quote without an end"))
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
        let sql = "--\n-- it's \\ a comment\n\n\\restrict aZ09\nSET x = on;\nCREATE ROLE \"o'dd;\\\";\n\
                   ALTER ROLE \"o'dd;\\\" WITH LOGIN PASSWORD 'SCRAM$\\x''y';\nCOMMENT ON ROLE a IS E'\\'; \\\\';\n\
                   \\unrestrict aZ09\n";
        let want = "--\n-- it's \\ a comment\n\nSET x = on;\n\
                    \n\\set ON_ERROR_STOP off\nCREATE ROLE \"o'dd;\\\";\n\\set ON_ERROR_STOP on\n\n\
                    ALTER ROLE \"o'dd;\\\" WITH LOGIN PASSWORD 'SCRAM$\\x''y';\nCOMMENT ON ROLE a IS E'\\'; \\\\';\n";
        assert_eq!(script(sql).unwrap(), want);
        assert_eq!(script("").unwrap(), "");
    }

    #[test]
    fn commands_for_psql_are_refused() {
        let bad = [
            "\\! id\n",
            "SET x = 1; \\! id\n",
            "SET x = 1 \\! id\n;",
            "\\restrict a\\! id\n",
            "-- a name\n\\! id\n",
            "SET x = 'a' 'b\\''; \\! id '",
            "SET xE'\\'; \\! id;'",
            "SELECT $$; \\! id $$;",
            "SELECT /* ' */ \\! id;",
            "SELECT 1 -- '\n\\! id\n';",
            "SELECT 'open; \\! id",
            "SELECT \"open; \\! id",
            "SELECT 1",
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
