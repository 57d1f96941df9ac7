//! What requests and responses may hold, and how they are written: sizes, types, compression, validation, CORS.

use serde::{Deserialize, Serialize};

/// What requests and responses may hold. The default changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Content {}
