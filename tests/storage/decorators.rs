//! Retries, limits, records, faults and looking first: each around a backend in memory.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use kamba_vault::base::clock::{Cancel, Timestamp};
use kamba_vault::base::monitor::{Monitor, Recorder};
use kamba_vault::storage::{
    Backend, Call, Context, CreateIfAbsent, Direction, Effect, ErrorKind, Fault, Gate, Limit, Limiter, Local,
    LookFirst, Memory, Op, Record, Retry, RetryPolicy, Rule, SimulatedTimer, Timer,
};

use crate::conformance::{self, kind, listed};

const NEXT: u64 = 1;

/// A backend that misbehaves, recorded, below one that tries again.
struct Tower {
    fault: Arc<Fault>,
    record: Arc<Record>,
    retry: Retry,
    context: Context,
    told: Arc<Recorder>,
}

fn tower() -> Tower {
    let told = Arc::new(Recorder::default());
    let context = Context { monitor: told.clone(), ..Context::simulated() };
    let fault = Arc::new(Fault::new(Memory::named("")));
    let record = Arc::new(Record::new(fault.clone()));
    let retry = Retry::new(record.clone(), RetryPolicy::default(), &context);
    Tower { fault, record, retry, context, told }
}

#[test]
fn decorated_memory_conforms() {
    let context = Context::simulated();
    conformance::run(&|place| {
        let memory: Arc<dyn Backend> = Memory::named(&format!("decorated-{place}"));
        let network = Fault::new(memory).with_network(Duration::from_millis(50), 125_000_000, &context);
        let retry = Arc::new(Retry::new(Arc::new(network), RetryPolicy::default(), &context));
        let limiter = Arc::new(Limiter::new(Some(1000), Some(1000), &context));
        Arc::new(Record::totals_only(Arc::new(Limit::new(retry, limiter))))
    });
}

#[test]
fn looking_first_conforms_and_says_so() {
    let open = |place: &str| {
        let memory: Arc<dyn Backend> = Memory::named(&format!("look-first-{place}"));
        Arc::new(LookFirst::new(memory)) as Arc<dyn Backend>
    };
    conformance::run(&open);
    assert_eq!(open("").create_if_absent(), CreateIfAbsent::LookFirst);
}

#[test]
fn temporary_failures_are_tried_again() {
    let Tower { fault, record, retry, told, .. } = tower();
    retry.put_new("x", b"bytes").unwrap();
    let all = [Op::Get, Op::GetRange, Op::Put, Op::MakeDurable, Op::List, Op::Stat, Op::Delete];
    for op in all {
        fault.add(Rule::on(op, Effect::Fail(ErrorKind::Temporary)).times(2));
    }
    record.clear();
    assert_eq!(retry.get("x", 10).unwrap(), b"bytes");
    let mut part = b"kept".to_vec();
    retry.get_range("x", 1..3, &mut part).unwrap();
    assert_eq!(part, b"keptyt");
    retry.put_new("y", b"more").unwrap();
    retry.make_durable("y").unwrap();
    assert_eq!(listed(&retry, "").len(), 2);
    assert_eq!(retry.stat("x").unwrap(), Some(5));
    retry.delete("x").unwrap();
    for op in all {
        assert_eq!(record.total(op).calls, 3, "{op:?}");
    }
    let lines = told.lines();
    assert_eq!(lines.len(), 14);
    assert!(lines[0].contains("trying again in") && lines[0].contains("cannot read x"), "{}", lines[0]);
}

#[test]
fn permanent_failures_are_not_tried_again() {
    let kinds = [
        ErrorKind::NotFound,
        ErrorKind::Exists,
        ErrorKind::Truncated,
        ErrorKind::TooLarge,
        ErrorKind::Full,
        ErrorKind::Permission,
        ErrorKind::Config,
        ErrorKind::Cancelled,
        ErrorKind::Other,
    ];
    for expected in kinds {
        let Tower { fault, record, retry, .. } = tower();
        fault.add(Rule::new(Effect::Fail(expected), |_, _| true));
        assert_eq!(kind(retry.get("x", 10)), expected);
        assert_eq!(kind(retry.put_new("x", b"x")), expected);
        assert_eq!(kind(retry.list("", &mut |_| ())), expected);
        assert_eq!(record.calls().len(), 3, "{expected:?}");
    }
}

#[test]
fn a_cut_read_leaves_no_bytes_of_the_first_attempt() {
    let Tower { fault, retry, .. } = tower();
    retry.put_new("x", b"0123456789").unwrap();
    fault.add(Rule::on(Op::GetRange, Effect::CutAfter(4)).times(NEXT));
    let mut into = b"kept".to_vec();
    retry.get_range("x", 0..10, &mut into).unwrap();
    assert_eq!(into, b"kept0123456789");
}

#[test]
fn a_listing_is_given_once_even_if_it_was_tried_twice() {
    let Tower { fault, record, retry, .. } = tower();
    for n in 0..10 {
        retry.put_new(&format!("data/{n}"), b"x").unwrap();
    }
    fault.add(Rule::on(Op::List, Effect::LoseReply).times(2));
    assert_eq!(listed(&retry, "data/").len(), 10);
    assert_eq!(record.total(Op::List).calls, 3);
}

#[test]
fn a_creation_whose_reply_was_lost_succeeds() {
    let Tower { fault, record, retry, .. } = tower();
    fault.add(Rule::on(Op::Put, Effect::LoseReply).times(NEXT));
    retry.put_new("lease", b"mine").unwrap();
    assert_eq!(record.total(Op::Put).calls, 2);
    assert_eq!(retry.get("lease", 10).unwrap(), b"mine");
}

#[test]
fn a_creation_whose_every_reply_is_lost_is_looked_for() {
    let Tower { fault, retry, .. } = tower();
    fault.add(Rule::on(Op::Put, Effect::LoseReply));
    retry.put_new("lease", b"mine").expect("it is there, whatever the replies");
    assert_eq!(kind(retry.put_new("lease", b"another's")), ErrorKind::Temporary, "and this is not");
    assert_eq!(retry.get("lease", 20).unwrap(), b"mine");
}

#[test]
fn a_creation_that_another_won_meanwhile_fails() {
    let Tower { fault, retry, .. } = tower();
    fault.add(Rule::on(Op::Put, Effect::Fail(ErrorKind::Temporary)).times(NEXT));
    let gate = Gate::new();
    fault.add(Rule::on(Op::Put, Effect::Wait(gate.clone())).times(NEXT));
    thread::scope(|scope| {
        let slow = scope.spawn(|| retry.put_new("lease", b"slow"));
        gate.wait_until_reached();
        retry.put_new("lease", b"quick").unwrap();
        gate.open();
        assert_eq!(kind(slow.join().unwrap()), ErrorKind::Exists);
    });
    assert_eq!(retry.get("lease", 10).unwrap(), b"quick");
}

#[test]
fn trying_again_ends_at_the_deadline() {
    let Tower { fault, record, retry, context, .. } = tower();
    fault.add(Rule::on(Op::Get, Effect::Fail(ErrorKind::Temporary)));
    let error = retry.get("x", 10).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Temporary);
    let calls = record.total(Op::Get).calls;
    assert!(error.to_string().ends_with(&format!("(tried {calls} times)")), "{error}");
    // Pauses grow to twenty seconds at most and ten at least, so five minutes hold about twenty of them.
    assert!((15..=40).contains(&calls), "{calls} calls");
    assert!(context.timer.elapsed() <= RetryPolicy::default().deadline);
}

#[test]
fn slow_attempts_are_still_tried_a_few_times() {
    let context = Context::simulated();
    let fault = Fault::new(Memory::named("")).with_network(Duration::from_secs(1000), 1, &context);
    fault.add(Rule::on(Op::Stat, Effect::Fail(ErrorKind::Temporary)).times(2));
    let retry = Retry::new(Arc::new(fault), RetryPolicy::default(), &context);
    assert_eq!(retry.stat("x").unwrap(), None);
}

#[test]
fn a_cancel_ends_trying() {
    /// Somebody who interrupts as soon as there is trouble.
    struct Impatient(Cancel);
    impl Monitor for Impatient {
        fn note(&self, _: &str) {
            self.0.cancel();
        }
    }
    let Tower { fault, record, context, .. } = tower();
    let context = Context { monitor: Arc::new(Impatient(context.cancel.clone())), ..context };
    let retry = Retry::new(record.clone(), RetryPolicy::default(), &context);
    fault.add(Rule::on(Op::Get, Effect::Fail(ErrorKind::Temporary)));
    assert_eq!(kind(retry.get("x", 10)), ErrorKind::Cancelled);
    assert_eq!(kind(retry.delete("x")), ErrorKind::Cancelled);
    assert_eq!(record.calls().len(), 1);
}

#[test]
fn a_limit_spreads_bytes_over_time() {
    let timer = Arc::new(SimulatedTimer::new());
    let context = Context { timer: timer.clone(), ..Context::simulated() };
    let limiter = Arc::new(Limiter::new(Some(1000), Some(500), &context));
    let limit = Limit::new(Memory::named(""), limiter.clone());
    limit.put_new("x", &[0; 10_000]).unwrap();
    assert_eq!(timer.elapsed(), Duration::from_secs(10));
    limit.get("x", 10_000).unwrap();
    assert_eq!(timer.elapsed().as_millis(), 30_000 - 200, "a short burst is free after a pause");
    limit.get_range("x", 0..1000, &mut Vec::new()).unwrap();
    assert_eq!(timer.elapsed().as_millis(), 32_000 - 200);
    limit.stat("x").unwrap();
    limit.list("", &mut |_| ()).unwrap();
    assert_eq!(timer.elapsed().as_millis(), 32_000 - 200);
    // Two that transfer at once share the rate.
    assert_eq!(limiter.book(Direction::Up, 5000) + Duration::from_millis(200), Duration::from_secs(5));
    assert_eq!(limiter.book(Direction::Up, 5000) + Duration::from_millis(200), Duration::from_secs(10));
}

#[test]
fn a_limited_transfer_can_be_cancelled() {
    let cancel = Cancel::new();
    let context = Context { cancel: cancel.clone(), ..Context::simulated() };
    let memory = Memory::named("");
    let limit = Limit::new(memory.clone(), Arc::new(Limiter::new(Some(1), Some(1), &context)));
    memory.put_new("x", &[0; 1000]).unwrap();
    cancel.cancel();
    assert_eq!(kind(limit.put_new("y", &[0; 1000])), ErrorKind::Cancelled);
    assert_eq!(kind(limit.get("x", 1000)), ErrorKind::Cancelled);
    assert_eq!(memory.stat("y").unwrap(), None);
}

#[test]
fn every_call_is_recorded() {
    let record = Record::new(Memory::named(""));
    record.put_new("data/x", b"12345").unwrap();
    record.get("data/x", 5).unwrap();
    record.get_range("data/x", 1..3, &mut Vec::new()).unwrap();
    record.get("data/y", 5).unwrap_err();
    record.list("data/", &mut |_| ()).unwrap();
    record.stat("data/x").unwrap();
    record.delete("data/x").unwrap();
    let call = |op, name: &str, amount, failed| Call { op, name: name.to_owned(), amount, failed };
    assert_eq!(
        record.calls(),
        [
            call(Op::Put, "data/x", 5, None),
            call(Op::Get, "data/x", 5, None),
            call(Op::GetRange, "data/x", 2, None),
            call(Op::Get, "data/y", 0, Some(ErrorKind::NotFound)),
            call(Op::List, "data/", 1, None),
            call(Op::Stat, "data/x", 0, None),
            call(Op::Delete, "data/x", 0, None),
        ]
    );
    assert_eq!((record.total(Op::Get).calls, record.bytes_read()), (2, 7));
    record.clear();
    assert_eq!((record.calls().len(), record.total(Op::Get).calls), (0, 0));
}

#[test]
fn faults_strike_where_they_are_told() {
    let memory = Memory::named("");
    let fault = Fault::new(memory.clone());
    fault.add(
        Rule::new(Effect::Fail(ErrorKind::Full), |op, name| op == Op::Put && name.starts_with("data/"))
            .after(1),
    );
    fault.add(Rule::on(Op::Get, Effect::FlipBit).times(NEXT));
    fault.put_new("data/0", b"first").unwrap();
    fault.put_new("index/0", b"elsewhere").unwrap();
    assert_eq!(kind(fault.put_new("data/1", b"x")), ErrorKind::Full);
    assert_eq!(memory.stat("data/1").unwrap(), None);
    assert_eq!(fault.get("data/0", 10).unwrap(), b"fisst");
    assert_eq!(fault.get("data/0", 10).unwrap(), b"first");
    fault.clear();
    fault.put_new("data/1", b"x").unwrap();
    fault.add(Rule::on(Op::Put, Effect::CutAfter(1)));
    assert_eq!(kind(fault.put_new("data/2", b"xyz")), ErrorKind::Temporary);
    assert_eq!(memory.stat("data/2").unwrap(), None);
}

#[test]
fn a_crash_ends_everything_at_its_step() {
    for has_effect in [false, true] {
        let memory = Memory::named("");
        let fault = Fault::new(memory.clone());
        fault.crash_after(2, has_effect);
        fault.put_new("0", b"x").unwrap();
        fault.get("0", 1).unwrap();
        fault.delete("0").unwrap();
        assert!(!fault.has_crashed());
        assert_eq!(kind(fault.put_new("2", b"x")), ErrorKind::Other);
        assert!(fault.has_crashed());
        assert_eq!(memory.stat("2").unwrap().is_some(), has_effect);
        assert_eq!(kind(fault.get("0", 1)), ErrorKind::Other);
        assert_eq!(kind(fault.list("", &mut |_| ())), ErrorKind::Other);
        assert_eq!(kind(fault.put_new("3", b"x")), ErrorKind::Other);
        assert_eq!(memory.stat("3").unwrap(), None);
    }
}

#[test]
fn a_network_costs_time() {
    let context = Context::simulated();
    let millis = || context.timer.elapsed().as_millis();
    let fault = Fault::new(Memory::named("")).with_network(Duration::from_millis(50), 125_000_000, &context);
    fault.put_new("x", &[0; 12_500_000]).unwrap();
    assert_eq!(millis(), 150);
    fault.get("x", 1 << 30).unwrap();
    assert_eq!(millis(), 300);
    fault.stat("x").unwrap();
    assert_eq!(millis(), 350);
    assert!(!fault.is_local());
}

#[test]
fn sweeping_reaches_through_every_decorator() {
    let folder = tempfile::tempdir().unwrap();
    let context = Context::simulated();
    let local: Arc<dyn Backend> = Arc::new(Local::open(folder.path()).unwrap());
    let fault = Arc::new(Fault::new(local));
    let limiter = Arc::new(Limiter::new(Some(1), Some(1), &context));
    let recorded: Arc<dyn Backend> = Arc::new(Record::new(fault.clone()));
    let limited: Arc<dyn Backend> = Arc::new(Limit::new(recorded, limiter));
    let retried = Retry::new(Arc::new(LookFirst::new(limited)), RetryPolicy::default(), &context);
    let left = folder.path().join(".tmp-left");
    std::fs::File::create(&left).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(retried.sweep_temporary(Timestamp(1_000_000_000)).unwrap(), 1);
    assert!(!left.exists());
    assert_eq!(Memory::new().sweep_temporary(Timestamp(0)).unwrap(), 0);
    // A machine that died does nothing any more.
    fault.crash_after(0, false);
    retried.put_new("x", b"x").unwrap_err();
    assert_eq!(kind(retried.sweep_temporary(Timestamp(0))), ErrorKind::Other);
}
