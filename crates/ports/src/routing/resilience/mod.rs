//! What a route does when things go wrong: retries, hedges, limits of concurrency, fallbacks, and faults on purpose.

mod concurrency;
mod fallback;
mod hedge;
mod retry;

use serde::{Deserialize, Serialize};

pub use concurrency::{Adaptive, AdaptiveRule, Concurrency, NORMAL_PRIORITY};
pub use fallback::{Abort, Fallback, FallbackOn, FallbackTo, FaultRule};
pub use hedge::{Hedge, HedgeAfter};
pub use retry::{Retries, RetryBudget, RetryOn};

/// What a route does when things go wrong. The default is the engine's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resilience {
    /// What becomes of deadlines that come with requests.
    pub deadline: DeadlineRule,
    /// When and how often a request is sent again; `None`: only where nothing can have been carried out twice.
    pub retries: Option<Retries>,
    /// When another instance is asked as well.
    pub hedge: Option<Hedge>,
    /// How much its requests matter, when they do not say so themselves: who matters less is turned away first.
    pub priority: Option<u8>,
    /// How many of its requests there may be at a time.
    pub concurrency: Option<Concurrency>,
    /// What is answered when the service cannot.
    pub fallback: Option<Fallback>,
    /// What goes wrong on purpose.
    pub fault: Option<FaultRule>,
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
