//! Durable state: transactions, ranges, a change feed and leases over one 64-bit revision.
//!
//! Shaped like etcd's API, so that every engine (SQLite, PostgreSQL, etcd) can keep the same
//! promises: a transaction is atomic and linearizable; a revision is taken inside it and grows by
//! one for each transaction that changes something; a watcher that reads [`Store::changes`] from the revision it
//! has seen misses nothing and sees nothing twice.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tutti_core::{Classify, Code, Kind, Retry, code};

/// The number of a transaction that changed something. 0 is the empty store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(pub u64);

/// The name of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(pub u64);

/// One key and what the store knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key: UTF-8, `/`-separated by convention, 1 byte to 1 KiB. Keys are ordered by their bytes.
    pub key: String,
    /// The value: at most 1 MiB.
    pub value: Bytes,
    /// The revision at which the key was created.
    pub created: Revision,
    /// The revision of the last change.
    pub modified: Revision,
    /// How many times the key was written since its creation, from 1.
    pub version: u64,
    /// The lease that the key dies with.
    pub lease: Option<LeaseId>,
}

/// A condition on the state before a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The key does not exist.
    Absent(String),
    /// The key exists.
    Present(String),
    /// The key exists and was last changed at this revision.
    ModifiedAt(String, Revision),
    /// The key exists with this value.
    ValueIs(String, Bytes),
}

/// A change that a transaction makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Writes a key.
    Put {
        /// The key.
        key: String,
        /// Its new value.
        value: Bytes,
        /// The lease it dies with; without one it stays.
        lease: Option<LeaseId>,
    },
    /// Removes a key; no change if there is none.
    Delete {
        /// The key.
        key: String,
    },
    /// Removes every key that begins with the prefix.
    DeletePrefix {
        /// The prefix; the empty one is refused.
        prefix: String,
    },
}

/// `if all compares hold { then } else { otherwise }`, at once or not at all. At most 128 compares, 128
/// operations in either branch and 8 MiB in all; no branch names a key twice, be it by a prefix.
///
/// Writing the value that a key has already is a change; removing what is not there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// The conditions; none holds always.
    pub compares: Vec<Compare>,
    /// What to do when all hold.
    pub then: Vec<Op>,
    /// What to do otherwise.
    pub otherwise: Vec<Op>,
}

/// What a transaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the compares held.
    pub succeeded: bool,
    /// The store's revision after the transaction; unchanged if nothing changed.
    pub revision: Revision,
}

/// Keys to read, in byte order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The prefix; the empty one reads everything.
    pub prefix: String,
    /// Only keys greater than this one: pages through a long range.
    pub after: Option<String>,
    /// At most so many entries; 0 means the engine's own page size. A page of large values may hold fewer.
    pub limit: usize,
}

/// A page of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries {
    /// The entries, by key.
    pub entries: Vec<Entry>,
    /// Whether more keys follow.
    pub more: bool,
    /// The revision that was read.
    pub revision: Revision,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The transaction that made it.
    pub revision: Revision,
    /// The key.
    pub key: String,
    /// The entry after the change; `None` if the key was removed.
    pub entry: Option<Entry>,
}

/// A page of the change feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Changes in the order of their revisions; changes of one transaction are never split over two pages.
    pub changes: Vec<Change>,
    /// Ask for what comes after this revision next. Grows even when nothing with the prefix changed.
    pub through: Revision,
}

/// Why the state could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The change feed no longer reaches back so far, or has never come so far (the store was restored from
    /// an older copy): read the range again and go on from its revision.
    #[error("the change feed begins after revision {}: read the range again", oldest.0)]
    Compacted {
        /// The oldest revision that can still be given as `after`.
        oldest: Revision,
    },
    /// A key, value or transaction beyond the documented sizes, or an empty prefix in a removal.
    #[error("the transaction is not acceptable: {0}")]
    Invalid(String),
    /// The lease does not exist or has run out.
    #[error("lease {} does not exist", .0.0)]
    NoLease(LeaseId),
    /// The disk is full; nothing was changed.
    #[error("no space is left for the state")]
    Full(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The engine cannot be reached or is shutting down. Whether a change was made is not known.
    #[error("the state is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The engine failed; nothing was changed.
    #[error("the state engine failed")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Classify for StateError {
    fn kind(&self) -> Kind {
        match self {
            StateError::Compacted { .. } => Kind::Conflict,
            StateError::Invalid(_) => Kind::Invalid,
            StateError::NoLease(_) => Kind::NotFound,
            StateError::Full(_) => Kind::Exhausted,
            StateError::Unavailable(_) => Kind::Unavailable,
            StateError::Engine(_) => Kind::Internal,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            StateError::Full(_) | StateError::Engine(_) => Retry::Safe,
            _ => Retry::Unsafe,
        }
    }

    fn code(&self) -> Option<Code> {
        match self {
            StateError::Full(_) => Some(code::DISK_FULL),
            _ => None,
        }
    }
}

/// The state. What a call acknowledges is durable.
#[async_trait::async_trait]
pub trait Store: Send + Sync + 'static {
    /// Carries out a transaction.
    async fn txn(&self, txn: Txn) -> Result<Outcome, StateError>;

    /// Reads a page of keys, as of one revision.
    async fn range(&self, range: Range) -> Result<Entries, StateError>;

    /// The changes after a revision to keys with a prefix, at most `limit` (0: the engine's page size),
    /// rounded up to whole transactions. Answers at once, with nothing if nothing changed.
    async fn changes(&self, after: Revision, prefix: &str, limit: usize) -> Result<Changes, StateError>;

    /// The newest revision; wakes a watcher. It may run ahead of what the watcher has read, and skip.
    fn head(&self) -> watch::Receiver<Revision>;

    /// Makes a lease: keys put with it are removed, each in the change feed, when it was not kept alive
    /// for `ttl`. Between 1 s and 1 day. After a restart of the store every lease gets its full time again.
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StateError>;

    /// Begins the lease's time anew.
    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StateError>;

    /// Ends a lease and removes its keys.
    async fn revoke(&self, lease: LeaseId) -> Result<(), StateError>;
}
