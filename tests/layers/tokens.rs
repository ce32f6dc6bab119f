//! Just enough of Rust's lexical grammar to find paths in a source: identifiers and punctuation
//! with their lines, without comments, strings and characters; and which of them are test code.

/// One token of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// An identifier or keyword, or one character of punctuation.
    pub text: String,
    /// Counted from 1.
    pub line: usize,
    /// Whether it stands below `#[cfg(test)]`.
    pub test: bool,
}

/// The tokens of `source`.
pub fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = lex(source);
    mark_tests(&mut tokens);
    tokens
}

fn lex(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let rest = &chars[at..];
        let len = match rest {
            ['/', '/', ..] => rest.iter().take_while(|c| **c != '\n').count(),
            ['/', '*', ..] => block_comment(rest),
            ['"', ..] => string(rest),
            ['\'', ..] => character(rest),
            [c, ..] if is_ident(*c) => {
                let len = rest.iter().take_while(|c| is_ident(**c)).count();
                match literal_prefix(&rest[..len], &rest[len..]) {
                    Some(literal) => len + literal,
                    None => {
                        let text = rest[..len].iter().collect();
                        tokens.push(Token { text, line, test: false });
                        len
                    }
                }
            }
            [c, ..] => {
                if !c.is_whitespace() {
                    tokens.push(Token { text: c.to_string(), line, test: false });
                }
                1
            }
            [] => break,
        };
        line += rest[..len].iter().filter(|c| **c == '\n').count();
        at += len;
    }
    tokens
}

fn is_ident(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// A string with escapes, from its opening quote.
fn string(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// A character such as `'a'` or `'\u{1b}'`; of a lifetime such as `'a`, only its quote.
fn character(rest: &[char]) -> usize {
    match rest {
        ['\'', '\\', _, tail @ ..] => 3 + tail.iter().take_while(|c| **c != '\'').count() + 1,
        ['\'', _, '\'', ..] => 3,
        _ => 1,
    }
}

/// The literal that follows if the identifier before it is a prefix: `b"…"`, `r#"…"#`, `b'x'`.
fn literal_prefix(ident: &[char], rest: &[char]) -> Option<usize> {
    let ident: String = ident.iter().collect();
    let hashes = rest.iter().take_while(|c| **c == '#').count();
    match (ident.as_str(), rest.get(hashes)) {
        ("r" | "br" | "cr", Some('"')) => {
            let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            let body = &rest[hashes + 1..];
            let len = body.windows(end.len()).position(|w| w == end).unwrap_or(body.len());
            Some((hashes + 1 + len + end.len()).min(rest.len()))
        }
        ("b" | "c", Some('"')) if hashes == 0 => Some(string(rest)),
        ("b", Some('\'')) if hashes == 0 => Some(character(rest)),
        _ => None,
    }
}

/// Marks every item behind `#[cfg(test)]`, up to its `;` or the end of its braces.
fn mark_tests(tokens: &mut [Token]) {
    const ATTRIBUTE: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut at = 0;
    while at + ATTRIBUTE.len() <= tokens.len() {
        let here = &tokens[at..at + ATTRIBUTE.len()];
        if !here.iter().map(|t| t.text.as_str()).eq(ATTRIBUTE) {
            at += 1;
            continue;
        }
        let (mut depth, mut end) = (0_usize, at + ATTRIBUTE.len());
        while let Some(token) = tokens.get(end) {
            end += 1;
            match token.text.as_str() {
                "{" | "(" | "[" => depth += 1,
                "}" if depth == 1 => break,
                "}" | ")" | "]" => depth -= 1,
                ";" if depth == 0 => break,
                _ => {}
            }
        }
        tokens[at..end].iter_mut().for_each(|token| token.test = true);
        at = end;
    }
}

#[test]
fn only_code_becomes_tokens() {
    let source =
        "let a: &'x str = r#\"un\"safe\"#; // unsafe\n/* un /* safe */ */ b'\"' '\\'' \"\\\"unsafe\" b";
    let texts: Vec<String> = tokens(source).into_iter().map(|t| t.text).collect();
    assert_eq!(texts, ["let", "a", ":", "&", "x", "str", "=", ";", "b"]);
    let tokens = tokens("a\n/*\n*/ \"\n\" b");
    assert_eq!(tokens.iter().map(|t| t.line).collect::<Vec<_>>(), [1, 4]);
}

#[test]
fn test_items_are_marked_to_their_end() {
    let marked = |source: &str| -> Vec<String> {
        tokens(source).into_iter().filter(|t| !t.test).map(|t| t.text).collect()
    };
    assert_eq!(marked("a #[cfg(test)] mod tests { fn x() { y } } b"), ["a", "b"]);
    assert_eq!(marked("a #[cfg(test)] mod tests; b"), ["a", "b"]);
    assert_eq!(marked("a #[cfg(test)] #[allow(x)] pub fn f(a: [u8; 3]) -> X { b } c"), ["a", "c"]);
}
