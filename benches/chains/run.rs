//! One policy's way through the days: what each dump added, and how fast some of them came back.

use std::time::Duration;

use crate::Result;
use crate::days::{Day, id_of};
use crate::policy::Policy;
use crate::reader::Reader;
use crate::store::{Aims, Store};
use crate::stored::Reach;

/// A measured reading takes at least this.
const LEAST_TIME: Duration = Duration::from_millis(150);

/// What a day came to.
pub struct DayCost {
    /// Bytes of the dump.
    pub len: u64,
    /// Bytes that it added.
    pub added: u64,
    pub reach: Reach,
}

/// How fast a dump came back.
pub struct ReadBack {
    pub day: u32,
    /// Bytes of the dump.
    pub len: u64,
    /// The shortest time. Whatever else the machine does makes it longer, and never shorter.
    pub time: Duration,
}

/// A policy and what came of it.
pub struct Run {
    pub policy: Policy,
    pub days: Vec<DayCost>,
    pub reads: Vec<ReadBack>,
    store: Store,
}

impl Run {
    /// Before the first day.
    pub fn new(policy: Policy, aims: Aims) -> Result<Self> {
        Ok(Run { policy, days: Vec::new(), reads: Vec::new(), store: Store::new(policy, aims)? })
    }

    /// Stores a dump.
    pub fn store(&mut self, day: &Day) -> Result<()> {
        let (added, reach) = self.store.add(day)?;
        self.days.push(DayCost { len: day.len(), added, reach });
        Ok(())
    }

    /// Reads the dump back until the clock's steps, those of the scheduler, count for little.
    pub fn read(&mut self, day: &Day, reader: &mut Reader) -> Result<()> {
        let (start, mut times) = (cpu_time()?, 0);
        let time = loop {
            self.read_once(day, reader)?;
            times += 1;
            let time = cpu_time()?.saturating_sub(start);
            if time >= LEAST_TIME {
                break time / times;
            }
        };
        match self.reads.last_mut().filter(|read| read.day == day.number) {
            Some(read) => read.time = read.time.min(time),
            None => self.reads.push(ReadBack { day: day.number, len: day.len(), time }),
        }
        Ok(())
    }

    /// Reads every chunk, which has to come out as it was.
    fn read_once(&self, day: &Day, reader: &mut Reader) -> Result<()> {
        reader.clear();
        let mut plain = Vec::new();
        for chunk in &day.chunks {
            plain.clear();
            reader.append(self.store.stored(), &chunk.id, &mut plain)?;
            if id_of(&plain) != chunk.id {
                return Err(format!("{}: a chunk of day {} came out wrong", self.policy, day.number).into());
            }
        }
        Ok(())
    }
}

/// For how long this thread has had a core: others may be at work on the machine.
fn cpu_time() -> Result<Duration> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = told.split(' ').next().ok_or("the kernel tells no times of threads")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}
