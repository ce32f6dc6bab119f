//! Identifiers as parts of paths: `tables/public.orders.copy`. In each part `/`, `.`, `%`, control
//! characters and bytes that are not UTF-8 are percent-encoded, so that the table `b` in schema
//! `a.x` differs from `x.b` in `a`, and no part can be `..`.

/// One identifier as a part of a file name.
pub fn encode(identifier: &[u8]) -> String {
    let mut out = String::with_capacity(identifier.len());
    for chunk in identifier.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || matches!(c, '/' | '.' | '%') {
                let mut utf8 = [0u8; 4];
                c.encode_utf8(&mut utf8).bytes().for_each(|b| percent(&mut out, b));
            } else {
                out.push(c);
            }
        }
        chunk.invalid().iter().for_each(|b| percent(&mut out, *b));
    }
    out
}

/// The file name of a table's rows: `public.orders.copy`.
pub fn table_file(schema: &[u8], table: &[u8]) -> String {
    format!("{}.{}.copy", encode(schema), encode(table))
}

/// The identifier that `encode` made `part` of; `None` if it made no such part.
pub fn decode(part: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(part.len());
    let mut bytes = part.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            let digits =
                std::str::from_utf8(&digits).ok().filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            out.push(byte);
        }
    }
    (encode(&out) == part).then_some(out)
}

fn percent(out: &mut String, byte: u8) {
    out.push_str(&format!("%{byte:02X}"));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

    use super::{decode, encode, table_file};

    #[test]
    fn names_read_as_people_expect() {
        assert_eq!(table_file(b"public", b"orders"), "public.orders.copy");
        assert_eq!(table_file(b"a.x", b"b"), "a%2Ex.b.copy");
        assert_eq!(table_file(b"a", b"x.b"), "a.x%2Eb.copy");
        assert_eq!(encode("Größe".as_bytes()), "Größe");
        assert_eq!(encode(b"Weird. name/%"), "Weird%2E name%2F%25");
        assert_eq!(encode(b"\xff\n"), "%FF%0A");
        assert_eq!(encode(b".."), "%2E%2E");
        for bad in ["a.b", "%", "%2", "%2e", "%41", "%+1", "a/b"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn every_identifier_comes_back(identifier in any::<Vec<u8>>()) {
            let part = encode(&identifier);
            prop_assert!(!part.contains(['/', '.', '\n']));
            prop_assert_eq!(decode(&part).unwrap(), identifier);
        }
    }
}
