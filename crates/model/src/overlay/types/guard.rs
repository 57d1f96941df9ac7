//! Who may ask, and how often.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Several;

/// Limits of rate.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RateLimits {
    /// One, by client address.
    One(String),
    /// Several: all must let a request pass, and if one does not, none counts it.
    Many(Vec<OneRateLimit>),
}

/// One limit of rate.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneRateLimit {
    /// By client address.
    Short(String),
    /// The whole.
    Long(RateLimit),
}

/// A limit of rate.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimit {
    /// How often: `100/s`, `10/m`, `1000/h`, `50/10s`.
    pub rate: String,
    /// How many at once; as many as the rate says of one window if it is not said. Only with `gcra`.
    pub burst: Option<u32>,
    /// What tells one caller from another: `address`, `header:NAME`, `api_key`, `claim:NAME`, `route`, or several of them; `all`: nothing, all
    /// callers count as one. Default: `address`.
    pub key: Option<Several>,
    /// How requests are counted. Default: `gcra`.
    pub algorithm: Option<Algorithm>,
    /// What callers are told it is called; the rate if it is not said.
    pub name: Option<String>,
    /// What happens when the counts are kept elsewhere and cannot be had. Default: `open`.
    pub when_unavailable: Option<Unavailable>,
}

/// How requests are counted.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// Spread evenly, save for a burst.
    Gcra,
    /// Never more than so many in any window, however it lies.
    SlidingWindow,
}

/// What happens to requests when it cannot be found out whether they may pass.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unavailable {
    /// They pass.
    Open,
    /// They are refused.
    Closed,
}

impl RateLimits {
    /// The limits, each with all its keys.
    pub(crate) fn list(this: Option<&Self>) -> Vec<RateLimit> {
        let short = |rate: &String| RateLimit { rate: rate.clone(), ..RateLimit::default() };
        match this {
            None => Vec::new(),
            Some(RateLimits::One(rate)) => vec![short(rate)],
            Some(RateLimits::Many(list)) => list
                .iter()
                .map(|one| match one {
                    OneRateLimit::Short(rate) => short(rate),
                    OneRateLimit::Long(limit) => limit.clone(),
                })
                .collect(),
        }
    }
}
