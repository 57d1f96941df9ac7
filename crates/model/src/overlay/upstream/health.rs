//! `outlier` and `breaker` of an upstream.

use std::time::Duration;

use tutti_ports::routing::{Breaker, LatencyRule, Outlier, Rate, SuccessRate};

use super::super::types::upstream as types;
use super::Reader;
use crate::value::duration;

impl Reader<'_> {
    pub(super) fn outlier(&mut self, outlier: &types::OutlierOrOff) -> Outlier {
        let rules = match outlier {
            types::OutlierOrOff::Whether(false) => return Outlier::off(),
            types::OutlierOrOff::Whether(true) => return Outlier::default(),
            types::OutlierOrOff::Rules(rules) => rules,
        };
        let plain = Outlier::default();
        let success_rate = rules.success_rate.as_ref().map(|rule| SuccessRate {
            stdev_factor: self.above("success_rate.stdev_factor", rule.stdev_factor.unwrap_or(1.9), 0.0),
            minimum_hosts: rule.minimum_hosts.unwrap_or(5),
            request_volume: rule.request_volume.unwrap_or(100),
        });
        let failure_percentage = rules.failure_percentage.as_ref().map(|rule| Rate {
            threshold: rule.threshold.unwrap_or(85),
            minimum_hosts: rule.minimum_hosts.unwrap_or(5),
            request_volume: rule.request_volume.unwrap_or(50),
        });
        let latency = rules.latency.as_ref().map(|rule| LatencyRule {
            factor: self.above("latency.factor", rule.factor.unwrap_or(3.0), 1.0),
            minimum: length(rule.minimum.as_ref(), Duration::from_millis(50)),
            minimum_hosts: rule.minimum_hosts.unwrap_or(3),
            request_volume: rule.request_volume.unwrap_or(20),
        });
        let interval = self.some("outlier", "interval", rules.interval.as_ref(), plain.interval);
        Outlier {
            consecutive_5xx: rules.consecutive_5xx.unwrap_or(plain.consecutive_5xx),
            consecutive_gateway_errors: rules
                .consecutive_gateway_errors
                .unwrap_or(plain.consecutive_gateway_errors),
            consecutive_local_failures: rules
                .consecutive_local_failures
                .unwrap_or(plain.consecutive_local_failures),
            success_rate,
            failure_percentage,
            latency,
            interval,
            base_ejection: self.some(
                "outlier",
                "base_ejection",
                rules.base_ejection.as_ref(),
                plain.base_ejection,
            ),
            max_ejection: length(rules.max_ejection.as_ref(), plain.max_ejection),
            max_ejection_percent: rules.max_ejection_percent.unwrap_or(plain.max_ejection_percent),
        }
    }

    pub(super) fn breaker(&mut self, breaker: &types::BreakerOrOn) -> Option<Breaker> {
        let rules = match breaker {
            types::BreakerOrOn::Whether(false) => return None,
            types::BreakerOrOn::Whether(true) => return Some(Breaker::default()),
            types::BreakerOrOn::Rules(rules) => rules,
        };
        let plain = Breaker::default();
        let open = self.some("breaker", "open", rules.open.as_ref(), plain.open);
        Some(Breaker {
            window: self.some("breaker", "window", rules.window.as_ref(), plain.window),
            minimum: rules.minimum.unwrap_or(plain.minimum),
            failure_percent: rules.failure_percent.unwrap_or(plain.failure_percent),
            open,
            open_max: length(rules.open_max.as_ref(), plain.open_max).max(open),
            probes: rules.probes.unwrap_or(plain.probes),
        })
    }

    /// A length of time that is not zero.
    fn some(&mut self, key: &str, name: &str, text: Option<&String>, plain: Duration) -> Duration {
        let length = length(text, plain);
        if length.is_zero() {
            self.bad(key, format!("`{name}` is longer than nothing"));
        }
        length
    }

    fn above(&mut self, name: &str, number: f64, least: f64) -> f64 {
        if !number.is_finite() || number <= least {
            self.bad("outlier", format!("`{name}` is more than {least}, and not {number}"));
        }
        number
    }
}

fn length(text: Option<&String>, plain: Duration) -> Duration {
    text.and_then(|text| duration::parse(text).ok()).unwrap_or(plain)
}
