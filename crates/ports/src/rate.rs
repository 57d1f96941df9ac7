//! Counting requests against limits of rate, in this process or elsewhere.
//!
//! A store takes a request from every limit that applies to it, or from none. The one in this process answers at once;
//! one elsewhere answers later, and whoever asks decides how long to wait and what to do without an answer.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often something may happen.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Policy {
    /// Which limit it is. Counts are kept as long as nothing of the policy changes.
    pub name: String,
    /// How it is counted.
    pub algorithm: Algorithm,
    /// How many in each window; at least 1.
    pub requests: u32,
    /// The window; more than zero.
    pub window: Duration,
    /// How many at once, for [`Algorithm::Gcra`]; at least 1.
    pub burst: u32,
}

/// How requests are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// The generic cell rate algorithm (ITU-T I.371 annex A): requests are spread evenly, save for a burst.
    #[default]
    Gcra,
    /// Never more than so many in any window, however it lies.
    SlidingWindow,
}

/// One limit that a request is to be counted against, and as whose.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The limit.
    pub policy: Arc<Policy>,
    /// Whose request it is: the same bytes are the same caller, in every process.
    pub key: Vec<u8>,
}

/// What a limit says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it may pass.
    pub allowed: bool,
    /// How many more could pass now.
    pub remaining: u32,
    /// If it may: when all is forgotten. If not: when the next one may pass.
    pub reset: Duration,
}

/// Nobody answered.
#[derive(Debug, thiserror::Error)]
#[error("the counts of the rate limits cannot be had: {0}")]
pub struct StoreError(pub String);

/// One verdict for each question, in order.
pub type Verdicts = Result<Vec<Verdict>, StoreError>;

/// An answer, now or later.
pub enum Answer {
    /// It is here.
    Now(Verdicts),
    /// It has to be waited for.
    Later(Pin<Box<dyn Future<Output = Verdicts> + Send>>),
}

/// Keeps the counts.
pub trait RateStore: Send + Sync + fmt::Debug {
    /// Counts a request against every limit, if all let it pass; else against none.
    fn take(&self, asks: &[Ask]) -> Answer;

    /// Takes back what [`RateStore::take`] has counted: the request was refused for another reason that is nobody's use.
    fn give_back(&self, asks: &[Ask]);

    /// Forgets every limit that is not among these.
    fn retain(&self, policies: &[Arc<Policy>]);
}
