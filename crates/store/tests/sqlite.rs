//! SQLite against the scenarios of every engine, and what only shows from outside: group commit.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod conformance;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conformance::{Engine, ManualClock};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tutti_core::time::SystemClock;
use tutti_ports::state::{Op, Range, Store, Txn};
use tutti_store::{DataDir, Options, SqliteStore};

const SECOND: Duration = Duration::from_secs(1);

struct Sqlite {
    store: Option<Arc<SqliteStore>>,
    clock: Arc<ManualClock>,
    home: TempDir,
}

fn options() -> Options {
    Options { history_changes: 48, ..Options::default() }
}

fn open() -> Sqlite {
    let home = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let mut sqlite = Sqlite { store: None, clock, home };
    sqlite.open();
    sqlite
}

impl Sqlite {
    fn open(&mut self) {
        let dir = DataDir::open(self.home.path(), "test").unwrap();
        let clock = Arc::clone(&self.clock);
        self.store = Some(Arc::new(SqliteStore::open(&dir, options(), clock).unwrap()));
    }
}

#[async_trait::async_trait]
impl Engine for Sqlite {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(self.store.as_ref().unwrap()) as Arc<dyn Store>
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
        // The writer ends what is due before it looks at a request.
        self.store().txn(Txn::default()).await.unwrap();
    }

    async fn restart(&mut self) {
        let store = self.store.take().unwrap();
        store.shutdown().await;
        drop(store);
        self.open();
    }

    fn history_changes(&self) -> usize {
        options().history_changes
    }
}

conformance!(open);

fn put(key: &str, value: &str) -> Txn {
    let op = Op::Put { key: key.to_owned(), value: Bytes::copy_from_slice(value.as_bytes()), lease: None };
    Txn { then: vec![op], ..Txn::default() }
}

/// Holds the database's own write lock: to the writer that is a disk that takes its time.
fn slow_disk(home: &TempDir) -> rusqlite::Connection {
    let conn = rusqlite::Connection::open(home.path().join("state.db")).unwrap();
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    conn
}

/// On one thread every task has queued its request when this one runs again.
#[tokio::test]
async fn transactions_that_arrive_during_a_commit_share_the_next_one() {
    const TASKS: u64 = 64;
    let sqlite = open();
    let store = Arc::clone(sqlite.store.as_ref().unwrap());
    let disk = slow_disk(&sqlite.home);
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let store = Arc::clone(&store);
        tasks.spawn(async move { store.txn(put(&task.to_string(), "")).await.unwrap().revision.0 });
    }
    tokio::task::yield_now().await;
    drop(disk);
    let mut revisions = tasks.join_all().await;
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=TASKS).collect::<Vec<_>>(), "each is a transaction of its own");
    let commits = store.metrics().commits.get();
    assert!((1..=2).contains(&commits), "those before the slow commit, and all others: {commits}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_need_fewer_commits_than_transactions() {
    const TASKS: u64 = 64;
    const EACH: u64 = 20;
    let home = tempfile::tempdir().unwrap();
    let dir = DataDir::open(home.path(), "test").unwrap();
    let store = SqliteStore::open(&dir, Options::default(), Arc::new(SystemClock::new())).unwrap();
    let store = Arc::new(store);
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for n in 0..EACH {
                store.txn(put(&task.to_string(), &n.to_string())).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let (commits, transactions) = (store.metrics().commits.get(), store.metrics().transactions.get());
    println!("{transactions} transactions in {commits} commits");
    assert_eq!(transactions, TASKS * EACH);
    assert!(commits < transactions, "{transactions} transactions took {commits} commits");
    let range = store.range(Range::default()).await.unwrap();
    assert_eq!((range.entries.len() as u64, range.revision.0), (TASKS, TASKS * EACH));
    assert!(range.entries.iter().all(|entry| entry.version == EACH));
}

#[tokio::test]
async fn a_slow_disk_does_not_end_a_lease_that_was_kept_alive_in_time() {
    let sqlite = open();
    let store = sqlite.store();
    let (kept, lost) = (store.grant(10 * SECOND).await.unwrap(), store.grant(10 * SECOND).await.unwrap());
    sqlite.clock.advance(9 * SECOND);
    let disk = slow_disk(&sqlite.home);
    let asked = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.keep_alive(kept).await }
    });
    tokio::task::yield_now().await;
    sqlite.clock.advance(6 * SECOND);
    drop(disk);
    asked.await.unwrap().unwrap();
    assert!(store.keep_alive(lost).await.is_err());
    sqlite.advance(9 * SECOND).await;
    store.keep_alive(kept).await.unwrap();
}

/// With the machine's own clock a lease runs out though nobody asks anything of the store.
#[tokio::test]
async fn a_lease_runs_out_by_itself() {
    let home = tempfile::tempdir().unwrap();
    let dir = DataDir::open(home.path(), "test").unwrap();
    let store = SqliteStore::open(&dir, Options::default(), Arc::new(SystemClock::new())).unwrap();
    let lease = Some(store.grant(Duration::from_secs(1)).await.unwrap());
    let op = Op::Put { key: "k".to_owned(), value: Bytes::new(), lease };
    let written = store.txn(Txn { then: vec![op], ..Txn::default() }).await.unwrap().revision;
    let mut head = store.head();
    let removed = head.wait_for(|head| *head > written);
    tokio::time::timeout(Duration::from_secs(20), removed).await.unwrap().unwrap();
    assert!(store.range(Range::default()).await.unwrap().entries.is_empty());
}
