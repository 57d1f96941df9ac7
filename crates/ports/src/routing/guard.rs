//! Who may ask, and how often: addresses, limits of rate, credentials, conditions.

use serde::{Deserialize, Serialize};

/// Who may ask, and how often. The default lets everybody.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Guard {}
