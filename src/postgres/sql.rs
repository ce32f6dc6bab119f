//! The little that has to be known of SQL's lexical rules to look into statements that PostgreSQL's
//! own programs wrote. Bytes in, lengths out.

/// Length of the quoted string or identifier at `at`, with its quotes; `None` if it does not end.
/// `E'…'` knows backslashes.
pub fn quoted_len(sql: &[u8], at: usize) -> Option<usize> {
    let quote = *sql.get(at)?;
    let escapes = knows_backslashes(sql, at);
    let mut end = at + 1;
    while let Some(byte) = sql.get(end) {
        match byte {
            b'\\' if escapes => end += 2,
            // A doubled quote begins another string right away, which comes to the same.
            b if *b == quote => return Some(end + 1 - at),
            _ => end += 1,
        }
    }
    None
}

/// Whether the quote at `at` begins a string in which a backslash is no ordinary character.
pub fn knows_backslashes(sql: &[u8], at: usize) -> bool {
    let before = |n: usize| at.checked_sub(n).and_then(|i| sql.get(i)).copied();
    let is_escape = sql.get(at) == Some(&b'\'') && matches!(before(1), Some(b'E' | b'e'));
    is_escape && !before(2).is_some_and(is_word)
}

/// Whether a byte can be part of a name outside of quotes.
pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || !byte.is_ascii()
}
