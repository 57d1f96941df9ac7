//! What Tutti does about services that fail, in three settings.

use std::fmt;

/// A setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policies {
    /// Nothing that can be turned off.
    Off,
    /// What needs no word.
    Default,
    /// What a team would say that knows this shop.
    On,
}

impl Policies {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Off, Self::Default, Self::On];

    /// How each service is called, as the end of its map.
    pub fn upstream(self) -> &'static str {
        match self {
            Self::Off => ", upstream: { outlier: false, retry_budget: { percent: 0, min_per_second: 0 } }",
            Self::Default => "",
            Self::On => {
                ", upstream: { outlier: { interval: 1s, consecutive_local_failures: 2, latency: { minimum: 100ms, request_volume: 5, \
                 minimum_hosts: 2 } }, breaker: { open: 1s, minimum: 5 } }"
            }
        }
    }

    /// The routes.
    pub fn routes(self) -> &'static str {
        match self {
            Self::Off => OFF,
            Self::Default => "routes:\n  - { path: /images, to: catalog }\n  - { path: /, to: web }\n",
            Self::On => ON,
        }
    }
}

impl fmt::Display for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Default => "default",
            Self::On => "on",
        })
    }
}

const OFF: &str = "routes:
  - { path: /images, to: catalog, retries: 0 }
  - { path: /, to: web, retries: 0 }
";

const ON: &str = "routes:
  - path: /images
    to: catalog
    per_try_timeout: 1s
    hedge: p95
    retries: { attempts: 2, on: [connect_failure, reset, timeout, gateway_error] }
    fallback: { body: '<svg xmlns=\"http://www.w3.org/2000/svg\"/>', content_type: image/svg+xml }
  - path: /
    method: [GET, HEAD]
    to: web
    per_try_timeout: 3s
    hedge: p95
    retries: { attempts: 2, on: [connect_failure, reset, timeout, gateway_error] }
    fallback: { status: 503, body: 'The shop is being tidied up. Please come back in a minute.', content_type: text/plain }
  - { path: /, to: web }
";
