//! Who may ask, and how often: addresses, limits of rate, credentials, a condition, another service.

mod auth;
pub mod condition;
mod external;
mod limit;

use serde::{Deserialize, Serialize};

use super::cidr::Cidr;

pub use auth::{ApiKeys, Auth, Basic, Jwt, KeySource, Place};
pub use external::{CachePart, External, ExternalAsk, ExternalBody, ExternalCache};
pub use limit::{KeyPart, RateLimit, Unavailable};

/// Who may ask, and how often. The default lets everybody.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    /// Who may ask, by address. If it is not empty, others may not.
    pub allow: Vec<Cidr>,
    /// Who may not. Of two ranges that hold an address the narrower decides; of two alike, this one.
    pub deny: Vec<Cidr>,
    /// How often. All must let a request pass, and if one does not, none counts it.
    pub rate_limits: Vec<RateLimit>,
    /// Which credentials are taken; `None`: nobody is asked who they are.
    pub auth: Option<Auth>,
    /// A condition (CEL) on the request and on who asks, that must hold.
    pub authorize: Option<String>,
    /// Another service that is asked, after everything else.
    pub external: Option<Box<External>>,
}
