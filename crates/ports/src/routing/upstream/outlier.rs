//! When an instance is passed over for what its answers show (passive health).

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Ejection of outliers. Names and meaning are Envoy's where it has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outlier {
    /// So many answers of 500 to 599 in a row; 0: not looked at.
    pub consecutive_5xx: u32,
    /// So many answers of 502, 503 or 504 in a row; 0: not looked at.
    pub consecutive_gateway_errors: u32,
    /// So many failures in a row to get any answer (refused, reset, too late); 0: not looked at.
    pub consecutive_local_failures: u32,
    /// Fewer successes than its siblings have.
    pub success_rate: Option<SuccessRate>,
    /// More failures than a fixed share.
    pub failure_percentage: Option<Rate>,
    /// Slower than its siblings are.
    pub latency: Option<LatencyRule>,
    /// How often rates are looked at.
    pub interval: Duration,
    /// How long an instance is passed over the first time; twice as long the second time, three times the third …
    pub base_ejection: Duration,
    /// How long it is passed over at most.
    pub max_ejection: Duration,
    /// At most so many percent of the instances are passed over, though one always may be if there are others.
    pub max_ejection_percent: u32,
}

impl Default for Outlier {
    fn default() -> Self {
        Self {
            consecutive_5xx: 0,
            consecutive_gateway_errors: 5,
            consecutive_local_failures: 5,
            success_rate: None,
            failure_percentage: None,
            latency: None,
            interval: Duration::from_secs(10),
            base_ejection: Duration::from_secs(10),
            max_ejection: Duration::from_secs(300),
            max_ejection_percent: 50,
        }
    }
}

impl Outlier {
    /// Nothing is ever looked at.
    pub fn off() -> Self {
        Self { consecutive_gateway_errors: 0, consecutive_local_failures: 0, ..Self::default() }
    }
}

/// What makes a rate tell something.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// In percent: so many failures are too many.
    pub threshold: u32,
    /// So many instances must have the volume.
    pub minimum_hosts: u32,
    /// So many requests of an instance in an interval make its rate count.
    pub request_volume: u32,
}

/// Success rates against each other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuccessRate {
    /// So many standard deviations below the mean is an outlier.
    pub stdev_factor: f64,
    /// So many instances must have the volume.
    pub minimum_hosts: u32,
    /// So many requests of an instance in an interval make its rate count.
    pub request_volume: u32,
}

/// Latencies against each other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencyRule {
    /// So many times the median of the instances is too slow; more than 1.
    pub factor: f64,
    /// What is faster than this is never too slow.
    pub minimum: Duration,
    /// So many instances must have the volume.
    pub minimum_hosts: u32,
    /// So many requests of an instance in an interval make its latency count.
    pub request_volume: u32,
}
