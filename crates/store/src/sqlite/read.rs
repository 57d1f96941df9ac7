//! Reads of one snapshot: pages of keys and of the change feed.

use bytes::Bytes;
use rusqlite::{Connection, Row, params};
use tutti_core::limits;
use tutti_ports::state::{Change, Changes, Entries, Entry, LeaseId, Range, Revision, StateError};

use super::apply::{from_sql, prefix_end, to_sql};
use super::error::Failure;

/// Reads a page of keys.
pub fn range(conn: &mut Connection, range: &Range) -> Result<Entries, StateError> {
    let limit = page_size(range.limit);
    read(conn, |conn| {
        let (revision, _) = counters(conn)?;
        // Bytes that follow `after` directly.
        let after = range.after.iter().map(|after| [after.as_bytes(), &[0]].concat()).next();
        let begin = after.unwrap_or_default().max(range.prefix.as_bytes().to_vec());
        let sql = "SELECT key, value, created, modified, version, lease FROM entry
            WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3";
        let mut statement = conn.prepare_cached(sql)?;
        let most = i64::try_from(limit + 1).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![begin, prefix_end(&range.prefix), most])?;
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            if entries.len() == limit || bytes >= limits::STATE_PAGE_BYTES {
                return Ok(Entries { entries, more: true, revision });
            }
            let entry = entry(row)?;
            bytes += entry.key.len() + entry.value.len();
            entries.push(entry);
        }
        Ok(Entries { entries, more: false, revision })
    })
    .map_err(StateError::from)
}

/// Reads a page of the change feed.
pub fn changes(
    conn: &mut Connection,
    after: Revision,
    prefix: &str,
    limit: usize,
) -> Result<Changes, StateError> {
    let limit = page_size(limit);
    let page = read(conn, |conn| {
        let (head, compacted) = counters(conn)?;
        if after < compacted || after > head {
            return Ok(Err(compacted));
        }
        let sql = "SELECT revision, key, value, created, version, lease FROM change
            WHERE revision > ?1 AND key >= ?2 AND key < ?3 ORDER BY revision, key";
        let mut statement = conn.prepare_cached(sql)?;
        let mut rows = statement.query(params![to_sql(after.0), prefix.as_bytes(), prefix_end(prefix)])?;
        let (mut changes, mut bytes, mut through) = (Vec::new(), 0, after);
        while let Some(row) = rows.next()? {
            let change = change(row)?;
            let full = changes.len() >= limit || bytes >= limits::STATE_PAGE_BYTES;
            if full && change.revision > through {
                return Ok(Ok(Changes { changes, through }));
            }
            through = change.revision;
            bytes += change.key.len() + change.entry.as_ref().map_or(0, |entry| entry.value.len());
            changes.push(change);
        }
        Ok(Ok(Changes { changes, through: head }))
    })?;
    page.map_err(|oldest| StateError::Compacted { oldest })
}

/// All statements of a read see the same snapshot.
fn read<T>(
    conn: &mut Connection,
    work: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>,
) -> Result<T, Failure> {
    let snapshot = conn.transaction()?;
    let result = work(&snapshot)?;
    snapshot.finish()?;
    Ok(result)
}

fn counters(conn: &Connection) -> Result<(Revision, Revision), rusqlite::Error> {
    conn.prepare_cached("SELECT revision, compacted FROM meta")?
        .query_row([], |row| Ok((revision(row, 0)?, revision(row, 1)?)))
}

fn page_size(limit: usize) -> usize {
    if limit == 0 { limits::STATE_PAGE } else { limit.min(limits::STATE_PAGE_MAX) }
}

fn revision(row: &Row<'_>, at: usize) -> Result<Revision, rusqlite::Error> {
    row.get(at).map(|number| Revision(from_sql(number)))
}

fn key(row: &Row<'_>, at: usize) -> Result<String, rusqlite::Error> {
    let bytes: Vec<u8> = row.get(at)?;
    String::from_utf8(bytes).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Blob, error.into())
    })
}

fn lease(row: &Row<'_>, at: usize) -> Result<Option<LeaseId>, rusqlite::Error> {
    row.get::<_, Option<i64>>(at).map(|lease| lease.map(|id| LeaseId(from_sql(id))))
}

fn entry(row: &Row<'_>) -> Result<Entry, rusqlite::Error> {
    Ok(Entry {
        key: key(row, 0)?,
        value: Bytes::from(row.get::<_, Vec<u8>>(1)?),
        created: revision(row, 2)?,
        modified: revision(row, 3)?,
        version: from_sql(row.get(4)?),
        lease: lease(row, 5)?,
    })
}

fn change(row: &Row<'_>) -> Result<Change, rusqlite::Error> {
    let (modified, key) = (revision(row, 0)?, key(row, 1)?);
    let entry = match row.get::<_, Option<Vec<u8>>>(2)? {
        None => None,
        Some(value) => Some(Entry {
            key: key.clone(),
            value: Bytes::from(value),
            created: revision(row, 3)?,
            modified,
            version: from_sql(row.get(4)?),
            lease: lease(row, 5)?,
        }),
    };
    Ok(Change { revision: modified, key, entry })
}
