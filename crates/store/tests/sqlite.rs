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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_that_arrive_during_a_commit_share_the_next_one() {
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
                let value = Bytes::from(n.to_string());
                let op = Op::Put { key: task.to_string(), value, lease: None };
                store.txn(Txn { then: vec![op], ..Txn::default() }).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let (commits, transactions) = (store.metrics().commits.get(), store.metrics().transactions.get());
    println!("{transactions} transactions in {commits} commits");
    assert_eq!(transactions, TASKS * EACH);
    assert!(commits * 2 <= transactions, "{transactions} transactions took {commits} commits");
    let range = store.range(Range::default()).await.unwrap();
    assert_eq!((range.entries.len() as u64, range.revision.0), (TASKS, TASKS * EACH));
    assert!(range.entries.iter().all(|entry| entry.version == EACH));
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
