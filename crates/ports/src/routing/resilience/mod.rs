//! What a route does when things go wrong: retries, hedges, limits of concurrency, fallbacks, and faults on purpose.

mod retry;

use serde::{Deserialize, Serialize};

pub use retry::{Retries, RetryBudget, RetryOn};

/// What a route does when things go wrong. The default is the engine's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resilience {
    /// What becomes of deadlines that come with requests.
    pub deadline: DeadlineRule,
    /// When and how often a request is sent again; `None`: only where nothing can have been carried out twice.
    pub retries: Option<Retries>,
}

/// What becomes of deadlines that come with requests (`grpc-timeout`, `x-tutti-deadline`). None of them ever makes a
/// timeout of the route longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeadlineRule {
    /// They count, and what remains of them is passed on.
    #[default]
    Honour,
    /// The same; and a request that brings none gets the route's timeout as its deadline, which is passed on.
    Propagate,
    /// They are taken off the request.
    Ignore,
}
