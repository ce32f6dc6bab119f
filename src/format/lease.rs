//! The body of a lease: a session is at work. Its times are for people and for patience; no rule's
//! safety depends on them.

use crate::base::clock::Timestamp;
use crate::base::id::SessionId;
use crate::format::attrs::{RecordReader, RecordWriter, Text, Unknown};
use crate::format::error::Error;

const WHAT: &str = "lease";

/// The body of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseBody {
    /// The session at work.
    pub session: SessionId,
    /// Tells the lease's renewals apart, from 0.
    pub counter: u32,
    /// The machine it works on.
    pub host: String,
    /// The process that does.
    pub process: u64,
    /// When this lease was taken.
    pub taken: Timestamp,
    /// When it should have been renewed or released.
    pub expires: Timestamp,
    /// What the session does, for people.
    pub purpose: String,
    /// Attributes that this version does not know.
    pub unknown: Unknown,
}

impl LeaseBody {
    /// The record; refused if nobody could read it.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        Text::HOST.check(WHAT, &self.host)?;
        Text::PURPOSE.check(WHAT, &self.purpose)?;
        let mut out = Vec::new();
        RecordWriter::new(&mut out, &self.unknown)
            .bytes(1, &self.session.0)
            .u64(3, self.counter.into())
            .bytes(5, self.host.as_bytes())
            .u64(7, self.process)
            .i64(9, self.taken.0)
            .i64(11, self.expires.0)
            .bytes(13, self.purpose.as_bytes())
            .finish();
        Ok(out)
    }

    /// Reads the record.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut record = RecordReader::new(WHAT, bytes);
        let (mut session, mut counter, mut host, mut process) = (None, None, None, None);
        let (mut taken, mut expires, mut purpose) = (None, None, None);
        let mut unknown = Unknown::default();
        while let Some(attribute) = record.next_attribute()? {
            match attribute.tag {
                1 => session = Some(SessionId(attribute.array()?)),
                3 => counter = Some(attribute.u32()?),
                5 => host = Some(attribute.text(Text::HOST)?),
                7 => process = Some(attribute.u64()?),
                9 => taken = Some(Timestamp(attribute.i64()?)),
                11 => expires = Some(Timestamp(attribute.i64()?)),
                13 => purpose = Some(attribute.text(Text::PURPOSE)?),
                _ => unknown.keep(&attribute)?,
            }
        }
        Ok(LeaseBody {
            session: record.need(session, "session id")?,
            counter: record.need(counter, "counter")?,
            host: record.need(host, "host")?,
            process: record.need(process, "process id")?,
            taken: record.need(taken, "time of taking")?,
            expires: record.need(expires, "time of expiry")?,
            purpose: record.need(purpose, "purpose")?,
            unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::format::testing;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn leases_round_trip_in_one_form(
            session: [u8; 16], counter: u32, host in ".{0,9}", process: u64, taken: i64, expires: i64, purpose in ".{0,9}",
        ) {
            let body = LeaseBody {
                session: SessionId(session),
                counter,
                host,
                process,
                taken: Timestamp(taken),
                expires: Timestamp(expires),
                purpose,
                unknown: Unknown::default(),
            };
            let bytes = body.encode().unwrap();
            prop_assert_eq!(&LeaseBody::decode(&bytes).unwrap(), &body);
            testing::canonical(&bytes, LeaseBody::decode, |body| body.encode().unwrap());
        }

    }

    #[test]
    fn what_is_written_can_be_read() {
        let text = |over| "x".repeat(crate::base::limits::NAME_MAX + over);
        for (host, purpose, fits) in
            [(0, 0, true), (1, 0, false), (0, 1, false)].map(|(a, b, fits)| (text(a), text(b), fits))
        {
            let body = LeaseBody {
                session: SessionId([1; 16]),
                counter: 0,
                host,
                process: 1,
                taken: Timestamp(0),
                expires: Timestamp(0),
                purpose,
                unknown: Unknown::default(),
            };
            let read = body.encode().map(|bytes| LeaseBody::decode(&bytes).unwrap());
            assert_eq!(read.ok(), fits.then_some(body));
        }
    }
}
