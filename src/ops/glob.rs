//! Patterns of names and paths as a shell has them: `*` and `?` stop at a slash, `**` does not,
//! `[a-z]` and `[!a-z]` are one character, a backslash takes the next as it is. Names need not be
//! UTF-8: a byte that is not counts as a character of its own. Matching takes time in proportion to
//! name and pattern, whatever they are.

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    tokens: Vec<Token>,
    fold: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// This character.
    One(u32),
    /// Any character but a slash.
    Any,
    /// One of these, or none of these.
    Class { not: bool, ranges: Vec<(u32, u32)> },
    /// Any number of characters that are no slash.
    Star,
    /// Any number of characters.
    Tree,
    /// The two tokens after it may be left out: `**/` is also nothing.
    Optional,
}

const SLASH: u32 = '/' as u32;
/// Where bytes that are no text begin, beyond all characters.
const BYTES: u32 = 0x11_0000;

impl Glob {
    /// The pattern `text`; with `fold`, case is ignored. An error says what is wrong with it.
    pub fn new(text: &[u8], fold: bool) -> Result<Self, &'static str> {
        let units: Vec<u32> = units(text, fold).collect();
        let mut tokens = Vec::with_capacity(units.len());
        let mut rest = units.as_slice();
        while let Some((unit, after)) = rest.split_first() {
            rest = match char::from_u32(*unit) {
                Some('*') => star(after, &mut tokens),
                Some('?') => {
                    tokens.push(Token::Any);
                    after
                }
                Some('[') => class(after, &mut tokens)?,
                Some('\\') => {
                    let (next, after) = after.split_first().ok_or("it ends in a backslash")?;
                    tokens.push(Token::One(*next));
                    after
                }
                _ => {
                    tokens.push(Token::One(*unit));
                    after
                }
            };
        }
        Ok(Glob { tokens, fold })
    }

    /// The same pattern, for the end of a path: it begins where one of the path's names does.
    pub fn at_any_depth(mut self) -> Self {
        self.tokens.splice(0..0, [Token::Optional, Token::Tree, Token::One(SLASH)]);
        self
    }

    /// Whether all of `text` fits.
    pub fn matches(&self, text: &[u8]) -> bool {
        // `now[i]`: what was read so far may have led to the token of that number.
        let mut now = vec![false; self.tokens.len() + 1];
        let mut next = now.clone();
        now[0] = true;
        self.pass(&mut now);
        for unit in units(text, self.fold) {
            next.fill(false);
            for (at, token) in self.tokens.iter().enumerate().filter(|(at, _)| now[*at]) {
                match token {
                    Token::Star if unit != SLASH => next[at] = true,
                    Token::Tree => next[at] = true,
                    Token::Star | Token::Optional => {}
                    one => next[at + 1] |= one.takes(unit),
                }
            }
            self.pass(&mut next);
            std::mem::swap(&mut now, &mut next);
        }
        now[self.tokens.len()]
    }

    /// Goes on past tokens that need no character.
    fn pass(&self, states: &mut [bool]) {
        for (at, token) in self.tokens.iter().enumerate() {
            if !states[at] {
                continue;
            }
            match token {
                Token::Star | Token::Tree => states[at + 1] = true,
                Token::Optional => {
                    states[at + 1] = true;
                    states[at + 3] = true;
                }
                _ => {}
            }
        }
    }
}

impl Token {
    /// Whether it takes this one character.
    fn takes(&self, unit: u32) -> bool {
        match self {
            Token::One(one) => *one == unit,
            Token::Any => unit != SLASH,
            Token::Class { not, ranges } => {
                unit != SLASH && ranges.iter().any(|(from, to)| (*from..=*to).contains(&unit)) != *not
            }
            Token::Star | Token::Tree | Token::Optional => false,
        }
    }
}

/// What follows a `*`.
fn star<'u>(after: &'u [u32], tokens: &mut Vec<Token>) -> &'u [u32] {
    let stars = after.iter().take_while(|unit| **unit == u32::from('*')).count();
    let rest = &after[stars..];
    if stars == 0 {
        tokens.push(Token::Star);
        return rest;
    }
    let begins = matches!(tokens.last(), None | Some(Token::One(SLASH)));
    match rest.split_first() {
        Some((&SLASH, rest)) if begins => {
            tokens.extend([Token::Optional, Token::Tree, Token::One(SLASH)]);
            rest
        }
        _ => {
            tokens.push(Token::Tree);
            rest
        }
    }
}

/// What follows a `[`, up to after its `]`.
fn class<'u>(after: &'u [u32], tokens: &mut Vec<Token>) -> Result<&'u [u32], &'static str> {
    const OPEN: &str = "it has a [ without its ]";
    let is = |unit: Option<&u32>, c: char| unit == Some(&u32::from(c));
    let not = is(after.first(), '!') || is(after.first(), '^');
    let mut rest = &after[usize::from(not)..];
    let mut ranges = Vec::new();
    loop {
        // A ] that stands first is one of the characters.
        if is(rest.first(), ']') && !ranges.is_empty() {
            tokens.push(Token::Class { not, ranges });
            return Ok(&rest[1..]);
        }
        let from = *rest.first().ok_or(OPEN)?;
        let (to, len) = match (rest.get(1), rest.get(2)) {
            (dash, Some(to)) if is(dash, '-') && !is(Some(to), ']') => (*to, 3),
            _ => (from, 1),
        };
        ranges.push((from, to));
        rest = &rest[len..];
    }
}

/// The characters of `text`, and the bytes that are none.
fn units(text: &[u8], fold: bool) -> impl Iterator<Item = u32> + '_ {
    text.utf8_chunks().flat_map(move |chunk| {
        let folded = move |c: char| if fold { c.to_lowercase().next().unwrap_or(c) } else { c };
        let valid = chunk.valid().chars().map(move |c| u32::from(folded(c)));
        valid.chain(chunk.invalid().iter().map(|byte| BYTES + u32::from(*byte)))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(pattern: &str, fits: &[&str], not: &[&str]) {
        let glob = Glob::new(pattern.as_bytes(), false).unwrap();
        for text in fits {
            assert!(glob.matches(text.as_bytes()), "{pattern} should fit {text}");
        }
        for text in not {
            assert!(!glob.matches(text.as_bytes()), "{pattern} should not fit {text}");
        }
    }

    #[test]
    fn patterns_are_those_of_a_shell() {
        check("", &[""], &["a"]);
        check("a.png", &["a.png"], &["a.pn", "a.pngg", "A.png", "axpng"]);
        check("*.png", &[".png", "a.png", "a.b.png"], &["a.png.", "d/a.png"]);
        check("a*b*c", &["abc", "a1b2c", "abbcc"], &["ab", "acb", "a/b/c"]);
        check("?", &["a", "ü", "注"], &["", "ab", "/"]);
        check("[a-cx]", &["a", "b", "c", "x"], &["d", "-", "", "ab"]);
        check("[!a-c]", &["d", "ü"], &["a", "/", ""]);
        check("[]a-]", &["]", "a", "-"], &["b"]);
        check(r"\*\[", &["*["], &["a["]);
        check("a/**", &["a/", "a/b", "a/b/c"], &["a", "ab"]);
        check("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["a/xb", "ab", "a/b/c"]);
        check("**/b", &["b", "a/b", "a/a/b"], &["ab", "a/ab"]);
        check("a**b", &["ab", "a/x/b"], &["a"]);
    }

    #[test]
    fn a_pattern_may_begin_at_any_name_of_a_path() {
        let glob = Glob::new(b"uploads/*.png", false).unwrap().at_any_depth();
        for path in [&b"uploads/a.png"[..], b"srv/uploads/a.png", b"srv/x/uploads/.png"] {
            assert!(glob.matches(path), "{path:?}");
        }
        for path in [&b"srv/myuploads/a.png"[..], b"srv/uploads/b/a.png", b"a.png"] {
            assert!(!glob.matches(path), "{path:?}");
        }
    }

    #[test]
    fn case_is_ignored_where_it_should_be() {
        let glob = Glob::new("*.ÄPNG".as_bytes(), true).unwrap();
        assert!(glob.matches("x.äPnG".as_bytes()));
        assert!(!Glob::new(b"A", false).unwrap().matches(b"a"));
    }

    #[test]
    fn bytes_that_are_no_text_are_characters() {
        assert!(Glob::new(b"a?c", false).unwrap().matches(b"a\xffc"));
        assert!(Glob::new(b"a\xff*", false).unwrap().matches(b"a\xffc"));
        assert!(!Glob::new(b"a\xff*", false).unwrap().matches("aÿc".as_bytes()));
    }

    #[test]
    fn what_is_not_closed_is_a_mistake() {
        for wrong in ["[", "[a", "[]", "[!]", "a\\"] {
            assert!(Glob::new(wrong.as_bytes(), false).is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_pattern_takes_long() {
        let glob = Glob::new("a*".repeat(200).as_bytes(), false).unwrap();
        assert!(
            !glob.matches(
                "a".repeat(4000)
                    .as_bytes()
                    .split_last()
                    .map(|(_, rest)| [rest, b"b/"].concat())
                    .unwrap()
                    .as_slice()
            )
        );
    }

    proptest! {
        #[test]
        fn no_pattern_makes_it_panic(pattern in any::<Vec<u8>>(), text in any::<Vec<u8>>()) {
            if let Ok(glob) = Glob::new(&pattern, true) {
                glob.matches(&text);
            }
            if let Ok(glob) = Glob::new(&pattern, false) {
                glob.at_any_depth().matches(&text);
            }
        }

        #[test]
        fn a_text_without_signs_fits_itself(text in "[a-z/üé. ]{0,20}", other in "[a-z/]{0,20}") {
            let glob = Glob::new(text.as_bytes(), false).unwrap();
            prop_assert!(glob.matches(text.as_bytes()));
            prop_assert_eq!(glob.matches(other.as_bytes()), text == other);
        }
    }
}
