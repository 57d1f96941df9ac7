//! Random histories of everything the port offers, step by step against the reference.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tutti_ports::state::{Compare, LeaseId, Op, Range, Revision, StateError, Txn};

use super::Engine;
use super::reference::Reference;

/// Keys that are prefixes of each other, neighbours in byte order, and not ASCII.
const KEYS: [&str; 9] = ["a", "a/", "a/1", "a/2", "a0", "b", "b/\u{10FFFF}", "é", "é/\0"];

#[derive(Clone, Debug)]
enum Step {
    Txn { compares: Vec<AnyCompare>, then: Vec<AnyOp>, otherwise: Vec<AnyOp> },
    Range { prefix: String, after: Option<String>, limit: usize },
    Changes { back: u64, prefix: String, limit: usize },
    Grant(u64),
    KeepAlive(usize),
    Revoke(usize),
    Advance(u64),
    Restart,
}

#[derive(Clone, Debug)]
enum AnyCompare {
    Absent(String),
    Present(String),
    /// At the revision at which the key really was changed, or that many before.
    Modified(String, u64),
    Value(String, u8),
}

#[derive(Clone, Debug)]
enum AnyOp {
    Put(String, u8, Option<usize>),
    Delete(String),
    DeletePrefix(String),
}

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(&KEYS[..]).prop_map(str::to_owned)
}

fn prefix() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), key()]
}

fn compare() -> impl Strategy<Value = AnyCompare> {
    prop_oneof![
        key().prop_map(AnyCompare::Absent),
        key().prop_map(AnyCompare::Present),
        (key(), 0_u64..2).prop_map(|(key, off)| AnyCompare::Modified(key, off)),
        (key(), 0_u8..3).prop_map(|(key, value)| AnyCompare::Value(key, value)),
    ]
}

fn op() -> impl Strategy<Value = AnyOp> {
    prop_oneof![
        6 => (key(), 0_u8..3, prop::option::weighted(0.3, 0_usize..4)).prop_map(|(k, v, l)| AnyOp::Put(k, v, l)),
        2 => key().prop_map(AnyOp::Delete),
        1 => key().prop_map(AnyOp::DeletePrefix),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let ops = || prop::collection::vec(op(), 0..4);
    prop_oneof![
        12 => (prop::collection::vec(compare(), 0..3), ops(), ops())
            .prop_map(|(compares, then, otherwise)| Step::Txn { compares, then, otherwise }),
        4 => (prefix(), prop::option::of(key()), 0_usize..4)
            .prop_map(|(prefix, after, limit)| Step::Range { prefix, after, limit }),
        6 => (0_u64..40, prefix(), 0_usize..4).prop_map(|(back, prefix, limit)| Step::Changes { back, prefix, limit }),
        3 => (1_u64..20).prop_map(Step::Grant),
        2 => (0_usize..5).prop_map(Step::KeepAlive),
        1 => (0_usize..5).prop_map(Step::Revoke),
        3 => (0_u64..12).prop_map(Step::Advance),
        1 => Just(Step::Restart),
    ]
}

/// Runs random histories, each on an engine of its own.
pub fn check<E: Engine>(open: impl Fn() -> E) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = Config { cases: 96, failure_persistence: None, ..Config::default() };
    let histories = prop::collection::vec(step(), 1..60);
    let result = TestRunner::new(config).run(&histories, |steps| {
        let mut engine = open();
        runtime.block_on(async { replay(&mut engine, steps).await })
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

async fn replay(engine: &mut impl Engine, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut reference = Reference { keep: engine.history_changes(), ..Reference::default() };
    let mut leases = Vec::new();
    for step in steps {
        one(engine, &mut reference, &mut leases, step).await?;
        prop_assert_eq!(*engine.store().head().borrow(), reference.revision);
    }
    let everything = engine.store().range(Range::default()).await.unwrap();
    prop_assert_eq!(everything, reference.range(&Range::default()));
    Ok(())
}

async fn one(
    engine: &mut impl Engine,
    reference: &mut Reference,
    leases: &mut Vec<LeaseId>,
    step: Step,
) -> Result<(), TestCaseError> {
    let store = engine.store();
    // A number beyond the list names a lease that was never made.
    let lease = |at: usize| leases.get(at).copied().unwrap_or(LeaseId(1_000_000));
    match step {
        Step::Txn { compares, then, otherwise } => {
            let ops = |ops: Vec<AnyOp>| ops.into_iter().map(|op| concrete(op, &lease)).collect();
            let compares = compares.into_iter().map(|compare| concrete_compare(compare, reference)).collect();
            let txn = Txn { compares, then: ops(then), otherwise: ops(otherwise) };
            match store.txn(txn.clone()).await {
                Err(StateError::Invalid(why)) => {
                    prop_assert!(names_twice(&txn.then) || names_twice(&txn.otherwise), "{}", why);
                }
                result => {
                    prop_assert!(!names_twice(&txn.then) && !names_twice(&txn.otherwise));
                    same(result, reference.txn(&txn))?;
                }
            }
        }
        Step::Range { prefix, after, limit } => {
            let range = Range { prefix, after, limit };
            prop_assert_eq!(store.range(range.clone()).await.unwrap(), reference.range(&range));
        }
        Step::Changes { back, prefix, limit } => {
            let after = Revision(reference.revision.0.saturating_sub(back));
            match (store.changes(after, &prefix, limit).await, reference.changes(after, &prefix, limit)) {
                (Ok(page), Ok(expected)) => prop_assert_eq!(page, expected),
                (Err(StateError::Compacted { oldest }), Err(expected)) => prop_assert_eq!(oldest, expected),
                (page, expected) => prop_assert!(false, "{:?} but {:?}", page, expected),
            }
        }
        Step::Grant(seconds) => {
            let ttl = Duration::from_secs(seconds);
            let id = store.grant(ttl).await.unwrap();
            prop_assert!(!leases.contains(&id), "a lease's name is never used again");
            leases.push(id);
            reference.grant(id, ttl);
        }
        Step::KeepAlive(at) => same(store.keep_alive(lease(at)).await, reference.keep_alive(lease(at)))?,
        Step::Revoke(at) => same(store.revoke(lease(at)).await, reference.revoke(lease(at)))?,
        Step::Advance(seconds) => {
            engine.advance(Duration::from_secs(seconds)).await;
            reference.advance(Duration::from_secs(seconds));
        }
        Step::Restart => {
            drop(store);
            engine.restart().await;
            reference.restart();
        }
    }
    Ok(())
}

fn same<T: std::fmt::Debug + PartialEq>(
    result: Result<T, StateError>,
    expected: Result<T, LeaseId>,
) -> Result<(), TestCaseError> {
    match (result, expected) {
        (Ok(done), Ok(expected)) => prop_assert_eq!(done, expected),
        (Err(StateError::NoLease(lease)), Err(expected)) => prop_assert_eq!(lease, expected),
        (result, expected) => prop_assert!(false, "{:?} but {:?}", result, expected),
    }
    Ok(())
}

fn concrete(op: AnyOp, lease: &impl Fn(usize) -> LeaseId) -> Op {
    match op {
        AnyOp::Put(key, value, at) => Op::Put { key, value: Bytes::from(vec![value]), lease: at.map(lease) },
        AnyOp::Delete(key) => Op::Delete { key },
        AnyOp::DeletePrefix(prefix) => Op::DeletePrefix { prefix },
    }
}

fn concrete_compare(compare: AnyCompare, reference: &Reference) -> Compare {
    match compare {
        AnyCompare::Absent(key) => Compare::Absent(key),
        AnyCompare::Present(key) => Compare::Present(key),
        AnyCompare::Modified(key, off) => {
            let modified = reference.entries.get(&key).map_or(0, |entry| entry.modified.0);
            Compare::ModifiedAt(key, Revision(modified.saturating_sub(off)))
        }
        AnyCompare::Value(key, value) => Compare::ValueIs(key, Bytes::from(vec![value])),
    }
}

/// The rule of the port, said once more in the plainest way.
fn names_twice(ops: &[Op]) -> bool {
    let covers = |a: &Op, b: &Op| match (a, b) {
        (Op::DeletePrefix { prefix }, Op::DeletePrefix { prefix: name })
        | (Op::DeletePrefix { prefix }, Op::Put { key: name, .. } | Op::Delete { key: name }) => {
            name.starts_with(prefix)
        }
        (
            Op::Put { key, .. } | Op::Delete { key },
            Op::Put { key: other, .. } | Op::Delete { key: other },
        ) => key == other,
        _ => false,
    };
    ops.iter().enumerate().any(|(at, a)| ops.iter().enumerate().any(|(bt, b)| at != bt && covers(a, b)))
}
