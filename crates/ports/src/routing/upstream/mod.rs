//! How a service is called, whoever calls it: how its instances share the requests, when one of them is passed over,
//! and when the whole is left in peace.

mod balance;
mod breaker;
mod carry;
mod door;
mod outlier;

use serde::{Deserialize, Serialize};

use super::{Adaptive, Concurrency, RetryBudget};

pub use balance::{Algorithm, Balance, Failover, HashOn, SameSite, SlowStart, Sticky, Subset};
pub use breaker::Breaker;
pub use carry::{CheckCarriage, ProxyVersion, UpstreamTls};
pub use door::DoorRules;
pub use outlier::{LatencyRule, Outlier, Rate, SuccessRate};

/// How a service is called. The default suits a service that nothing is known of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Upstream {
    /// How its instances share the requests.
    pub balance: Balance,
    /// When an instance is passed over for what its answers show.
    pub outlier: Outlier,
    /// When the service is not called at all for a while; `None`: it is always called.
    pub breaker: Option<Breaker>,
    /// How many retries it gets; `None`: as many as the engine allows.
    pub retry_budget: Option<RetryBudget>,
    /// How many requests it gets at a time.
    pub concurrency: Option<Concurrency>,
    /// A limit of them that is found out.
    pub adaptive: Option<Adaptive>,
    /// Whether connections to it begin with a header of the PROXY protocol that says who the client is.
    pub proxy_protocol: Option<ProxyVersion>,
    /// How TLS is spoken to it; `None`: it is not.
    pub tls: Option<UpstreamTls>,
    /// What of that health checks speak.
    pub checks: CheckCarriage,
    /// How its peers call it at its door, if anything is said of that.
    pub door: Option<Box<DoorRules>>,
}
