//! How a service is called, whoever calls it.

use serde::{Deserialize, Serialize};

/// How a service is called. The default suits a service that nothing is known of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Upstream {}
