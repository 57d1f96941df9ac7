//! What a route does when things go wrong: retries, hedges, limits of concurrency, fallbacks, and faults on purpose.

use serde::{Deserialize, Serialize};

/// What a route does when things go wrong. The default is the engine's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resilience {}
