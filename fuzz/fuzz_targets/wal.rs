//! PostgreSQL's WAL: names, first pages and histories; descriptions, ledgers and whole objects.
#![no_main]

use kamba_vault::format::ledger::LedgerBody;
use kamba_vault::format::wal::WalBody;
use kamba_vault::postgres::wal::{History, SegmentHeader, SegmentSize, WalName};
use kamba_vault_fuzz::property::canonical;
use kamba_vault_fuzz::wal::open_forged;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(body) = canonical(data, WalBody::decode(data), |body| body.encode().unwrap()) {
        let held: u64 = (0..body.frames.len()).map(|n| body.plain_range(n)).map(|r| r.end - r.start).sum();
        assert_eq!(held + body.zeros, body.len);
    }
    canonical(data, LedgerBody::decode(data), |ledger| ledger.encode().unwrap());
    if let Ok(header) = SegmentHeader::read(data) {
        assert!(header.version().is_some());
    }
    if let Ok(history) = History::parse(9, data) {
        assert!(history.stretches().windows(2).all(|pair| pair[0].to == Some(pair[1].from)));
    }
    if let Some(name) = std::str::from_utf8(data).ok().and_then(WalName::parse) {
        assert_eq!(name.to_string().as_bytes(), data);
        if let WalName::Segment(segment) = name {
            let number = segment.number(SegmentSize::DEFAULT);
            assert!(number.is_none() || segment.next(SegmentSize::DEFAULT) != Some(segment));
        }
    }
    open_forged(data);
});
