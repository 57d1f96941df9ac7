//! Scenarios, one promise each.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tutti_core::limits;
use tutti_ports::state::{Compare, LeaseId, Op, Outcome, Range, Revision, StateError, Store, Txn};

use super::Engine;

const S: Duration = Duration::from_secs(1);

fn put_op(key: &str, value: &str, lease: Option<LeaseId>) -> Op {
    Op::Put { key: key.to_owned(), value: Bytes::copy_from_slice(value.as_bytes()), lease }
}

fn put(key: &str, value: &str) -> Txn {
    Txn { then: vec![put_op(key, value, None)], ..Txn::default() }
}

async fn keys(store: &dyn Store, prefix: &str) -> Vec<String> {
    let range = Range { prefix: prefix.to_owned(), ..Range::default() };
    store.range(range).await.unwrap().entries.into_iter().map(|entry| entry.key).collect()
}

pub async fn compares_decide_between_the_branches(engine: &mut impl Engine) {
    let store = engine.store();
    store.txn(put("k", "v")).await.unwrap();
    let cases = [
        (Compare::Absent("k".to_owned()), false),
        (Compare::Absent("x".to_owned()), true),
        (Compare::Present("k".to_owned()), true),
        (Compare::Present("x".to_owned()), false),
        (Compare::ModifiedAt("k".to_owned(), Revision(1)), true),
        (Compare::ModifiedAt("k".to_owned(), Revision(0)), false),
        (Compare::ModifiedAt("x".to_owned(), Revision(0)), false),
        (Compare::ValueIs("k".to_owned(), Bytes::from_static(b"v")), true),
        (Compare::ValueIs("k".to_owned(), Bytes::new()), false),
        (Compare::ValueIs("x".to_owned(), Bytes::new()), false),
    ];
    for (compare, holds) in cases {
        let (then, otherwise) = (put("branch", "then").then, put("branch", "otherwise").then);
        let outcome = store.txn(Txn { compares: vec![compare.clone()], then, otherwise }).await.unwrap();
        assert_eq!(outcome.succeeded, holds, "{compare:?}");
        let range = Range { prefix: "branch".to_owned(), ..Range::default() };
        let value = store.range(range).await.unwrap().entries[0].value.clone();
        assert_eq!(value, if holds { "then" } else { "otherwise" }, "{compare:?}");
    }
}

pub async fn refused_transactions_change_nothing(engine: &mut impl Engine) {
    let store = engine.store();
    store.txn(put("k", "v")).await.unwrap();
    let bad = [
        vec![put_op("k", "new", None), put_op("", "", None)],
        vec![put_op("k", "new", None), put_op("k", "newer", None)],
        vec![put_op("k", "new", None), Op::DeletePrefix { prefix: String::new() }],
        vec![put_op("k", "new", None), put_op(&"x".repeat(limits::STATE_KEY_BYTES + 1), "", None)],
        vec![put_op("k", "new", None), put_op("x", &"x".repeat(limits::STATE_VALUE_BYTES + 1), None)],
        (0..=limits::STATE_TXN_OPS).map(|n| put_op(&n.to_string(), "", None)).collect(),
    ];
    for then in bad {
        let result = store.txn(Txn { then, ..Txn::default() }).await;
        assert!(matches!(result, Err(StateError::Invalid(_))), "{result:?}");
    }
    let then = vec![put_op("k", "new", None), put_op("x", "", Some(LeaseId(99)))];
    let result = store.txn(Txn { then, ..Txn::default() }).await;
    assert!(matches!(result, Err(StateError::NoLease(LeaseId(99)))), "{result:?}");
    assert!(matches!(store.grant(Duration::from_millis(999)).await, Err(StateError::Invalid(_))));
    let all = store.range(Range::default()).await.unwrap();
    assert_eq!((all.revision, all.entries.len()), (Revision(1), 1));
    assert_eq!(all.entries[0].value, "v");
}

pub async fn ranges_are_paged_in_byte_order(engine: &mut impl Engine) {
    let store = engine.store();
    let mut expected: Vec<String> =
        ["a", "a\0", "a/", "a/b", "a/é", "a/\u{10FFFF}", "a0", "z"].map(str::to_owned).into();
    for key in expected.iter().rev() {
        store.txn(put(key, key)).await.unwrap();
    }
    expected.sort();
    assert_eq!(keys(&*store, "").await, expected);
    assert_eq!(keys(&*store, "a/").await, ["a/", "a/b", "a/é", "a/\u{10FFFF}"]);
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = store.range(Range { prefix: "a".to_owned(), after, limit: 3 }).await.unwrap();
        assert!(page.entries.len() <= 3 && (!page.more || page.entries.len() == 3));
        seen.extend(page.entries.into_iter().map(|entry| entry.key));
        after = seen.last().cloned();
        if !page.more {
            break;
        }
    }
    expected.retain(|key| key.starts_with('a'));
    assert_eq!(seen, expected);
}

pub async fn pages_of_changes_never_split_a_transaction(engine: &mut impl Engine) {
    let store = engine.store();
    for n in 0..5 {
        let then = ["a", "b", "c"].map(|key| put_op(key, &n.to_string(), None)).into();
        store.txn(Txn { then, ..Txn::default() }).await.unwrap();
    }
    for (limit, rounded) in [(1, 3), (2, 3), (3, 3), (4, 6), (7, 9), (0, 15), (100, 15)] {
        let page = store.changes(Revision(0), "", limit).await.unwrap();
        assert_eq!(page.changes.len(), rounded, "limit {limit}");
        assert_eq!(page.through.0 as usize, rounded / 3, "limit {limit}");
    }
    let page = store.changes(Revision(3), "b", 1).await.unwrap();
    assert_eq!((page.changes.len(), page.through), (1, Revision(4)));
    let page = store.changes(Revision(3), "nothing", 1).await.unwrap();
    assert_eq!((page.changes.len(), page.through), (0, Revision(5)), "it grows though nothing matched");
}

/// Follows the feed to a revision, and returns every change seen.
async fn follow(store: Arc<dyn Store>, prefix: &str, to: Revision) -> Vec<(Revision, String)> {
    let (mut head, mut after, mut seen) = (store.head(), Revision(0), Vec::new());
    while after < to {
        head.wait_for(|head| *head > after).await.unwrap();
        let page = store.changes(after, prefix, 2).await.unwrap();
        assert!(page.through > after, "there was something to read");
        assert!(page.changes.iter().all(|change| after < change.revision && change.revision <= page.through));
        seen.extend(page.changes.into_iter().map(|change| (change.revision, change.key)));
        after = page.through;
    }
    seen
}

pub async fn a_watcher_misses_nothing_and_sees_nothing_twice(engine: &mut impl Engine) {
    const WRITERS: u64 = 8;
    // Within the engine's bound of the change feed: two changes for each transaction.
    let each = engine.history_changes() as u64 / WRITERS / 2;
    let store = engine.store();
    let total = Revision(WRITERS * each);
    let watchers: Vec<_> = ["", "even/", "odd/"]
        .into_iter()
        .map(|prefix| tokio::spawn(follow(engine.store(), prefix, total)))
        .collect();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let mut written = Vec::new();
            for n in 0..each {
                let then =
                    ["even", "odd"].map(|side| put_op(&format!("{side}/{writer}/{n}"), "", None)).into();
                let Outcome { revision, .. } = store.txn(Txn { then, ..Txn::default() }).await.unwrap();
                written.push((revision, format!("even/{writer}/{n}")));
                written.push((revision, format!("odd/{writer}/{n}")));
            }
            written
        });
    }
    let mut written = writers.join_all().await.concat();
    written.sort();
    for (watcher, prefix) in watchers.into_iter().zip(["", "even/", "odd/"]) {
        let seen = watcher.await.unwrap();
        let expected: Vec<_> = written.iter().filter(|(_, key)| key.starts_with(prefix)).cloned().collect();
        assert_eq!(seen, expected, "{prefix:?}");
    }
}

pub async fn increments_of_many_tasks_are_all_counted(engine: &mut impl Engine) {
    const TASKS: usize = 64;
    const EACH: usize = 5;
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let store = engine.store();
        tasks.spawn(async move {
            let mut won = Vec::new();
            while won.len() < EACH {
                let range = Range { prefix: "counter".to_owned(), ..Range::default() };
                let entries = store.range(range).await.unwrap().entries;
                let (compare, value) = match entries.first() {
                    None => (Compare::Absent("counter".to_owned()), 0),
                    Some(entry) => {
                        let value: u64 = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
                        (Compare::ModifiedAt("counter".to_owned(), entry.modified), value)
                    }
                };
                let txn = Txn { compares: vec![compare], ..put("counter", &(value + 1).to_string()) };
                let outcome = store.txn(txn).await.unwrap();
                if outcome.succeeded {
                    won.push((value + 1, outcome.revision));
                }
            }
            won
        });
    }
    let mut won = tasks.join_all().await.concat();
    won.sort();
    // Each value was written by exactly one task, and the revisions are in the order of the values.
    let expected: Vec<_> = (1..=(TASKS * EACH) as u64).map(|n| (n, Revision(n))).collect();
    assert_eq!(won, expected);
}

pub async fn a_lease_takes_its_keys_along(engine: &mut impl Engine) {
    let store = engine.store();
    let (kept, lost) = (store.grant(10 * S).await.unwrap(), store.grant(10 * S).await.unwrap());
    let then = vec![
        put_op("kept", "", Some(kept)),
        put_op("lost/1", "", Some(lost)),
        put_op("lost/2", "", Some(lost)),
        put_op("freed", "", Some(lost)),
        put_op("stays", "", None),
    ];
    store.txn(Txn { then, ..Txn::default() }).await.unwrap();
    store.txn(put("freed", "written again without a lease")).await.unwrap();
    engine.advance(9 * S).await;
    store.keep_alive(kept).await.unwrap();
    assert_eq!(*store.head().borrow(), Revision(2), "nothing has run out, and keeping alive is no change");
    engine.advance(S).await;
    assert_eq!(keys(&*store, "").await, ["freed", "kept", "stays"]);
    let page = store.changes(Revision(2), "", 0).await.unwrap();
    let removed: Vec<_> =
        page.changes.iter().map(|c| (c.revision, c.key.as_str(), c.entry.is_none())).collect();
    assert_eq!(removed, [(Revision(3), "lost/1", true), (Revision(3), "lost/2", true)]);
    assert!(matches!(store.keep_alive(lost).await, Err(StateError::NoLease(lease)) if lease == lost));
    store.revoke(kept).await.unwrap();
    assert!(matches!(store.revoke(kept).await, Err(StateError::NoLease(_))));
    assert_eq!(keys(&*store, "").await, ["freed", "stays"]);
}

pub async fn a_restart_gives_leases_their_full_time(engine: &mut impl Engine) {
    let lease = engine.store().grant(10 * S).await.unwrap();
    let then = vec![put_op("k", "", Some(lease))];
    engine.store().txn(Txn { then, ..Txn::default() }).await.unwrap();
    engine.advance(9 * S).await;
    engine.restart().await;
    engine.advance(9 * S).await;
    assert_eq!(keys(&*engine.store(), "").await, ["k"]);
    engine.advance(S).await;
    assert!(keys(&*engine.store(), "").await.is_empty());
    let next = engine.store().grant(10 * S).await.unwrap();
    assert!(next > lease, "a name is never used again");
}

pub async fn head_moves_only_with_changes(engine: &mut impl Engine) {
    let store = engine.store();
    let mut head = store.head();
    assert_eq!(*head.borrow_and_update(), Revision(0));
    for txn in [
        Txn::default(),
        Txn { then: vec![Op::Delete { key: "no".to_owned() }], ..Txn::default() },
        Txn { then: vec![Op::DeletePrefix { prefix: "no".to_owned() }], ..Txn::default() },
        Txn { compares: vec![Compare::Present("no".to_owned())], ..put("k", "") },
    ] {
        assert_eq!(store.txn(txn).await.unwrap().revision, Revision(0));
        store.grant(S).await.unwrap();
    }
    assert!(!head.has_changed().unwrap());
    let outcome = store.txn(put("k", "")).await.unwrap();
    assert_eq!(*head.borrow_and_update(), outcome.revision, "it has moved before the answer");
    let again = store.txn(put("k", "")).await.unwrap();
    assert_eq!(again.revision, Revision(2), "the same value again is a change");
}

pub async fn large_values_make_short_pages(engine: &mut impl Engine) {
    let store = engine.store();
    let value = "x".repeat(limits::STATE_VALUE_BYTES);
    for n in 0..12 {
        store.txn(put(&format!("{n:02}"), &value)).await.unwrap();
    }
    let (mut seen, mut after, mut pages) = (0, None, 0);
    loop {
        let page = store.range(Range { after, ..Range::default() }).await.unwrap();
        let bytes: usize = page.entries.iter().map(|entry| entry.value.len()).sum();
        assert!(bytes <= limits::STATE_PAGE_BYTES + limits::STATE_VALUE_BYTES);
        seen += page.entries.len();
        pages += 1;
        after = page.entries.last().map(|entry| entry.key.clone());
        if !page.more {
            break;
        }
    }
    assert_eq!((seen, pages), (12, 2));
    let page = store.changes(Revision(0), "", 0).await.unwrap();
    assert!(page.through < Revision(12));
    let rest = store.changes(page.through, "", 0).await.unwrap();
    assert_eq!(page.changes.len() + rest.changes.len(), 12);
}

pub async fn the_future_is_not_answered(engine: &mut impl Engine) {
    let store = engine.store();
    store.txn(put("k", "")).await.unwrap();
    assert!(store.changes(Revision(1), "", 0).await.unwrap().changes.is_empty());
    for after in [2, u64::MAX] {
        let result = store.changes(Revision(after), "", 0).await;
        assert!(matches!(result, Err(StateError::Compacted { .. })), "{result:?}");
    }
}
