//! What is SQLite's own: damage, formats, full disks, metrics, shutdown, and the settings of durability.
//! What every engine promises is tested in `tests/conformance`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tutti_core::time::SystemClock;
use tutti_core::{Classify, code};
use tutti_ports::state::{Compare, Op};

use super::*;

fn open_at(home: &TempDir, options: Options) -> Result<SqliteStore, OpenError> {
    let dir = DataDir::open(home.path(), "test").unwrap();
    SqliteStore::open(&dir, options, Arc::new(SystemClock::new()))
}

fn put(key: &str, value: impl Into<Bytes>) -> Txn {
    let op = Op::Put { key: key.to_owned(), value: value.into(), lease: None };
    Txn { then: vec![op], ..Txn::default() }
}

fn change_file(home: &TempDir, change: impl FnOnce(&mut Vec<u8>)) {
    let path = home.path().join("state.db");
    let mut bytes = std::fs::read(&path).unwrap();
    change(&mut bytes);
    std::fs::write(&path, bytes).unwrap();
}

#[tokio::test]
async fn the_settings_of_durability_are_as_documented() {
    let home = tempfile::tempdir().unwrap();
    let conn = schema::open_writer(&home.path().join("state.db")).unwrap();
    let pragma = |name: &str| {
        conn.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0)).unwrap()
    };
    assert_eq!(pragma("journal_mode"), rusqlite::types::Value::Text("wal".to_owned()));
    assert_eq!(pragma("synchronous"), rusqlite::types::Value::Integer(2), "2 is FULL");
}

#[tokio::test]
async fn a_clean_close_leaves_one_file_and_the_next_open_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let store = open_at(&home, Options::default()).unwrap();
    store.txn(put("a", "1")).await.unwrap();
    store.shutdown().await;
    assert!(matches!(store.txn(put("a", "2")).await, Err(StateError::Unavailable(_))));
    assert!(matches!(store.range(Range::default()).await, Err(StateError::Unavailable(_))));
    store.shutdown().await;
    assert!(!schema::wal_path(&home.path().join("state.db")).exists());
    drop(store);
    let store = open_at(&home, Options::default()).unwrap();
    assert_eq!(*store.head().borrow(), Revision(1));
    assert_eq!(store.txn(put("a", "2")).await.unwrap().revision, Revision(2));
}

#[tokio::test]
async fn shutdown_answers_what_was_queued() {
    let home = tempfile::tempdir().unwrap();
    let store = Arc::new(open_at(&home, Options::default()).unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..50 {
        let store = Arc::clone(&store);
        tasks.spawn(async move { store.txn(put(&n.to_string(), "")).await });
    }
    // On this one thread every task has queued its request before shutdown begins.
    tokio::task::yield_now().await;
    store.shutdown().await;
    let answers = tasks.join_all().await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(store.metrics().transactions.get(), 50);
}

#[tokio::test]
async fn dropping_the_store_drains_it_too_and_frees_the_directory() {
    let home = tempfile::tempdir().unwrap();
    let store = open_at(&home, Options::default()).unwrap();
    store.txn(put("a", "1")).await.unwrap();
    drop(store);
    let store = open_at(&home, Options::default()).unwrap();
    assert_eq!(store.range(Range::default()).await.unwrap().entries.len(), 1);
}

#[tokio::test]
async fn the_store_holds_the_lock_after_the_directory_handle_is_gone() {
    let home = tempfile::tempdir().unwrap();
    let store = open_at(&home, Options::default()).unwrap();
    assert!(DataDir::open(home.path(), "second").is_err());
    drop(store);
    DataDir::open(home.path(), "second").unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_the_write_keeps_the_rest_and_heals() {
    let home = tempfile::tempdir().unwrap();
    let dir = DataDir::open(home.path(), "test").unwrap();
    let path = dir.state_path();
    // SQLite reports a file at its page limit exactly as it reports ENOSPC.
    let tune = |conn: &Connection| conn.pragma_update(None, "max_page_count", 64);
    let store =
        SqliteStore::open_tuned(&dir, Options::default(), Arc::new(SystemClock::new()), tune).unwrap();
    store.txn(put("small", "kept")).await.unwrap();
    let error = store.txn(put("large", vec![7; 512 << 10])).await.unwrap_err();
    assert!(matches!(error, StateError::Full(_)), "{error:?}");
    assert_eq!(error.code(), Some(code::DISK_FULL));
    assert_eq!(store.metrics().commit_failures.get(), 1);
    let page = store.range(Range::default()).await.unwrap();
    assert_eq!((page.entries.len(), page.revision), (1, Revision(1)), "nothing was changed");
    assert_eq!(store.txn(put("small", "again")).await.unwrap().revision, Revision(2));
    store.shutdown().await;
    check_whole(&path);
}

fn check_whole(path: &Path) {
    let conn = schema::open_reader(path).unwrap();
    let finding: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(finding, "ok");
}

#[tokio::test]
async fn another_file_or_a_torn_one_is_called_damaged_with_a_way_out() {
    let home = tempfile::tempdir().unwrap();
    let store = open_at(&home, Options::default()).unwrap();
    store.txn(put("a", vec![1; 100_000])).await.unwrap();
    store.shutdown().await;
    drop(store);
    let tear = |at: usize, len: usize| {
        change_file(&home, |bytes| bytes.get_mut(at..at + len).unwrap().fill(0xA5));
        open_at(&home, Options::default()).err().expect("it has to be refused")
    };
    for error in [tear(100, 60), tear(0, 16)] {
        assert_eq!(error.code(), Some(code::STATE_DAMAGED), "{error}");
        assert!(error.to_string().contains("move the file away"), "{error}");
    }
}

#[tokio::test]
async fn damage_in_the_middle_is_found_when_the_store_was_not_closed() {
    let home = tempfile::tempdir().unwrap();
    let store = open_at(&home, Options::default()).unwrap();
    for n in 0..200 {
        store.txn(put(&format!("key/{n:04}"), vec![1; 500])).await.unwrap();
    }
    store.shutdown().await;
    drop(store);
    // As if the process had died: a log is left behind, with nothing in it that counts.
    std::fs::write(schema::wal_path(&home.path().join("state.db")), [0; 32]).unwrap();
    open_at(&home, Options::default()).unwrap();
    std::fs::write(schema::wal_path(&home.path().join("state.db")), [0; 32]).unwrap();
    // The head of a page somewhere in the middle of a tree.
    change_file(&home, |bytes| bytes.get_mut(20 * 4096..20 * 4096 + 64).unwrap().fill(0xA5));
    let error = open_at(&home, Options::default()).err().expect("it has to be refused");
    assert_eq!(error.code(), Some(code::STATE_DAMAGED), "{error}");
}

#[tokio::test]
async fn counters_that_disagree_with_the_rows_are_damage() {
    let home = tempfile::tempdir().unwrap();
    let store = open_at(&home, Options::default()).unwrap();
    store.txn(put("a", "1")).await.unwrap();
    store.shutdown().await;
    drop(store);
    let conn = Connection::open(home.path().join("state.db")).unwrap();
    conn.execute("UPDATE meta SET revision = 0", []).unwrap();
    drop(conn);
    let error = open_at(&home, Options::default()).err().expect("it has to be refused");
    assert_eq!(error.code(), Some(code::STATE_DAMAGED), "{error}");
}

#[tokio::test]
async fn a_newer_database_and_another_programs_are_refused() {
    let home = tempfile::tempdir().unwrap();
    drop(open_at(&home, Options::default()).unwrap());
    let set = |name: &str, value: i64| {
        let conn = Connection::open(home.path().join("state.db")).unwrap();
        conn.pragma_update(None, name, value).unwrap();
        drop(conn);
        open_at(&home, Options::default()).err().expect("it has to be refused")
    };
    let newer = set("user_version", 7);
    assert_eq!(newer.code(), Some(code::DATA_FORMAT), "{newer}");
    assert!(newer.to_string().contains("format 7"), "{newer}");
    let foreign = set("application_id", 1);
    assert!(foreign.to_string().contains("another program"), "{foreign}");
}

#[tokio::test]
async fn a_refused_request_leaves_its_neighbours_in_the_batch_alone() {
    let home = tempfile::tempdir().unwrap();
    let conn = schema::open_writer(&home.path().join("state.db")).unwrap();
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut batch = apply::Batch::new(&conn, Revision(0));
    assert!(batch.atomic(|batch| batch.txn(&put("a", "1"))).is_ok());
    let mut refused = put("b", "1");
    refused.then.push(Op::Put { key: "c".to_owned(), value: Bytes::new(), lease: Some(LeaseId(9)) });
    let refused = batch.atomic(|batch| batch.txn(&refused));
    assert!(matches!(refused, Err(apply::Fault::Refused(StateError::NoLease(LeaseId(9))))));
    assert!(batch.atomic(|batch| batch.txn(&put("d", "1"))).is_ok());
    assert_eq!((batch.revision, batch.marks.len()), (Revision(2), 2));
    batch.finish(None).unwrap();
    conn.execute_batch("COMMIT").unwrap();
    let keys: Vec<Vec<u8>> = conn
        .prepare("SELECT key FROM change ORDER BY revision")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(keys, [b"a".to_vec(), b"d".to_vec()]);
}

#[tokio::test]
async fn leases_of_healthy_holders_write_nothing() {
    let home = tempfile::tempdir().unwrap();
    let store = open_at(&home, Options::default()).unwrap();
    let lease = store.grant(Duration::from_secs(60)).await.unwrap();
    let commits = store.metrics().commits.get();
    for _ in 0..1_000 {
        store.keep_alive(lease).await.unwrap();
    }
    let txn = Txn { compares: vec![Compare::Present("no".to_owned())], ..put("no", "") };
    assert!(!store.txn(txn).await.unwrap().succeeded);
    assert_eq!(store.metrics().commits.get(), commits);
}

#[tokio::test]
async fn the_feed_is_cut_on_disk_as_in_memory_also_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let few = || Options { history_changes: 10, ..Options::default() };
    let store = open_at(&home, few()).unwrap();
    for n in 0..30 {
        store.txn(put(&n.to_string(), "v")).await.unwrap();
    }
    assert_eq!(store.metrics().history_changes.get(), 10);
    drop(store);
    let store = open_at(&home, few()).unwrap();
    assert_eq!(store.metrics().history_changes.get(), 10);
    let Err(StateError::Compacted { oldest }) = store.changes(Revision(0), "", 0).await else {
        panic!("the feed reaches back too far")
    };
    assert_eq!(oldest, Revision(20));
    assert_eq!(store.changes(oldest, "", 0).await.unwrap().changes.len(), 10);
    store.txn(put("more", "v")).await.unwrap();
    assert!(store.changes(oldest, "", 0).await.is_err());
}

#[tokio::test]
async fn the_metrics_page_has_every_metric() {
    let home = tempfile::tempdir().unwrap();
    let store = open_at(&home, Options::default()).unwrap();
    store.txn(put("a", "1")).await.unwrap();
    let mut page = tutti_core::metrics::Page::default();
    store.metrics().show(&mut page);
    let text = page.finish();
    for line in
        ["tutti_store_transactions_total 1\n", "tutti_store_commits_total 1\n", "tutti_store_revision 1\n"]
    {
        assert!(text.contains(line), "{text}");
    }
}

#[tokio::test]
async fn a_suspended_store_leaves_its_file_to_another_process_and_goes_on_from_what_that_has_written() {
    let home = tempfile::tempdir().unwrap();
    let dir = DataDir::open(home.path(), "old").unwrap();
    let clock = || Arc::new(SystemClock::new());
    let store = Arc::new(SqliteStore::open(&dir, Options::default(), clock()).unwrap());
    store.txn(put("a", "1")).await.unwrap();
    store.suspend().await.unwrap();
    assert!(!schema::wal_path(&home.path().join("state.db")).exists(), "the file is closed");
    let waiting = |store: &Arc<SqliteStore>| {
        let (write, read) = (Arc::clone(store), Arc::clone(store));
        let write = tokio::spawn(async move { write.txn(put("b", "old")).await });
        (write, tokio::spawn(async move { read.range(Range::default()).await }))
    };
    let (write, read) = waiting(&store);
    let theirs = DataDir::adopt(home.path(), dir.lock().unwrap(), "new").unwrap();
    assert_eq!(DataDir::holder(home.path()).unwrap().unwrap().command, "new");
    let other = SqliteStore::open(&theirs, Options::default(), clock()).unwrap();
    assert_eq!(other.txn(put("a", "2")).await.unwrap().revision, Revision(2));
    other.shutdown().await;
    drop((other, theirs));
    assert!(!write.is_finished() && !read.is_finished(), "somebody did not wait");
    dir.claim("old").unwrap();
    assert_eq!(DataDir::holder(home.path()).unwrap().unwrap().command, "old");
    store.resume().await.unwrap();
    assert_eq!(write.await.unwrap().unwrap().revision, Revision(3));
    assert!(!read.await.unwrap().unwrap().entries.is_empty());
    // And what waits for good is refused in the end.
    store.suspend().await.unwrap();
    store.suspend().await.unwrap();
    let (write, read) = waiting(&store);
    store.shutdown().await;
    assert!(write.await.unwrap().is_err() && read.await.unwrap().is_err());
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_again_is_tried_again() {
    let home = tempfile::tempdir().unwrap();
    let store = Arc::new(open_at(&home, Options::default()).unwrap());
    store.txn(put("a", "1")).await.unwrap();
    store.suspend().await.unwrap();
    let (path, aside) = (home.path().join("state.db"), home.path().join("aside"));
    std::fs::rename(&path, &aside).unwrap();
    std::fs::create_dir(&path).unwrap();
    for _ in 0..2 {
        assert!(store.resume().await.is_err() && store.is_suspended());
    }
    let waiting = Arc::clone(&store);
    let waiting = tokio::spawn(async move { waiting.range(Range::default()).await });
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(&aside, &path).unwrap();
    store.resume().await.unwrap();
    assert!(!store.is_suspended());
    assert_eq!(waiting.await.unwrap().unwrap().entries.len(), 1);
    store.txn(put("b", "2")).await.unwrap();
}

#[tokio::test]
async fn a_suspension_that_is_given_up_half_way_can_be_ended() {
    let home = tempfile::tempdir().unwrap();
    let store = open_at(&home, Options::default()).unwrap();
    {
        let mut suspending = Box::pin(store.suspend());
        tokio::select! {
            biased;
            _ = &mut suspending => panic!("it does not wait for the writer"),
            () = std::future::ready(()) => {}
        }
    }
    store.resume().await.unwrap();
    store.txn(put("a", "1")).await.unwrap();
    assert_eq!(store.range(Range::default()).await.unwrap().entries.len(), 1);
}

#[tokio::test]
async fn a_suspended_store_may_be_dropped() {
    let home = tempfile::tempdir().unwrap();
    let store = open_at(&home, Options::default()).unwrap();
    store.suspend().await.unwrap();
    drop(store);
    open_at(&home, Options::default()).unwrap();
}
