//! `SNAPSHOT[:PATH]` as people write it: an id or a prefix of one, `latest`, `latest~2`,
//! `latest@db=shop`, or a time. Parsing only: which snapshot is meant, the repository knows.
//!
//! Grammar: `WHICH [":" PATH]`, where WHICH is a hexadecimal prefix, `latest` or a time; after
//! `latest` may stand `~N`, and after `latest` or a time any number of `@KEY=VALUE`. In a VALUE
//! `%3A`, `%40` and `%25` stand for `:`, `@` and `%`. A path is taken as it is.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use jiff::tz::TimeZone;
use percent_encoding::percent_decode_str;

use crate::base::id::SessionId;
use crate::cli::exit::Failure;
use crate::cli::json::kind_of_name;
use crate::cli::time;
use crate::ops;
use crate::ops::select::{Filter, Which};

/// A snapshot, and perhaps a place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// Which snapshot.
    pub which: Which,
    /// The same in the user's words, for messages.
    pub wanted: String,
    /// The path after the colon, never empty; of any bytes.
    pub path: Option<Vec<u8>>,
}

impl Selector {
    /// Parses `text`; times without an offset are `zone`'s.
    pub fn parse(text: impl AsRef<OsStr>, zone: &TimeZone) -> Result<Self, Failure> {
        let bytes = text.as_ref().as_bytes();
        // All that stands before a path is UTF-8.
        let (text, beyond) = match std::str::from_utf8(bytes) {
            Ok(text) => (text, &[][..]),
            Err(error) => {
                let (text, beyond) = bytes.split_at(error.valid_up_to());
                (std::str::from_utf8(text).unwrap_or_default(), beyond)
            }
        };
        let (which, rest) = which(text, zone).map_err(|why| {
            Failure::usage(format!("'{text}' names no snapshot: {why}")).with_hint(
                "write an id or its beginning, latest, latest~2, latest@db=NAME, or a time such as \
                 2026-11-22T03:00; a path follows after a colon",
            )
        })?;
        let wanted = text[..text.len() - rest.len()].to_owned();
        let path = match rest.strip_prefix(':') {
            Some(path) => [path.as_bytes(), beyond].concat(),
            None if beyond.is_empty() => Vec::new(),
            None => return Err(Failure::usage(format!("'{text}' is followed by what is not UTF-8"))),
        };
        let path = Some(path).filter(|path| !path.is_empty());
        Ok(Selector { which, wanted, path })
    }

    /// The failure to find it, with what to try if this looks like a slip.
    pub fn explained(&self, error: ops::Error) -> Failure {
        match self.hint_if_absent() {
            Some(hint) => Failure::from(error).with_hint(hint),
            None => error.into(),
        }
    }

    fn hint_if_absent(&self) -> Option<&'static str> {
        let (_, conditions) = self.wanted.split_once('@')?;
        let (_, after) = conditions.rsplit_once('~')?;
        let steps = !after.is_empty() && after.bytes().all(|b| b.is_ascii_digit());
        steps.then_some("~N stands before the conditions: latest~1@host=web1")
    }
}

/// The first part of `text` and what follows it: nothing, or a colon and a path.
fn which<'a>(text: &'a str, zone: &TimeZone) -> Result<(Which, &'a str), String> {
    if let Some(rest) = text.strip_prefix("latest") {
        let (back, rest) = steps_back(rest)?;
        let (filters, rest) = filters(rest)?;
        return Ok((Which::Latest { back, filters }, rest));
    }
    if let Some(time) = time::leading(text, zone)? {
        let (filters, rest) = filters(&text[time.len..])?;
        return Ok((Which::At { time: time.time, filters }, rest));
    }
    let end = text.find(':').unwrap_or(text.len());
    let (id, rest) = text.split_at(end);
    match id.len() {
        0 => Err("it is empty".to_owned()),
        n if n > SessionId::LEN * 2 => Err("an id has 32 digits".to_owned()),
        _ if !id.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Err("an id has hexadecimal digits only".to_owned())
        }
        _ => Ok((Which::Id(id.to_ascii_lowercase()), rest)),
    }
}

fn steps_back(text: &str) -> Result<(u32, &str), String> {
    let Some(steps) = text.strip_prefix('~') else { return Ok((0, text)) };
    let (number, rest) = steps.split_at(steps.find([':', '@']).unwrap_or(steps.len()));
    let digits = number.bytes().all(|b| b.is_ascii_digit());
    match number.parse() {
        Ok(back) if digits => Ok((back, rest)),
        _ => Err(format!("'~{number}' is no number of snapshots")),
    }
}

/// Any number of `@KEY=VALUE`, up to the end or a colon.
fn filters(mut text: &str) -> Result<(Vec<Filter>, &str), String> {
    let mut filters = Vec::new();
    while let Some(filter) = text.strip_prefix('@') {
        let (filter, rest) = filter.split_at(filter.find([':', '@']).unwrap_or(filter.len()));
        let (key, value) = filter.split_once('=').ok_or_else(|| format!("'@{filter}' is not @KEY=VALUE"))?;
        let value = percent_decode_str(value).decode_utf8().map_err(|_| "a value is not UTF-8".to_owned())?;
        if value.is_empty() {
            return Err(format!("'@{filter}' has no value"));
        }
        filters.push(condition(key, value.into_owned())?);
        text = rest;
    }
    if text.is_empty() || text.starts_with(':') {
        Ok((filters, text))
    } else {
        Err(format!("'{text}' stands where @KEY=VALUE or :PATH would"))
    }
}

/// One condition.
fn condition(key: &str, value: String) -> Result<Filter, String> {
    match key {
        "db" => Ok(Filter::Db(value)),
        "host" => Ok(Filter::Host(value)),
        "tag" => Ok(Filter::Tag(value)),
        "kind" => {
            kind_of_name(&value).map(Filter::Kind).ok_or_else(|| format!("'{value}' is no kind of snapshot"))
        }
        _ => Err(format!("'{key}' is none of db, host, tag and kind")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::base::clock::Timestamp;
    use crate::format::root::SnapshotKind;
    use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Selector, Failure> {
        Selector::parse(text, &TimeZone::UTC)
    }

    fn latest(back: u32, filters: Vec<Filter>) -> Which {
        Which::Latest { back, filters }
    }

    #[track_caller]
    fn check(text: &str, which: Which, wanted: &str, path: Option<&str>) {
        let (wanted, path) = (wanted.to_owned(), path.map(Into::into));
        assert_eq!(parse(text).unwrap(), Selector { which, wanted, path }, "{text}");
    }

    #[test]
    fn every_form_is_understood() {
        let db = |name: &str| Filter::Db(name.into());
        check("3F1c", Which::Id("3f1c".into()), "3F1c", None);
        check("3f1c:shop/database.dump", Which::Id("3f1c".into()), "3f1c", Some("shop/database.dump"));
        check("latest", latest(0, vec![]), "latest", None);
        check("latest:", latest(0, vec![]), "latest", None);
        check("latest~2", latest(2, vec![]), "latest~2", None);
        check("latest@db=shop", latest(0, vec![db("shop")]), "latest@db=shop", None);
        let web1 = vec![Filter::Host("web1".into())];
        check("latest@host=web1:/srv/a:b@c=d", latest(0, web1), "latest@host=web1", Some("/srv/a:b@c=d"));
        let daily = vec![Filter::Tag("daily".into()), Filter::Kind(SnapshotKind::Database)];
        check("latest~1@tag=daily@kind=db", latest(1, daily), "latest~1@tag=daily@kind=db", None);
        let odd = "latest@db=a%3Ab%40c%25=~x";
        check(odd, latest(0, vec![db("a:b@c%=~x")]), odd, None);
        let at = |seconds: i64, filters| Which::At { time: Timestamp(seconds * 1_000_000_000), filters };
        let time = "2026-11-22T03:00";
        check(time, at(1_795_316_400, vec![]), time, None);
        check("2026-11-22T03:00:shop/x.sql", at(1_795_316_400, vec![]), time, Some("shop/x.sql"));
        let shop = "2026-11-22T03:00+02:00@db=shop";
        check(&format!("{shop}:x"), at(1_795_309_200, vec![db("shop")]), shop, Some("x"));
    }

    #[test]
    fn a_path_has_any_bytes_and_what_is_before_it_has_not() {
        let parse = |bytes: &[u8]| Selector::parse(OsStr::from_bytes(bytes), &TimeZone::UTC);
        let path = |bytes: &[u8]| parse(bytes).unwrap().path.unwrap();
        assert_eq!(path(b"latest:/srv/a\xff\xc3b"), b"/srv/a\xff\xc3b");
        assert_eq!(path(b"3f1c:\xff"), b"\xff");
        for wrong in [&b"latest\xff"[..], b"3f\xff:x", b"\xff", b"latest@host=\xff:x"] {
            assert_eq!(parse(wrong).unwrap_err().exit_status(), 2, "{wrong:?}");
        }
    }

    #[test]
    fn steps_behind_a_condition_are_taken_for_a_slip() {
        assert!(parse("latest@host=web1~1").unwrap().hint_if_absent().is_some());
        for sound in ["latest~1@host=web1", "latest~1", "latest@db=a~b", "3f1c:x@y~1"] {
            assert_eq!(parse(sound).unwrap().hint_if_absent(), None, "{sound}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("", "empty"),
            (":path", "empty"),
            ("shop", "hexadecimal"),
            ("newest", "hexadecimal"),
            (&"a".repeat(33), "32 digits"),
            ("latest~", "no number"),
            ("latest~-1", "no number"),
            ("latest~+1", "no number"),
            ("latest~99999999999", "no number"),
            ("latest2", "stands where"),
            ("latest@db", "not @KEY=VALUE"),
            ("latest@db=", "no value"),
            ("latest@database=shop", "none of db, host"),
            ("latest@kind=database", "no kind"),
            ("latest@db=shop~1@", "not @KEY=VALUE"),
            ("latest@db=%ff", "UTF-8"),
            ("2026-11-22", "time of day"),
            ("2026-02-30T03:00", "no time"),
            ("2026-11-22T03:00x", "stands where"),
        ];
        for (text, why) in cases {
            let failure = parse(text).unwrap_err();
            assert_eq!(failure.exit_status(), 2);
            assert!(failure.render().contains(why), "{text}: {}", failure.render());
        }
    }

    /// What a value cannot contain as it is.
    const IN_VALUE: &AsciiSet = &CONTROLS.add(b':').add(b'@').add(b'%');

    /// A selector's first part as it could be written, with times in UTC.
    fn written(which: &Which) -> String {
        let (mut text, filters) = match which {
            Which::Id(id) => return id.clone(),
            Which::Latest { back, filters } => (format!("latest~{back}"), filters),
            Which::At { time, filters } => (time::rfc3339(*time), filters),
        };
        for filter in filters {
            let (key, value) = match filter {
                Filter::Db(name) => ("db", name.clone()),
                Filter::Host(name) => ("host", name.clone()),
                Filter::Tag(name) => ("tag", name.clone()),
                Filter::Kind(kind) => ("kind", kind.to_string()),
                Filter::Source(_) => continue,
            };
            text.push_str(&format!("@{key}={}", utf8_percent_encode(&value, IN_VALUE)));
        }
        text
    }

    fn any_filters() -> impl Strategy<Value = Vec<Filter>> {
        let filter = prop_oneof![
            "\\PC{1,12}".prop_map(Filter::Db),
            "\\PC{1,12}".prop_map(Filter::Host),
            "\\PC{1,12}".prop_map(Filter::Tag),
            (1u64..=4).prop_map(|n| Filter::Kind(SnapshotKind::from_u64(n))),
        ];
        prop::collection::vec(filter, 0..3)
    }

    fn any_which() -> impl Strategy<Value = Which> {
        prop_oneof![
            "[0-9a-f]{1,32}".prop_map(Which::Id),
            (any::<u32>(), any_filters()).prop_map(|(back, filters)| Which::Latest { back, filters }),
            // A fraction, because a time that ends at its second means all of that second.
            (0i64..4_000_000_000, 1i64..1_000_000_000, any_filters()).prop_map(|(s, n, filters)| {
                Which::At { time: Timestamp(s * 1_000_000_000 + n), filters }
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(which in any_which(), path in prop::option::of("\\PC{1,20}")) {
            let wanted = written(&which);
            let text = path.as_ref().map_or(wanted.clone(), |path| format!("{wanted}:{path}"));
            let path = path.map(String::into_bytes);
            prop_assert_eq!(parse(&text).unwrap(), Selector { which, wanted, path });
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC*", tail in "\\PC{0,12}") {
            let _ = parse(&text);
            let _ = parse(&format!("latest{tail}"));
            let _ = parse(&format!("2026-11-22T03:00{tail}"));
        }
    }
}
