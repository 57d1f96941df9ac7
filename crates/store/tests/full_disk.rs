//! A disk that is really full: a small tmpfs in a mount namespace of its own.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use tutti_core::time::SystemClock;
use tutti_core::{Classify, code};
use tutti_ports::state::{Op, Range, StateError, Store, Txn};
use tutti_store::dir::{DirError, write_atomic};
use tutti_store::{DataDir, Options, SqliteStore};

const CHILD: &str = "TUTTI_TEST_FULL_DISK_DIR";
const NAME: &str = "a_full_disk_is_said_and_nothing_is_lost";

#[test]
fn a_full_disk_is_said_and_nothing_is_lost() {
    if let Some(disk) = std::env::var_os(CHILD) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(fill(Path::new(&disk)));
        return println!("filled and healed");
    }
    let home = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=1m tutti \"$0\" || exit 77; exec \"$@\"";
    let child = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", mount])
        .arg(home.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", NAME])
        .env(CHILD, home.path())
        .output();
    let said = match &child {
        Ok(output) => [&output.stdout[..], &output.stderr[..]].concat(),
        Err(error) => error.to_string().into_bytes(),
    };
    let said = String::from_utf8_lossy(&said).into_owned();
    let refused = child.as_ref().map_or(true, |output| output.status.code() == Some(77))
        || said.contains("unshare failed");
    if refused {
        return println!("skipped: this system gives no mount namespace to its users ({said})");
    }
    assert!(said.contains("filled and healed"), "{said}");
    assert!(child.is_ok_and(|output| output.status.success()), "it failed");
}

fn open(disk: &Path) -> SqliteStore {
    let dir = DataDir::open(&disk.join("data"), "test").unwrap();
    SqliteStore::open(&dir, Options::default(), Arc::new(SystemClock::new())).unwrap()
}

fn put(key: &str, len: usize) -> Txn {
    let op = Op::Put { key: key.to_owned(), value: Bytes::from(vec![7; len]), lease: None };
    Txn { then: vec![op], ..Txn::default() }
}

async fn fill(disk: &Path) {
    let store = open(disk);
    write_atomic(&disk.join("data/run/file"), b"old").unwrap();
    let mut kept = 0;
    let error = loop {
        match store.txn(put(&format!("{kept:04}"), 20_000)).await {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
    };
    assert!(kept > 0);
    assert!(matches!(error, StateError::Full(_)), "{error:?}");
    assert_eq!(error.code(), Some(code::DISK_FULL));
    assert_eq!(store.range(Range::default()).await.unwrap().entries.len(), kept, "reads go on");

    // Now to the last byte.
    let ballast = disk.join("ballast");
    let _ = std::fs::write(&ballast, vec![0; 4 << 20]);
    let error = write_atomic(&disk.join("data/run/file"), &[1; 50_000]).unwrap_err();
    assert!(matches!(error, DirError::Full { .. }), "{error:?}");
    assert_eq!(std::fs::read(disk.join("data/run/file")).unwrap(), b"old");
    assert_eq!(std::fs::read_dir(disk.join("data/run")).unwrap().count(), 1, "no temporary file is left");
    let error = DataDir::open(&disk.join("another"), "test").unwrap_err();
    assert_eq!(error.code(), Some(code::DISK_FULL), "{error}");
    store.shutdown().await;
    drop(store);

    // A start on a full disk either works or says what is wrong; with room again everything is there.
    let opened = DataDir::open(&disk.join("data"), "test")
        .map_err(|error| error.code())
        .and_then(|dir| {
            SqliteStore::open(&dir, Options::default(), Arc::new(SystemClock::new()))
                .map_err(|error| error.code())
        })
        .map(drop);
    assert!(opened.is_ok() || opened == Err(Some(code::DISK_FULL)), "{opened:?}");
    std::fs::remove_file(ballast).unwrap();
    let store = open(disk);
    assert_eq!(store.range(Range::default()).await.unwrap().entries.len(), kept);
    store.txn(put("0000", 10)).await.unwrap();
}
