//! Words for people: names made safe to print and counts with their noun. No I/O.

use std::borrow::Cow;

/// `text` with control characters and the ones that reorder a line escaped as `\u{1b}`. Names of
/// tables and files are whatever somebody chose; printed raw they could drive the terminal or
/// break a line-oriented listing. JSON carries them as they are.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(unprintable) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if unprintable(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// The same of a name that need not be UTF-8; what is not is shown as `\xff`.
pub fn printable_bytes(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return printable(text);
    }
    let mut out = String::with_capacity(bytes.len() + 8);
    for chunk in bytes.utf8_chunks() {
        out.push_str(&printable(chunk.valid()));
        chunk.invalid().iter().for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
    }
    Cow::Owned(out)
}

/// What a tool said, safe to print: its lines stay lines, and those after the first are indented,
/// so that none of them can be taken for one of ours.
pub fn paragraph(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let lines: Vec<_> = lines.map(|line| printable(&line.replace('\t', " ")).into_owned()).collect();
    lines.join("\n  ")
}

/// Controls, and Unicode's bidirectional marks.
fn unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `n` and its noun: `1 table`, `2 tables`.
pub fn count(n: u64, noun: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_drives_a_terminal_is_escaped() {
        assert!(matches!(printable("public.Bestellungen ümlaut 注文"), Cow::Borrowed(_)));
        assert_eq!(printable("a\nb\x1b[31m\u{202e}c\u{9b}"), "a\\u{a}b\\u{1b}[31m\\u{202e}c\\u{9b}");
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_bytes() {
        assert_eq!(printable_bytes(b"a\xff\nb\xc3"), "a\\xff\\u{a}b\\xc3");
        assert_eq!(printable_bytes("ü".as_bytes()), "ü");
    }

    #[test]
    fn lines_stay_lines_and_cannot_pass_for_ours() {
        let said = "pg_dump: error\n\terror: \x1b[2Jno\r\n\n";
        assert_eq!(paragraph(said), "pg_dump: error\n   error: \\u{1b}[2Jno");
    }

    #[test]
    fn nouns_agree_with_their_number() {
        assert_eq!(count(0, "table"), "0 tables");
        assert_eq!(count(1, "table"), "1 table");
        assert_eq!(count(12, "table"), "12 tables");
    }
}
