//! A backend that misbehaves as it is told: failures, lost replies, cut reads, calls that hang, a
//! machine that dies at a chosen step, and a network with latency and a bandwidth. For tests of
//! what must survive all that, and for benchmarks of what a network costs.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::error::{Error, ErrorKind};
use super::limit::Bucket;
use super::record::Op;
use super::{Backend, Context, CreateIfAbsent, Entry};
use crate::base::clock::Timestamp;

/// What happens to a call.
#[derive(Clone, Debug)]
pub enum Effect {
    /// It fails with this kind and has no effect.
    Fail(ErrorKind),
    /// It has its effect, and yet fails as if the reply were lost.
    LoseReply,
    /// A read gives this many bytes and then fails as if the connection broke; a creation fails alike.
    CutAfter(u64),
    /// A read succeeds, with a bit of what it read flipped.
    FlipBit,
    /// It waits at the gate, then goes on.
    Wait(Gate),
}

/// Holds calls back until a test lets them through.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<(Mutex<GateState>, Condvar)>);

#[derive(Debug, Default)]
struct GateState {
    open: bool,
    came: usize,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everything through, now and later.
    pub fn open(&self) {
        self.state().open = true;
        self.0.1.notify_all();
    }

    /// Returns when a call has come to the gate, even if it has gone through already.
    pub fn wait_until_reached(&self) {
        self.wait_until_reached_by(1);
    }

    /// Returns when so many calls have come to the gate, even if they have gone through already.
    pub fn wait_until_reached_by(&self, calls: usize) {
        let mut state = self.state();
        while state.came < calls {
            state = self.0.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn pass(&self) {
        let mut state = self.state();
        state.came += 1;
        self.0.1.notify_all();
        while !state.open {
            state = self.0.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, GateState> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Chooses = Box<dyn Fn(Op, &str) -> bool + Send + Sync>;

/// Which calls an effect happens to.
pub struct Rule {
    chooses: Chooses,
    skip: u64,
    times: u64,
    effect: Effect,
}

impl Rule {
    /// `effect` for every call that `chooses` picks by its operation and object.
    pub fn new(effect: Effect, chooses: impl Fn(Op, &str) -> bool + Send + Sync + 'static) -> Self {
        Rule { chooses: Box::new(chooses), skip: 0, times: u64::MAX, effect }
    }

    /// `effect` for every call of `op`.
    pub fn on(op: Op, effect: Effect) -> Self {
        Rule::new(effect, move |called, _| called == op)
    }

    /// The same, but leaving out the first `skip` calls that it would pick.
    pub fn after(mut self, skip: u64) -> Self {
        self.skip = skip;
        self
    }

    /// The same, but only `times` times.
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    fn strikes(&mut self, op: Op, name: &str) -> bool {
        if !(self.chooses)(op, name) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        let strikes = self.times > 0;
        self.times = self.times.saturating_sub(1);
        strikes
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rule { chooses: _, skip, times, effect } = self;
        write!(f, "Rule({effect:?}, skip {skip}, times {times})")
    }
}

/// A network between here and a backend.
#[derive(Debug)]
struct Network {
    latency: Duration,
    up: Bucket,
    down: Bucket,
    context: Context,
}

/// When the machine dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crash {
    Never,
    /// After this many more creations and deletions; whether the last one still had its effect.
    After {
        steps: u64,
        last_has_effect: bool,
    },
    Happened,
}

/// A backend that misbehaves.
#[derive(Debug)]
pub struct Fault {
    inner: Arc<dyn Backend>,
    rules: Mutex<Vec<Rule>>,
    crash: Mutex<Crash>,
    network: Option<Network>,
}

/// What is to happen to one call.
enum Verdict {
    Proceed,
    DieAfter,
    Effect(Effect),
}

impl Fault {
    /// `inner`, which behaves until it is told otherwise.
    pub fn new(inner: Arc<dyn Backend>) -> Self {
        Fault { inner, rules: Mutex::default(), crash: Mutex::new(Crash::Never), network: None }
    }

    /// Puts a network in between: every call takes `latency`, and all calls together transfer at most
    /// `bytes_per_second` each way.
    pub fn with_network(mut self, latency: Duration, bytes_per_second: u64, context: &Context) -> Self {
        let bucket = || Bucket::new(bytes_per_second, Duration::ZERO);
        self.network = Some(Network { latency, up: bucket(), down: bucket(), context: context.clone() });
        self
    }

    /// Adds a rule. For each call the first rule that strikes decides.
    pub fn add(&self, rule: Rule) {
        lock(&self.rules).push(rule);
    }

    /// Removes all rules.
    pub fn clear(&self) {
        lock(&self.rules).clear();
    }

    /// Lets the machine die at the creation or deletion after the next `steps`: that one has its effect
    /// or not, and it and every later call of any kind fail.
    pub fn crash_after(&self, steps: u64, last_has_effect: bool) {
        *lock(&self.crash) = Crash::After { steps, last_has_effect };
    }

    /// Whether the machine has died.
    pub fn has_crashed(&self) -> bool {
        *lock(&self.crash) == Crash::Happened
    }

    fn judge(&self, op: Op, action: &'static str, name: &str) -> Result<Verdict, Error> {
        let dead = || self.error(ErrorKind::Other, action, name, "the machine has died");
        {
            let mut crash = lock(&self.crash);
            match &mut *crash {
                Crash::Never => {}
                Crash::Happened => return Err(dead()),
                Crash::After { .. } if !matches!(op, Op::Put | Op::Delete) => {}
                Crash::After { steps: 0, last_has_effect } => {
                    let has_effect = *last_has_effect;
                    *crash = Crash::Happened;
                    return if has_effect { Ok(Verdict::DieAfter) } else { Err(dead()) };
                }
                Crash::After { steps, .. } => *steps -= 1,
            }
        }
        let effect = {
            let mut rules = lock(&self.rules);
            rules.iter_mut().find_map(|rule| rule.strikes(op, name).then(|| rule.effect.clone()))
        };
        match effect {
            None => Ok(Verdict::Proceed),
            Some(Effect::Fail(kind)) => Err(self.error(kind, action, name, "a fault was injected")),
            Some(Effect::Wait(gate)) => {
                gate.pass();
                Ok(Verdict::Proceed)
            }
            Some(effect) => Ok(Verdict::Effect(effect)),
        }
    }

    /// Makes a call that is not a read.
    fn call<T>(
        &self,
        op: Op,
        action: &'static str,
        name: &str,
        call: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        match self.judge(op, action, name)? {
            Verdict::Proceed => call(),
            Verdict::DieAfter => {
                // The effect is there, but nobody lives to see it.
                let _ = call();
                Err(self.error(ErrorKind::Other, action, name, "the machine has died"))
            }
            Verdict::Effect(Effect::CutAfter(_)) => Err(self.lost(action, name)),
            Verdict::Effect(_) => {
                let _ = call();
                Err(self.lost(action, name))
            }
        }
    }

    /// Makes a read whose bytes are appended to `into`.
    fn read(
        &self,
        op: Op,
        name: &str,
        into: &mut Vec<u8>,
        read: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let verdict = self.judge(op, "read", name)?;
        let start = into.len();
        read(into)?;
        let Verdict::Effect(effect) = verdict else { return Ok(()) };
        match effect {
            Effect::FlipBit => {
                let middle = start + (into.len() - start) / 2;
                if let Some(byte) = into.get_mut(middle) {
                    *byte ^= 1;
                }
                Ok(())
            }
            Effect::CutAfter(bytes) => {
                into.truncate(start + usize::try_from(bytes).unwrap_or(usize::MAX).min(into.len() - start));
                Err(self.lost("read", name))
            }
            _ => {
                into.truncate(start);
                Err(self.lost("read", name))
            }
        }
    }

    fn transfer(&self, up: usize, down: usize) {
        if let Some(network) = &self.network {
            let now = network.context.timer.elapsed();
            let takes = network.up.book(now, up as u64).max(network.down.book(now, down as u64));
            network.context.timer.sleep(network.latency + takes, &network.context.cancel);
        }
    }

    fn lost(&self, action: &'static str, name: &str) -> Error {
        self.error(ErrorKind::Temporary, action, name, "the connection was lost (injected)")
    }

    fn error(&self, kind: ErrorKind, action: &'static str, name: &str, reason: &str) -> Error {
        Error::new(kind, action, name, self.location(), reason)
    }
}

impl Backend for Fault {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn create_if_absent(&self) -> CreateIfAbsent {
        self.inner.create_if_absent()
    }

    fn is_local(&self) -> bool {
        self.network.is_none() && self.inner.is_local()
    }

    fn get(&self, name: &str, max: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let result = self.read(Op::Get, name, &mut bytes, |into| {
            *into = self.inner.get(name, max)?;
            Ok(())
        });
        self.transfer(0, bytes.len());
        result.map(|()| bytes)
    }

    fn get_range(&self, name: &str, range: Range<u64>, into: &mut Vec<u8>) -> Result<(), Error> {
        let start = into.len();
        let result =
            self.read(Op::GetRange, name, into, |into| self.inner.get_range(name, range.clone(), into));
        self.transfer(0, into.len() - start);
        result
    }

    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.transfer(bytes.len(), 0);
        self.call(Op::Put, "create", name, || self.inner.put_new(name, bytes))
    }

    fn prepare(&self, name: &str) -> Result<(), Error> {
        match self.has_crashed() {
            true => Err(self.error(ErrorKind::Other, "create", name, "the machine has died")),
            false => self.inner.prepare(name),
        }
    }

    fn make_durable(&self, name: &str) -> Result<(), Error> {
        self.call(Op::MakeDurable, "sync", name, || self.inner.make_durable(name))
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Entry)) -> Result<(), Error> {
        // One request brings a thousand names of some hundred bytes, as S3 does it.
        let mut entries = 0usize;
        let result = self.call(Op::List, "list", prefix, || {
            self.inner.list(prefix, &mut |entry| {
                entries += 1;
                each(entry);
            })
        });
        for page in 0..=entries / 1000 {
            self.transfer(0, (entries - page * 1000).min(1000) * 300);
        }
        result
    }

    fn stat(&self, name: &str) -> Result<Option<u64>, Error> {
        self.transfer(0, 0);
        self.call(Op::Stat, "stat", name, || self.inner.stat(name))
    }

    fn delete(&self, name: &str) -> Result<(), Error> {
        self.transfer(0, 0);
        self.call(Op::Delete, "delete", name, || self.inner.delete(name))
    }

    fn sweep_temporary(&self, before: Timestamp) -> Result<u64, Error> {
        match self.has_crashed() {
            true => Err(self.error(ErrorKind::Other, "list", "", "the machine has died")),
            false => self.inner.sweep_temporary(before),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
