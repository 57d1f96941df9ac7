//! How a service is called by its peers, at its door.

use serde::{Deserialize, Serialize};

use crate::routing::{Hedge, Retries, Timeouts};

/// What holds at a service's door, as routes say it of requests from outside.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DoorRules {
    /// How long a request may take.
    pub timeouts: Timeouts,
    /// When it is sent again; `None`: only where nothing can be carried out twice.
    pub retries: Option<Retries>,
    /// When another instance is asked as well.
    pub hedge: Option<Hedge>,
}
