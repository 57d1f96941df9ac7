//! Asking another instance when the first one takes too long.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When and how often another instance is asked as well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hedge {
    /// When.
    pub after: HedgeAfter,
    /// Most that are asked besides the first.
    pub max_extra: u32,
    /// Whether every request may be carried out twice, whatever its method.
    pub idempotent: bool,
}

/// When another instance is asked.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum HedgeAfter {
    /// After so long.
    Delay(Duration),
    /// When the answer takes longer than this share, of 100, of the recent answers of the service did.
    Percentile(f64),
}
