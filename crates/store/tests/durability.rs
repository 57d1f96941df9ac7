//! Real kill -9: what a child process has acknowledged over a pipe is there at the next open, whole.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tutti_core::random::Rng;
use tutti_core::time::SystemClock;
use tutti_ports::state::{Op, Range, Revision, Store, Txn};
use tutti_store::{DataDir, Options, SqliteStore};

const CHILD: &str = "TUTTI_TEST_DURABILITY_DIR";
const ROUNDS: usize = 30;
const TASKS: usize = 8;

fn open(path: &Path) -> SqliteStore {
    let dir = DataDir::open(path, "durability test").unwrap();
    SqliteStore::open(&dir, Options::default(), Arc::new(SystemClock::new())).unwrap()
}

/// Writes two keys for each transaction, large and small ones, and says so when it is acknowledged. Ends by a signal only.
fn write_until_killed(path: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let store = Arc::new(open(path));
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..TASKS {
            let store = Arc::clone(&store);
            tasks.spawn(async move {
                for n in 0_u64.. {
                    let value = Bytes::from(vec![b'v'; if n % 7 == 0 { 20_000 } else { 50 }]);
                    let put = |side: &str| Op::Put {
                        key: format!("{side}/{task}/{}", n % 40),
                        value: value.clone(),
                        lease: None,
                    };
                    let txn = Txn { then: vec![put("left"), put("right")], ..Txn::default() };
                    let revision = store.txn(txn).await.unwrap().revision.0;
                    // One write of one short line: whole in the pipe, or not there.
                    let line = format!("ack {task}/{} {revision}\n", n % 40);
                    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                }
            });
        }
        tasks.join_all().await;
    });
}

/// When a child dies.
enum Death {
    /// So long after its start: also while it opens the store.
    After(Duration),
    /// When it has acknowledged so many transactions.
    AtAck(usize),
}

/// Starts a child, kills it, and returns how much it acknowledged; notes the newest revision of each name.
fn one_life(path: &Path, death: &Death, acked: &mut BTreeMap<String, u64>) -> usize {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "what_was_acknowledged_survives_kill_9"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    if let Death::After(time) = death {
        // The moment of death is what is random here; nothing waits for a state.
        std::thread::sleep(*time);
        child.kill().unwrap();
    }
    let mut count = 0;
    for line in output.lines() {
        let line = line.unwrap();
        let Some((_, ack)) = line.split_once("ack ") else { continue };
        let (name, revision) = ack.split_once(' ').unwrap();
        acked.insert(name.to_owned(), revision.parse().unwrap());
        count += 1;
        if matches!(death, Death::AtAck(at) if *at == count) {
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert_eq!(status.code(), None, "the child died of the signal and of nothing else");
    count
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    if let Some(path) = std::env::var_os(CHILD) {
        return write_until_killed(Path::new(&path));
    }
    let home = tempfile::tempdir().unwrap();
    let rng = Rng::from_entropy();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (mut acked, mut total, mut lives) = (BTreeMap::new(), 0, 0);
    for round in 0..ROUNDS {
        let death = match round % 3 {
            0 => Death::After(Duration::from_millis(rng.below(120) as u64)),
            _ => Death::AtAck(1 + rng.below(600)),
        };
        let count = one_life(home.path(), &death, &mut acked);
        total += count;
        lives += usize::from(count > 0);
        let store = open(home.path());
        runtime.block_on(verify(&store, &acked));
        runtime.block_on(store.shutdown());
    }
    println!("{total} acknowledged transactions in {lives} of {ROUNDS} lives");
    assert!(lives >= ROUNDS / 3 * 2, "a child that lives until it acknowledges has acknowledged");
}

async fn verify(store: &SqliteStore, acked: &BTreeMap<String, u64>) {
    let all = store.range(Range { limit: 10_000, ..Range::default() }).await.unwrap();
    assert!(!all.more);
    let entries: BTreeMap<_, _> = all.entries.iter().map(|entry| (entry.key.as_str(), entry)).collect();
    for (name, revision) in acked {
        let entry = entries.get(format!("left/{name}").as_str());
        // Newer than acknowledged is right too: the answer may have died with the child.
        assert!(entry.is_some_and(|entry| entry.modified.0 >= *revision), "{name} at {revision}: {entry:?}");
    }
    for (key, entry) in &entries {
        let other = if let Some(name) = key.strip_prefix("left/") {
            format!("right/{name}")
        } else {
            key.replacen("right/", "left/", 1)
        };
        let twin = entries.get(other.as_str());
        assert!(twin.is_some_and(|twin| twin.modified == entry.modified), "half a transaction at {key}");
    }
    feed_is_without_gaps(store, all.revision).await;
}

/// The feed ends at the newest revision and leaves none out.
async fn feed_is_without_gaps(store: &SqliteStore, head: Revision) {
    let mut after = match store.changes(Revision(0), "", 0).await {
        Err(tutti_ports::state::StateError::Compacted { oldest }) => oldest,
        other => {
            other.unwrap();
            Revision(0)
        }
    };
    while after < head {
        let page = store.changes(after, "", 0).await.unwrap();
        let mut revisions: Vec<u64> = page.changes.iter().map(|change| change.revision.0).collect();
        assert_eq!(revisions.len() as u64, 2 * (page.through.0 - after.0), "two changes for each revision");
        revisions.dedup();
        assert_eq!(revisions, (after.0 + 1..=page.through.0).collect::<Vec<_>>());
        after = page.through;
    }
}
