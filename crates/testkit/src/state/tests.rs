//! The promises of the state port, one test each.

use bytes::Bytes;
use tutti_ports::state::{Compare, Op};

use super::*;

fn put(key: &str, value: &'static str) -> Op {
    Op::Put { key: key.to_owned(), value: Bytes::from_static(value.as_bytes()), lease: None }
}

fn then(ops: Vec<Op>) -> Txn {
    Txn { then: ops, ..Txn::default() }
}

#[tokio::test]
async fn a_transaction_is_one_revision_and_nothing_is_none() {
    let store = MemoryStore::new();
    let outcome = store.txn(then(vec![put("a", "1"), put("b", "1")])).await.unwrap();
    assert_eq!(outcome, Outcome { succeeded: true, revision: Revision(1) });
    let outcome = store.txn(then(vec![Op::Delete { key: "none".into() }])).await.unwrap();
    assert_eq!(outcome.revision, Revision(1));
    let refused = Txn {
        compares: vec![Compare::Absent("a".into())],
        then: vec![put("a", "2")],
        otherwise: vec![put("c", "3")],
    };
    assert_eq!(store.txn(refused).await.unwrap(), Outcome { succeeded: false, revision: Revision(2) });
    let entries = store.range(Range::default()).await.unwrap();
    let seen: Vec<_> = entries.entries.iter().map(|entry| (entry.key.as_str(), entry.modified.0)).collect();
    assert_eq!(seen, [("a", 1), ("b", 1), ("c", 2)]);
    assert_eq!(*store.head().borrow(), Revision(2));
}

#[tokio::test]
async fn pages_of_changes_never_split_a_transaction() {
    let store = MemoryStore::new();
    store.txn(then(vec![put("x/1", ""), put("x/2", ""), put("y/1", "")])).await.unwrap();
    store.txn(then(vec![put("x/3", "")])).await.unwrap();
    let page = store.changes(Revision(0), "x/", 1).await.unwrap();
    assert_eq!((page.changes.len(), page.through), (2, Revision(1)));
    let page = store.changes(page.through, "x/", 1).await.unwrap();
    assert_eq!((page.changes.len(), page.through), (1, Revision(2)));
    let page = store.changes(Revision(1), "y/", 0).await.unwrap();
    assert_eq!((page.changes.len(), page.through), (0, Revision(2)));
    store.compact(Revision(1));
    let old = store.changes(Revision(0), "", 0).await;
    assert!(matches!(old, Err(StateError::Compacted { oldest: Revision(1) })));
    assert!(store.changes(Revision(1), "", 0).await.is_ok());
}

#[tokio::test]
async fn what_is_beyond_the_sizes_is_refused_whole() {
    let store = MemoryStore::new();
    for ops in [
        vec![put("a", ""), put("a", "")],
        vec![put("a/b", ""), Op::DeletePrefix { prefix: "a/".into() }],
        vec![Op::DeletePrefix { prefix: String::new() }],
        vec![put(&"k".repeat(1025), "")],
        (0..129).map(|n| put(&n.to_string(), "")).collect(),
    ] {
        assert!(matches!(store.txn(then(ops)).await, Err(StateError::Invalid(_))));
    }
    assert_eq!(*store.head().borrow(), Revision(0));
}

#[tokio::test(start_paused = true)]
async fn keys_die_with_their_lease() {
    let store = MemoryStore::new();
    let lease = store.grant(Duration::from_secs(5)).await.unwrap();
    let op = Op::Put { key: "a".into(), value: Bytes::new(), lease: Some(lease) };
    store.txn(then(vec![op.clone()])).await.unwrap();
    tokio::time::advance(Duration::from_secs(4)).await;
    store.keep_alive(lease).await.unwrap();
    tokio::time::advance(Duration::from_secs(4)).await;
    assert_eq!(store.range(Range::default()).await.unwrap().entries.len(), 1);
    tokio::time::advance(Duration::from_secs(2)).await;
    store.expire_leases();
    assert_eq!(*store.head().borrow(), Revision(2));
    assert!(store.range(Range::default()).await.unwrap().entries.is_empty());
    assert!(matches!(store.keep_alive(lease).await, Err(StateError::NoLease(_))));
    assert!(matches!(store.txn(then(vec![op])).await, Err(StateError::NoLease(_))));
}

#[tokio::test]
async fn faults_do_what_they_say() {
    let store = MemoryStore::new();
    store.set_fault(Some(Fault::Full));
    assert!(matches!(store.txn(then(vec![put("a", "")])).await, Err(StateError::Full(_))));
    assert!(store.range(Range::default()).await.unwrap().entries.is_empty());
    store.set_fault(Some(Fault::Lost));
    assert!(matches!(store.txn(then(vec![put("a", "")])).await, Err(StateError::Unavailable(_))));
    assert_eq!(store.range(Range::default()).await.unwrap().entries.len(), 1);
    store.set_fault(Some(Fault::Hangs));
    let (written, ()) = tokio::join!(store.txn(then(vec![put("b", "")])), async { store.set_fault(None) });
    assert_eq!(written.unwrap().revision, Revision(2));
}
