//! Attribute records, the encoding of everything that grows over the years: nodes, roots, the
//! configuration, keyrings. A record is a sequence of tag, length, value; tags strictly ascend. A tag
//! with its lowest bit set must be understood by whoever reads the record; others that are not known
//! are kept as they are, so a rewritten record loses nothing.

use crate::base::limits;
use crate::format::error::{Error, Reason};
use crate::format::wire::{Reader, Writer};

/// A kind of text, with its limit. Who writes one and who reads it ask here, so that nothing is written
/// that nobody can read.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    what: &'static str,
    max: usize,
}

impl Text {
    /// Of a machine.
    pub const HOST: Text = Text { what: "a host's name", max: limits::NAME_MAX };
    /// Of a user.
    pub const USER: Text = Text { what: "a user's name", max: limits::NAME_MAX };
    /// Of a group of users.
    pub const GROUP: Text = Text { what: "a group's name", max: limits::NAME_MAX };
    /// Of a program, with its version.
    pub const PROGRAM: Text = Text { what: "a program's name", max: limits::NAME_MAX };
    /// What of a file could not be read.
    pub const PROBLEM: Text = Text { what: "a problem", max: limits::NAME_MAX };
    /// What a session is for.
    pub const PURPOSE: Text = Text { what: "a purpose", max: limits::NAME_MAX };
    /// What a key is called.
    pub const LABEL: Text = Text { what: "a label", max: limits::NAME_MAX };
    /// What a user says about a snapshot or a repository.
    pub const DESCRIPTION: Text = Text { what: "a description", max: limits::NODE_MAX };

    /// Fails, for the record `of`, if `text` is longer than may be.
    pub fn check(self, of: &'static str, text: &str) -> Result<(), Error> {
        let (what, len, max) = (self.what, text.len() as u64, self.max as u64);
        if len > max { Err(Error::new(of, Reason::TooLarge { what, len, max })) } else { Ok(()) }
    }

    /// Reads the rest of `reader` as such a text.
    pub fn read(self, reader: &mut Reader<'_>) -> Result<String, Error> {
        reader.limit(self.what, reader.remaining() as u64, self.max as u64)?;
        reader.rest_as_text()
    }

    /// The same as `check` for a text that may be absent.
    pub fn check_some(self, of: &'static str, text: Option<&String>) -> Result<(), Error> {
        text.map_or(Ok(()), |text| self.check(of, text))
    }
}

/// Fails, for the record `of`, if a list has more items than may be (I-9).
pub fn check_items(of: &'static str, count: usize) -> Result<(), Error> {
    let (what, len, max) = ("the number of items of a list", count as u64, limits::LIST_ITEMS_MAX as u64);
    if len > max { Err(Error::new(of, Reason::TooLarge { what, len, max })) } else { Ok(()) }
}

/// One attribute as it was read: its value is still in its encoded form.
#[derive(Clone, Debug)]
pub struct Attribute<'a> {
    /// What it means.
    pub tag: u64,
    /// Its encoded value.
    pub value: &'a [u8],
    what: &'static str,
    offset: u64,
}

impl<'a> Attribute<'a> {
    /// A reader of the value.
    pub fn reader(&self) -> Reader<'a> {
        Reader::nested(self.what, self.value, self.offset)
    }

    /// The value as an unsigned integer.
    pub fn u64(&self) -> Result<u64, Error> {
        self.whole(Reader::varint)
    }

    /// The value as an unsigned integer of 32 bits.
    pub fn u32(&self) -> Result<u32, Error> {
        let value = self.u64()?;
        u32::try_from(value).map_err(|_| self.inconsistent("a number exceeds 32 bits"))
    }

    /// The value as a signed integer.
    pub fn i64(&self) -> Result<i64, Error> {
        self.whole(Reader::zigzag)
    }

    /// The value as exactly `N` bytes.
    pub fn array<const N: usize>(&self) -> Result<[u8; N], Error> {
        self.whole(Reader::array)
    }

    /// The value as at most `max` bytes of `what`.
    pub fn bytes(&self, what: &'static str, max: usize) -> Result<&'a [u8], Error> {
        self.reader().limit(what, self.value.len() as u64, max as u64)?;
        Ok(self.value)
    }

    /// The value as text of that kind.
    pub fn text(&self, kind: Text) -> Result<String, Error> {
        self.whole(|reader| kind.read(reader))
    }

    /// The items of a list, each read by `item`; an empty list must be absent instead. Space is taken
    /// once, so that secrets among the items are not left behind where a vector grew.
    pub fn list<T>(
        &self,
        mut item: impl FnMut(&mut Reader<'a>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let mut reader = self.reader();
        if self.value.is_empty() {
            return Err(reader.error(Reason::NotCanonical("an empty list")));
        }
        let mut count = 0;
        let mut ahead = reader.clone();
        while ahead.remaining() > 0 {
            let len = ahead.length("an item of a list", limits::NODE_MAX)?;
            ahead.bytes(len)?;
            count += 1;
            check_items(self.what, count).map_err(|error| reader.error(error.reason))?;
        }
        let mut items = Vec::with_capacity(count);
        while reader.remaining() > 0 {
            let len = reader.length("an item of a list", limits::NODE_MAX)?;
            let offset = reader.offset();
            let mut inner = Reader::nested(self.what, reader.bytes(len)?, offset);
            items.push(item(&mut inner)?);
            inner.finish()?;
        }
        Ok(items)
    }

    /// The items of a list of texts.
    pub fn strings(&self) -> Result<Vec<String>, Error> {
        self.list(Reader::rest_as_text)
    }

    /// The value as a flag or counter that is absent when zero.
    pub fn nonzero(&self) -> Result<u64, Error> {
        match self.u64()? {
            0 => Err(self.reader().error(Reason::NotCanonical("a zero that should be absent"))),
            value => Ok(value),
        }
    }

    /// An error at this attribute's value.
    pub fn inconsistent(&self, what: &'static str) -> Error {
        self.reader().inconsistent(what)
    }

    fn whole<T>(&self, read: impl FnOnce(&mut Reader<'a>) -> Result<T, Error>) -> Result<T, Error> {
        let mut reader = self.reader();
        let value = read(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }
}

/// Attributes that this version does not know, kept for whoever does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unknown(Vec<(u64, Box<[u8]>)>);

impl Unknown {
    /// Keeps an attribute, unless it is one that must be understood.
    pub fn keep(&mut self, attribute: &Attribute<'_>) -> Result<(), Error> {
        if attribute.tag & 1 == 1 {
            return Err(attribute.reader().error(Reason::UnknownCritical { tag: attribute.tag }));
        }
        self.0.push((attribute.tag, attribute.value.into()));
        Ok(())
    }

    /// Their tags and values, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.0.iter().map(|(tag, value)| (*tag, &**value))
    }
}

/// Reads a record attribute by attribute.
#[derive(Clone, Debug)]
pub struct RecordReader<'a> {
    reader: Reader<'a>,
    last: Option<u64>,
    count: usize,
}

impl<'a> RecordReader<'a> {
    /// A reader of the record that is all of `bytes`.
    pub fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self::from_reader(Reader::new(what, bytes))
    }

    /// A reader of the record that is the rest of `reader`.
    pub fn from_reader(reader: Reader<'a>) -> Self {
        RecordReader { reader, last: None, count: 0 }
    }

    /// The next attribute; `None` at the record's end.
    pub fn next_attribute(&mut self) -> Result<Option<Attribute<'a>>, Error> {
        if self.reader.remaining() == 0 {
            return Ok(None);
        }
        self.count += 1;
        self.reader.limit("the number of attributes", self.count as u64, limits::ATTRIBUTES_MAX as u64)?;
        let before = self.reader.clone();
        let tag = self.reader.varint()?;
        if self.last.is_some_and(|last| tag <= last) {
            return Err(before.error(Reason::NotCanonical("the order of attributes")));
        }
        self.last = Some(tag);
        let len = self.reader.length("an attribute", limits::NODE_MAX)?;
        let offset = self.reader.offset();
        let value = self.reader.bytes(len)?;
        Ok(Some(Attribute { tag, value, what: self.reader.what(), offset }))
    }

    /// The value of an attribute that must be there, at the end of the record.
    pub fn need<T>(&self, value: Option<T>, name: &'static str) -> Result<T, Error> {
        value.ok_or_else(|| self.reader.error(Reason::Missing(name)))
    }
}

/// Writes a record. Attributes are put in ascending order of their tags; those kept from an earlier
/// reading fall into their places among them.
#[derive(Debug)]
pub struct RecordWriter<'a> {
    out: &'a mut Vec<u8>,
    kept: &'a [(u64, Box<[u8]>)],
    last: Option<u64>,
}

impl<'a> RecordWriter<'a> {
    /// Appends a record to `out`, with what was `kept`.
    pub fn new(out: &'a mut Vec<u8>, kept: &'a Unknown) -> Self {
        RecordWriter { out, kept: &kept.0, last: None }
    }

    /// Puts an attribute with an encoded value.
    pub fn bytes(&mut self, tag: u64, value: &[u8]) -> &mut Self {
        while let Some(((kept, value), rest)) = self.kept.split_first()
            && *kept < tag
        {
            self.kept = rest;
            self.raw(*kept, value);
        }
        self.raw(tag, value);
        self
    }

    /// Puts an unsigned integer.
    pub fn u64(&mut self, tag: u64, value: u64) -> &mut Self {
        let mut encoded = Vec::with_capacity(10);
        Writer::new(&mut encoded).varint(value);
        self.bytes(tag, &encoded)
    }

    /// Puts a signed integer.
    pub fn i64(&mut self, tag: u64, value: i64) -> &mut Self {
        let mut encoded = Vec::with_capacity(10);
        Writer::new(&mut encoded).zigzag(value);
        self.bytes(tag, &encoded)
    }

    /// Puts an unsigned integer unless it is zero, which its absence means.
    pub fn nonzero(&mut self, tag: u64, value: u64) -> &mut Self {
        if value == 0 { self } else { self.u64(tag, value) }
    }

    /// Puts an unsigned integer if there is one.
    pub fn opt_u64(&mut self, tag: u64, value: Option<u64>) -> &mut Self {
        match value {
            Some(value) => self.u64(tag, value),
            None => self,
        }
    }

    /// Puts a signed integer if there is one.
    pub fn opt_i64(&mut self, tag: u64, value: Option<i64>) -> &mut Self {
        match value {
            Some(value) => self.i64(tag, value),
            None => self,
        }
    }

    /// Puts bytes if there are any to put.
    pub fn opt_bytes(&mut self, tag: u64, value: Option<&[u8]>) -> &mut Self {
        match value {
            Some(value) => self.bytes(tag, value),
            None => self,
        }
    }

    /// Puts a list unless it is empty, which its absence means.
    pub fn list<T: AsRef<[u8]>>(&mut self, tag: u64, items: impl IntoIterator<Item = T>) -> &mut Self {
        let mut encoded = Vec::new();
        for item in items {
            let item = item.as_ref();
            Writer::new(&mut encoded).varint(item.len() as u64).bytes(item);
        }
        if encoded.is_empty() { self } else { self.bytes(tag, &encoded) }
    }

    /// Ends the record.
    pub fn finish(&mut self) {
        for (tag, value) in std::mem::take(&mut self.kept) {
            self.raw(*tag, value);
        }
    }

    fn raw(&mut self, tag: u64, value: &[u8]) {
        debug_assert!(self.last.is_none_or(|last| last < tag), "attributes ascend");
        self.last = Some(tag);
        Writer::new(self.out).varint(tag).varint(value.len() as u64).bytes(value);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::format::testing;
    use proptest::prelude::*;

    /// A record with known tags 3 and 8, and everything else kept.
    fn read(bytes: &[u8]) -> Result<(Option<u64>, Vec<String>, Unknown), Error> {
        let mut record = RecordReader::new("record", bytes);
        let (mut three, mut eight, mut kept) = (None, Vec::new(), Unknown::default());
        while let Some(attribute) = record.next_attribute()? {
            match attribute.tag {
                3 => three = Some(attribute.u64()?),
                8 => eight = attribute.strings()?,
                _ => kept.keep(&attribute)?,
            }
        }
        Ok((three, eight, kept))
    }

    fn write((three, eight, kept): &(Option<u64>, Vec<String>, Unknown)) -> Vec<u8> {
        let mut out = Vec::new();
        RecordWriter::new(&mut out, kept).opt_u64(3, *three).list(8, eight).finish();
        out
    }

    proptest! {
        #[test]
        fn records_are_canonical_and_keep_what_they_do_not_know(
            three: Option<u64>,
            eight in proptest::collection::vec(".{0,20}", 0..4),
            kept in proptest::collection::btree_map((0u64..200).prop_map(|n| n * 2), proptest::collection::vec(any::<u8>(), 0..20), 0..4),
        ) {
            let kept = kept.into_iter().filter(|(tag, _)| *tag != 8).map(|(tag, value)| (tag, value.into())).collect();
            let record = (three, eight, Unknown(kept));
            let bytes = write(&record);
            prop_assert_eq!(&read(&bytes).unwrap(), &record);
            testing::canonical(&bytes, read, write);
        }
    }

    #[test]
    fn lists_have_a_limit_before_space_is_taken() {
        let items = |count| {
            let mut out = Vec::new();
            Writer::new(&mut out).u8(8).varint(count as u64).zeros(count);
            read(&out).map(|(_, items, _)| items.len())
        };
        assert_eq!(items(limits::LIST_ITEMS_MAX).unwrap(), limits::LIST_ITEMS_MAX);
        for count in [limits::LIST_ITEMS_MAX + 1, limits::NODE_MAX] {
            assert!(matches!(items(count).unwrap_err().reason, Reason::TooLarge { .. }));
        }
    }

    #[test]
    fn what_must_be_understood_and_is_not_is_refused() {
        assert_eq!(read(&[5, 0]).unwrap_err().reason, Reason::UnknownCritical { tag: 5 });
        assert_eq!(
            read(&[3, 1, 9, 3, 1, 9]).unwrap_err().reason,
            Reason::NotCanonical("the order of attributes")
        );
        assert_eq!(read(&[4, 0, 2, 0]).unwrap_err().reason, Reason::NotCanonical("the order of attributes"));
        assert_eq!(read(&[8, 0]).unwrap_err().reason, Reason::NotCanonical("an empty list"));
        assert_eq!(read(&[3, 2, 9, 9]).unwrap_err().reason, Reason::Trailing { extra: 1 });
        assert!(matches!(read(&[4, 0xff, 0xff, 0xff, 0x7f]).unwrap_err().reason, Reason::TooLarge { .. }));
        let many: Vec<u8> = (0..=limits::ATTRIBUTES_MAX as u64)
            .flat_map(|n| {
                let mut out = Vec::new();
                Writer::new(&mut out).varint(n * 2 + 10).u8(0);
                out
            })
            .collect();
        assert!(matches!(read(&many).unwrap_err().reason, Reason::TooLarge { .. }));
    }
}
