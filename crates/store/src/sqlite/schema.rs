//! The database file: how a connection is set up, its format, and the checks at the opening.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::OpenError;

/// Marks the file as ours (`file(1)` and SQLite's header field); "Tutt".
const APPLICATION_ID: i64 = 0x5475_7474;

/// One script for each format, from the empty file on. A script that was released never changes.
///
/// Keys are BLOBs, so that SQLite orders them by their bytes. The bytes of UTF-8 are below 0xFF, hence
/// `key < prefix || x'FF'` ends a prefix.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE meta (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        revision INTEGER NOT NULL,
        compacted INTEGER NOT NULL,
        next_lease INTEGER NOT NULL
    );
    INSERT INTO meta VALUES (1, 0, 0, 1);
    CREATE TABLE entry (
        key BLOB NOT NULL PRIMARY KEY,
        value BLOB NOT NULL,
        created INTEGER NOT NULL,
        modified INTEGER NOT NULL,
        version INTEGER NOT NULL,
        lease INTEGER
    );
    CREATE INDEX entry_lease ON entry (lease) WHERE lease IS NOT NULL;
    CREATE TABLE change (
        revision INTEGER NOT NULL,
        key BLOB NOT NULL,
        value BLOB,
        created INTEGER,
        version INTEGER,
        lease INTEGER,
        PRIMARY KEY (revision, key)
    );
    CREATE TABLE lease (
        id INTEGER PRIMARY KEY,
        ttl_ms INTEGER NOT NULL
    );
"];

/// The newest format that this version reads and the one that it writes.
pub const FORMAT: u64 = MIGRATIONS.len() as u64;

/// Opens the writing connection: checks the file, brings it to the newest format.
///
/// The whole file is checked (`PRAGMA quick_check`) only when a write-ahead log was left behind, which
/// is when the last owner did not close the store: it costs about a second per gigabyte. After a clean close the
/// header and the counters are read, and later damage shows as an error of the engine when it is met.
pub fn open_writer(path: &Path) -> Result<Connection, OpenError> {
    let unclean = std::fs::metadata(wal_path(path)).is_ok_and(|wal| wal.len() > 0);
    let fail = |error| OpenError::new(path.to_owned(), error);
    let mut conn =
        Connection::open_with_flags(path, flags(OpenFlags::SQLITE_OPEN_READ_WRITE)).map_err(fail)?;
    set_up(&conn).map_err(fail)?;
    conn.pragma_update(None, "journal_mode", "WAL").map_err(fail)?;
    conn.pragma_update(None, "synchronous", "FULL").map_err(fail)?;
    // Where fsync does not reach the disk (macOS); elsewhere it has no effect.
    conn.pragma_update(None, "fullfsync", "ON").map_err(fail)?;
    conn.pragma_update(None, "checkpoint_fullfsync", "ON").map_err(fail)?;
    // After a burst the log is cut back to this size, not kept at its largest.
    conn.pragma_update(None, "journal_size_limit", 8 << 20).map_err(fail)?;
    migrate(&mut conn, path)?;
    if unclean {
        tracing::info!(path = %path.display(), "the state was not closed; checking it");
        check(&conn, path)?;
    }
    check_counters(&conn, path)?;
    Ok(conn)
}

/// Opens a reading connection beside an open writer.
pub fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    let fail = |error| OpenError::new(path.to_owned(), error);
    let conn = Connection::open_with_flags(path, flags(OpenFlags::SQLITE_OPEN_READ_ONLY)).map_err(fail)?;
    set_up(&conn).map_err(fail)?;
    Ok(conn)
}

fn flags(mode: OpenFlags) -> OpenFlags {
    let create = if mode.contains(OpenFlags::SQLITE_OPEN_READ_WRITE) {
        OpenFlags::SQLITE_OPEN_CREATE
    } else {
        OpenFlags::empty()
    };
    mode | create | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW
}

fn set_up(conn: &Connection) -> Result<(), rusqlite::Error> {
    // Recovery of the log takes a moment in which another connection has to wait.
    conn.busy_timeout(Duration::from_secs(10))?;
    conn.pragma_update(None, "trusted_schema", "OFF")?;
    conn.pragma_update(None, "cell_size_check", "ON")?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    // In KiB; the operating system caches the file anyway.
    conn.pragma_update(None, "cache_size", -1_024)?;
    conn.set_prepared_statement_cache_capacity(32);
    Ok(())
}

fn migrate(conn: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let fail = |error| OpenError::new(path.to_owned(), error);
    let pragma =
        |conn: &Connection, name: &str| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let found = pragma(conn, "user_version").map_err(fail)?;
    let owner = pragma(conn, "application_id").map_err(fail)?;
    if owner != APPLICATION_ID && (owner, found) != (0, 0) {
        return Err(OpenError::Damaged {
            path: path.to_owned(),
            detail: format!("it was written by another program: application id {owner:#x}"),
        });
    }
    let found = u64::try_from(found).unwrap_or(u64::MAX);
    if found > FORMAT {
        return Err(OpenError::Format { path: path.to_owned(), found, known: FORMAT });
    }
    for (script, format) in MIGRATIONS.iter().zip(1_u64..).filter(|(_, format)| *format > found) {
        let txn = conn.transaction().map_err(fail)?;
        txn.execute_batch(script).map_err(fail)?;
        txn.pragma_update(None, "application_id", APPLICATION_ID).map_err(fail)?;
        txn.pragma_update(None, "user_version", format as i64).map_err(fail)?;
        txn.commit().map_err(fail)?;
    }
    Ok(())
}

fn check(conn: &Connection, path: &Path) -> Result<(), OpenError> {
    let finding = conn
        .query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))
        .map_err(|error| OpenError::new(path.to_owned(), error))?;
    if finding == "ok" { Ok(()) } else { Err(damaged(path, finding)) }
}

fn check_counters(conn: &Connection, path: &Path) -> Result<(), OpenError> {
    let sql = "SELECT revision, compacted, next_lease,
                      (SELECT coalesce(max(revision), 0) FROM change), (SELECT coalesce(max(id), 0) FROM lease)
               FROM meta";
    let read = |row: &rusqlite::Row<'_>| -> Result<[i64; 5], rusqlite::Error> {
        Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?])
    };
    let [revision, compacted, next_lease, changed, lease] = match conn.query_row(sql, [], read) {
        Err(rusqlite::Error::QueryReturnedNoRows) => return Err(damaged(path, "no counters".to_owned())),
        other => other.map_err(|error| OpenError::new(path.to_owned(), error))?,
    };
    if 0 <= compacted && compacted <= revision && changed <= revision && lease < next_lease {
        return Ok(());
    }
    Err(damaged(path, format!("the counters disagree: revision {revision}, changes to {changed}")))
}

fn damaged(path: &Path, detail: String) -> OpenError {
    OpenError::Damaged { path: path.to_owned(), detail }
}

pub(super) fn wal_path(path: &Path) -> std::path::PathBuf {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    wal.into()
}
