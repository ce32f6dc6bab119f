//! A table's rows as CSV, made of its stored rows while they are read.

use std::sync::Arc;

use crate::postgres::archive::csv::{Converter, FieldScan, Stop, header};
use crate::repo::Error;
use crate::vfs::open::content::Content;
use crate::vfs::open::replay::{Maker, Makes};

/// Bytes of rows read at a time.
const READ: usize = 256 << 10;

/// What makes the CSV of a table.
pub struct Csv {
    rows: Content,
    columns: Vec<Vec<u8>>,
}

impl Csv {
    /// The CSV of `rows`, which are of these columns.
    pub fn new(rows: Content, columns: Vec<Vec<u8>>) -> Self {
        Csv { rows, columns }
    }
}

/// Converts the rows from a place on.
pub struct CsvMaker {
    csv: Arc<Csv>,
    converter: Converter,
    has_header: bool,
    /// Bytes of the rows that were read.
    at: u64,
    /// Those that are still to be converted.
    input: Vec<u8>,
}

impl CsvMaker {
    /// Whether the field that the converter stopped in needs quotes; `rest` of the input are not taken.
    fn look_ahead(&self, rest: &[u8]) -> Result<bool, Error> {
        let mut scan = FieldScan::new(&self.converter);
        if let Some(found) = scan.look(rest) {
            return Ok(found);
        }
        let (mut at, mut bytes) = (self.at, Vec::new());
        loop {
            bytes.clear();
            self.csv.rows.read_at(at, READ, &mut bytes)?;
            if let Some(found) = scan.look(&bytes) {
                return Ok(found);
            }
            if bytes.is_empty() {
                return Ok(false);
            }
            at += bytes.len() as u64;
        }
    }
}

impl Maker for CsvMaker {
    /// Where a row begins.
    type Place = u64;

    fn make(&mut self, out: &mut Vec<u8>) -> Result<bool, Error> {
        if !std::mem::replace(&mut self.has_header, true) {
            out.extend_from_slice(&header(&self.csv.columns));
        }
        let before = self.input.len();
        self.csv.rows.read_at(self.at, READ, &mut self.input)?;
        let is_end = self.input.len() == before;
        self.at += (self.input.len() - before) as u64;
        let input = std::mem::take(&mut self.input);
        // Whole rows, so that what follows is a place to go on from.
        let whole = memchr::memrchr(b'\n', &input).map_or(input.len(), |newline| newline + 1);
        let (mut now, later) = if is_end { (&input[..], &[][..]) } else { input.split_at(whole) };
        while self.converter.push(&mut now, out) == Stop::Long {
            let rest = &input[input.len() - later.len() - now.len()..];
            let quotes = self.look_ahead(rest)?;
            self.converter.decide(quotes, out);
        }
        self.input.extend_from_slice(later);
        if is_end && !self.converter.finish() {
            return Err(self.csv.rows.damaged("its last row is cut off"));
        }
        Ok(!is_end)
    }

    fn place(&mut self) -> Option<u64> {
        self.converter.at_row_start().then_some(self.at - self.input.len() as u64)
    }
}

impl Makes for Arc<Csv> {
    type Maker = CsvMaker;

    fn begin(&self) -> Result<CsvMaker, Error> {
        let converter = Converter::new(self.columns.len());
        Ok(CsvMaker { csv: self.clone(), converter, has_header: false, at: 0, input: Vec::new() })
    }

    fn resume(&self, place: &u64) -> Result<CsvMaker, Error> {
        Ok(CsvMaker { at: *place, has_header: true, ..self.begin()? })
    }

    fn known(&self, _: u64) -> Result<Option<(u64, u64)>, Error> {
        Ok(None)
    }
}
