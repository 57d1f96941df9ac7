//! What carries a listener: TLS, HTTP/3, the PROXY protocol.

use serde::{Deserialize, Serialize};

/// What carries a listener. The default is plain TCP.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Transport {}
