//! Carries out transactions and lease operations inside an open SQLite transaction, and stages what memory
//! has to learn once it is committed.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use tutti_ports::state::{Compare, LeaseId, Op, Outcome, Revision, StateError, Txn};

use super::error::Failure;
use crate::model::history::Mark;

/// What happens to a lease in memory after the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It begins with this length.
    Begin(LeaseId, Duration),
    /// It begins anew.
    KeepAlive(LeaseId),
    /// It is gone.
    End(LeaseId),
}

/// A batch of requests on the way to one commit.
pub struct Batch<'a> {
    conn: &'a Connection,
    /// The revision after what was carried out so far.
    pub revision: Revision,
    /// What each transaction adds to the change feed.
    pub marks: Vec<Mark>,
    /// What happens to leases.
    pub effects: Vec<Effect>,
    /// Whether anything was written.
    pub wrote: bool,
}

/// Why one request of a batch was not carried out.
pub enum Fault {
    /// It is not acceptable; the batch goes on.
    Refused(StateError),
    /// SQLite failed.
    Failed(Failure),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Fault::Failed(error.into())
    }
}

impl<'a> Batch<'a> {
    /// An empty batch that begins at a revision.
    pub fn new(conn: &'a Connection, revision: Revision) -> Self {
        Self { conn, revision, marks: Vec::new(), effects: Vec::new(), wrote: false }
    }

    /// Whether something happens to a lease in this batch.
    pub fn touches(&self, lease: LeaseId) -> bool {
        self.effects.iter().any(|effect| match effect {
            Effect::Begin(id, _) | Effect::KeepAlive(id) | Effect::End(id) => *id == lease,
        })
    }

    /// Carries out one request: all of it, or none. After a failure of SQLite the whole batch has to be rolled back.
    pub fn atomic<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        let before = (self.revision, self.marks.len(), self.effects.len(), self.wrote);
        self.run("SAVEPOINT request")?;
        let result = work(self).and_then(|done| {
            self.run("RELEASE request")?;
            Ok(done)
        });
        if result.is_err() {
            (self.revision, self.wrote) = (before.0, before.3);
            self.marks.truncate(before.1);
            self.effects.truncate(before.2);
        }
        if let Err(Fault::Refused(_)) = result {
            self.run("ROLLBACK TO request")?;
            self.run("RELEASE request")?;
        }
        result
    }

    /// Carries out a transaction.
    pub fn txn(&mut self, txn: &Txn) -> Result<Outcome, Fault> {
        let succeeded = self.holds(&txn.compares)?;
        let ops = if succeeded { &txn.then } else { &txn.otherwise };
        let mut mark = Mark { revision: Revision(self.revision.0 + 1), changes: 0, bytes: 0 };
        for op in ops {
            match op {
                Op::Put { key, value, lease } => self.put(&mut mark, key, value, *lease)?,
                Op::Delete { key } => self.delete(&mut mark, "key = ?1", key.as_bytes(), None)?,
                Op::DeletePrefix { prefix } => {
                    let end = prefix_end(prefix);
                    self.delete(&mut mark, "key >= ?1 AND key < ?2", prefix.as_bytes(), Some(&end))?;
                }
            }
        }
        self.stage(mark);
        Ok(Outcome { succeeded, revision: self.revision })
    }

    /// Makes a lease.
    pub fn grant(&mut self, ttl: Duration) -> Result<LeaseId, Fault> {
        let take = "UPDATE meta SET next_lease = next_lease + 1 RETURNING next_lease - 1";
        let id: i64 = self.conn.prepare_cached(take)?.query_row([], |row| row.get(0))?;
        let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        self.conn
            .prepare_cached("INSERT INTO lease (id, ttl_ms) VALUES (?1, ?2)")?
            .execute(params![id, ttl_ms])?;
        self.wrote = true;
        let id = LeaseId(from_sql(id));
        self.effects.push(Effect::Begin(id, ttl));
        Ok(id)
    }

    /// Begins a lease's time anew; writes nothing.
    pub fn keep_alive(&mut self, lease: LeaseId) -> Result<(), Fault> {
        self.require(lease)?;
        self.effects.push(Effect::KeepAlive(lease));
        Ok(())
    }

    /// Ends a lease and removes its keys, as one revision if there are any.
    pub fn end_lease(&mut self, lease: LeaseId) -> Result<(), Fault> {
        self.require(lease)?;
        let mut mark = Mark { revision: Revision(self.revision.0 + 1), changes: 0, bytes: 0 };
        self.delete(&mut mark, "lease = ?1", to_sql(lease.0), None)?;
        self.conn.prepare_cached("DELETE FROM lease WHERE id = ?1")?.execute([to_sql(lease.0)])?;
        self.wrote = true;
        self.effects.push(Effect::End(lease));
        self.stage(mark);
        Ok(())
    }

    /// Writes the counters and cuts the change feed.
    pub fn finish(&mut self, cut: Option<Revision>) -> Result<(), Failure> {
        if self.marks.is_empty() {
            return Ok(());
        }
        if let Some(cut) = cut {
            let sql = "DELETE FROM change WHERE revision <= ?1";
            self.conn.prepare_cached(sql)?.execute([to_sql(cut.0)])?;
        }
        self.conn
            .prepare_cached("UPDATE meta SET revision = ?1, compacted = coalesce(?2, compacted)")?
            .execute(params![to_sql(self.revision.0), cut.map(|cut| to_sql(cut.0))])?;
        Ok(())
    }

    fn stage(&mut self, mark: Mark) {
        if mark.changes > 0 {
            self.revision = mark.revision;
            self.marks.push(mark);
            self.wrote = true;
        }
    }

    fn holds(&self, compares: &[Compare]) -> Result<bool, Fault> {
        for compare in compares {
            let (Compare::Absent(key)
            | Compare::Present(key)
            | Compare::ModifiedAt(key, _)
            | Compare::ValueIs(key, _)) = compare;
            let modified: Option<i64> = self
                .conn
                .prepare_cached("SELECT modified FROM entry WHERE key = ?1")?
                .query_row([key.as_bytes()], |row| row.get(0))
                .optional()?;
            let holds = match compare {
                Compare::Absent(_) => modified.is_none(),
                Compare::Present(_) => modified.is_some(),
                Compare::ModifiedAt(_, revision) => modified.map(from_sql) == Some(revision.0),
                Compare::ValueIs(_, value) => modified.is_some() && self.value_is(key, value)?,
            };
            if !holds {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn value_is(&self, key: &str, value: &[u8]) -> Result<bool, Fault> {
        let sql = "SELECT value = ?2 FROM entry WHERE key = ?1";
        Ok(self.conn.prepare_cached(sql)?.query_row(params![key.as_bytes(), value], |row| row.get(0))?)
    }

    fn put(&mut self, mark: &mut Mark, key: &str, value: &[u8], lease: Option<LeaseId>) -> Result<(), Fault> {
        if let Some(lease) = lease {
            self.require(lease)?;
        }
        let revision = to_sql(mark.revision.0);
        let lease = lease.map(|lease| to_sql(lease.0));
        let upsert = "INSERT INTO entry (key, value, created, modified, version, lease)
            VALUES (?1, ?2, ?3, ?3, 1, ?4)
            ON CONFLICT (key) DO UPDATE SET
                value = excluded.value, modified = excluded.modified, version = version + 1, lease = excluded.lease
            RETURNING created, version";
        let (created, version): (i64, i64) = self
            .conn
            .prepare_cached(upsert)?
            .query_row(params![key.as_bytes(), value, revision, lease], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        let log = "INSERT INTO change (revision, key, value, created, version, lease)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        self.conn.prepare_cached(log)?.execute(params![
            revision,
            key.as_bytes(),
            value,
            created,
            version,
            lease
        ])?;
        mark.changes += 1;
        mark.bytes += key.len() + value.len();
        Ok(())
    }

    /// Removes the entries that a condition selects, each with its change.
    fn delete(
        &mut self,
        mark: &mut Mark,
        condition: &str,
        first: impl rusqlite::ToSql,
        second: Option<&[u8]>,
    ) -> Result<(), Fault> {
        let mut args: Vec<&dyn rusqlite::ToSql> = vec![&first];
        if let Some(second) = &second {
            args.push(second);
        }
        let count = format!("SELECT count(*), coalesce(sum(length(key)), 0) FROM entry WHERE {condition}");
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
        let (rows, bytes) = self.conn.prepare_cached(&count)?.query_row(args.as_slice(), read)?;
        if rows == 0 {
            return Ok(());
        }
        let revision = mark.revision.0;
        let log =
            format!("INSERT INTO change (revision, key) SELECT {revision}, key FROM entry WHERE {condition}");
        self.conn.execute(&log, args.as_slice())?;
        let delete = format!("DELETE FROM entry WHERE {condition}");
        self.conn.prepare_cached(&delete)?.execute(args.as_slice())?;
        mark.changes += usize::try_from(rows).unwrap_or(0);
        mark.bytes += usize::try_from(bytes).unwrap_or(0);
        Ok(())
    }

    fn require(&self, lease: LeaseId) -> Result<(), Fault> {
        let sql = "SELECT 1 FROM lease WHERE id = ?1";
        if self.conn.prepare_cached(sql)?.exists([to_sql(lease.0)])? {
            return Ok(());
        }
        Err(Fault::Refused(StateError::NoLease(lease)))
    }

    fn run(&self, sql: &str) -> Result<(), Fault> {
        self.conn.prepare_cached(sql)?.execute([])?;
        Ok(())
    }
}

/// The first byte string after everything that begins with the prefix.
pub fn prefix_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    end.push(0xFF);
    end
}

/// SQLite's integers are signed; no counter of ours gets that far.
pub fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The way back.
pub fn from_sql(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
