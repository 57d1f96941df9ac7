//! Outliers: instances whose answers are worse than they should be, or worse than their siblings' ("outlier detection", as
//! in Envoy). Failures of the instance's answers and failures to get any answer are counted apart.

use std::time::Duration;

use tutti_ports::routing::Outlier as Rules;

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With an answer that is no server error.
    Fine,
    /// With 500 to 599, but for the three of [`Outcome::Gateway`].
    ServerError,
    /// With 502, 503 or 504: what is behind the instance, or its queue, has failed.
    Gateway,
    /// Without an answer: refused, reset, malformed or too late.
    Local,
}

impl Outcome {
    /// What an answer's status says.
    pub fn of(status: u16) -> Self {
        match status {
            502..=504 => Outcome::Gateway,
            500..=599 => Outcome::ServerError,
            _ => Outcome::Fine,
        }
    }

    /// What a gRPC status says (grpc/grpc doc/http-grpc-status-mapping.md, read backwards): UNKNOWN, INTERNAL and DATA_LOSS
    /// are errors of the server; UNAVAILABLE and DEADLINE_EXCEEDED of what is behind it.
    pub fn of_grpc(status: u8) -> Self {
        match status {
            2 | 13 | 15 => Outcome::ServerError,
            4 | 14 => Outcome::Gateway,
            _ => Outcome::Fine,
        }
    }
}

/// Why an instance is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Server errors in a row.
    Consecutive5xx,
    /// Gateway errors in a row.
    ConsecutiveGatewayErrors,
    /// Failures to get an answer in a row.
    ConsecutiveLocalFailures,
    /// Fewer successes than its siblings have.
    SuccessRate,
    /// More failures than are allowed.
    FailurePercentage,
    /// Slower than its siblings are.
    Latency,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 6] = [
        Reason::Consecutive5xx,
        Reason::ConsecutiveGatewayErrors,
        Reason::ConsecutiveLocalFailures,
        Reason::SuccessRate,
        Reason::FailurePercentage,
        Reason::Latency,
    ];

    /// The word for it in metrics and configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Consecutive5xx => "consecutive_5xx",
            Reason::ConsecutiveGatewayErrors => "consecutive_gateway_errors",
            Reason::ConsecutiveLocalFailures => "consecutive_local_failures",
            Reason::SuccessRate => "success_rate",
            Reason::FailurePercentage => "failure_percentage",
            Reason::Latency => "latency",
        }
    }
}

/// Failures in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streaks {
    /// Server errors, gateway errors included.
    pub errors: u16,
    /// Gateway errors.
    pub gateway: u16,
    /// Failures to get an answer.
    pub local: u16,
}

impl Streaks {
    /// With one more outcome.
    #[must_use]
    pub fn after(self, outcome: Outcome) -> Self {
        match outcome {
            Outcome::Fine => Self::default(),
            Outcome::ServerError => Self { errors: self.errors.saturating_add(1), gateway: 0, local: 0 },
            Outcome::Gateway => Self {
                errors: self.errors.saturating_add(1),
                gateway: self.gateway.saturating_add(1),
                local: 0,
            },
            Outcome::Local => Self { local: self.local.saturating_add(1), ..self },
        }
    }

    /// Whether one of them is too long.
    pub fn due(self, rules: &Rules) -> Option<Reason> {
        let over = |streak: u16, most: u32| most > 0 && u32::from(streak) >= most;
        if over(self.local, rules.consecutive_local_failures) {
            Some(Reason::ConsecutiveLocalFailures)
        } else if over(self.gateway, rules.consecutive_gateway_errors) {
            Some(Reason::ConsecutiveGatewayErrors)
        } else if over(self.errors, rules.consecutive_5xx) {
            Some(Reason::Consecutive5xx)
        } else {
            None
        }
    }
}

/// What an instance has shown in an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Tries that ended well.
    pub successes: u64,
    /// Tries that did not.
    pub failures: u64,
    /// How long its answers take, in seconds; 0: not known.
    pub latency: f64,
}

impl Sample {
    fn volume(&self) -> u64 {
        self.successes + self.failures
    }

    /// In percent.
    fn success_rate(&self) -> f64 {
        self.successes as f64 * 100.0 / self.volume().max(1) as f64
    }
}

/// The instances whose rates stand out, worst reason first.
pub fn outliers(rules: &Rules, samples: &[Sample]) -> Vec<(usize, Reason)> {
    let counted = |volume: u32, hosts: u32| -> Vec<(usize, &Sample)> {
        let enough = |one: &(usize, &Sample)| one.1.volume() >= u64::from(volume.max(1));
        let counted: Vec<_> = samples.iter().enumerate().filter(enough).collect();
        if counted.len() as u64 >= u64::from(hosts) { counted } else { Vec::new() }
    };
    let mut out = Vec::new();
    if let Some(rule) = &rules.failure_percentage {
        for (at, sample) in counted(rule.request_volume, rule.minimum_hosts) {
            if 100.0 - sample.success_rate() >= f64::from(rule.threshold) {
                out.push((at, Reason::FailurePercentage));
            }
        }
    }
    if let Some(rule) = &rules.success_rate {
        let counted = counted(rule.request_volume, rule.minimum_hosts);
        let least = least_rate(&counted, rule.stdev_factor);
        let worse = counted.into_iter().filter(|(_, sample)| sample.success_rate() < least);
        out.extend(worse.map(|(at, _)| (at, Reason::SuccessRate)));
    }
    if let Some(rule) = &rules.latency {
        let counted = counted(rule.request_volume, rule.minimum_hosts);
        let most = (median(counted.iter().map(|(_, sample)| sample.latency)) * rule.factor)
            .max(rule.minimum.as_secs_f64());
        let slow = counted.into_iter().filter(|(_, sample)| sample.latency > most);
        out.extend(slow.map(|(at, _)| (at, Reason::Latency)));
    }
    out
}

/// The mean of the rates less `factor` standard deviations.
fn least_rate(counted: &[(usize, &Sample)], factor: f64) -> f64 {
    let count = counted.len().max(1) as f64;
    let mean = counted.iter().map(|(_, sample)| sample.success_rate()).sum::<f64>() / count;
    let variance =
        counted.iter().map(|(_, sample)| (sample.success_rate() - mean).powi(2)).sum::<f64>() / count;
    mean - factor * variance.sqrt()
}

/// The middle one; of an even number the lower of the two in the middle, so that of two the slower one can stand out.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

/// Whether one more of `total` instances may be passed over when `ejected` are. Never the last one, and none if then
/// fewer than `panic_threshold` percent were left. One may always be, whatever the percentage says.
pub fn may_eject(rules: &Rules, ejected: usize, total: usize, panic_threshold: u32) -> bool {
    let left = total.saturating_sub(ejected + 1);
    left > 0
        && (ejected == 0 || (ejected + 1) * 100 <= rules.max_ejection_percent as usize * total)
        && left * 100 >= panic_threshold as usize * total
}

/// For how long an instance is passed over the `times`th time.
pub fn ejection(rules: &Rules, times: u32) -> Duration {
    rules.base_ejection.saturating_mul(times.max(1)).min(rules.max_ejection.max(rules.base_ejection))
}

/// How often an instance counts as having been passed over: one less for each interval that it has been well since.
pub fn times(rules: &Rules, times: u32, well_for: Duration) -> u32 {
    let interval = rules.interval.as_millis().max(1);
    let forgiven = u32::try_from(well_for.as_millis() / interval).unwrap_or(u32::MAX);
    times.saturating_sub(forgiven)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tutti_ports::routing::{LatencyRule, Rate, SuccessRate};

    const S: Duration = Duration::from_secs(1);

    fn sample(successes: u64, failures: u64) -> Sample {
        Sample { successes, failures, latency: 0.0 }
    }

    #[test]
    fn streaks_of_answers_and_of_failures_to_get_one_are_counted_apart() {
        let rules = Rules { consecutive_5xx: 3, ..Rules::default() };
        let run = |outcomes: &[Outcome]| {
            outcomes.iter().fold(Streaks::default(), |streaks, one| streaks.after(*one)).due(&rules)
        };
        use Outcome::{Fine, Gateway, Local, ServerError};
        assert_eq!(run(&[ServerError, Gateway]), None);
        assert_eq!(run(&[ServerError, Gateway, ServerError]), Some(Reason::Consecutive5xx));
        assert_eq!(run(&[ServerError, Gateway, Fine, ServerError]), None);
        assert_eq!(run(&[Gateway; 5]), Some(Reason::ConsecutiveGatewayErrors));
        assert_eq!(run(&[Local; 4]), None);
        assert_eq!(run(&[Local; 5]), Some(Reason::ConsecutiveLocalFailures));
        // An answer, though an error, shows that connections are made; no connection says nothing of the answers.
        assert_eq!(run(&[Local, Local, Local, Local, ServerError, Local]), None);
        assert_eq!(run(&[ServerError, ServerError, Local, ServerError]), Some(Reason::Consecutive5xx));
        assert_eq!(Streaks { errors: 999, gateway: 999, local: 999 }.due(&Rules::off()), None);
    }

    #[test]
    fn statuses_mean_what_envoy_says() {
        assert_eq!([200, 404, 500, 501, 502, 503, 504, 505].map(Outcome::of), {
            use Outcome::{Fine, Gateway, ServerError};
            [Fine, Fine, ServerError, ServerError, Gateway, Gateway, Gateway, ServerError]
        });
        assert_eq!(Outcome::of_grpc(14), Outcome::Gateway);
        assert_eq!(Outcome::of_grpc(13), Outcome::ServerError);
        assert_eq!(Outcome::of_grpc(5), Outcome::Fine);
    }

    #[test]
    fn a_rate_stands_out_against_the_others() {
        let rule = SuccessRate { stdev_factor: 1.5, minimum_hosts: 4, request_volume: 50 };
        let rules = Rules { success_rate: Some(rule), ..Rules::default() };
        let mut samples = vec![sample(100, 0), sample(99, 1), sample(100, 0), sample(98, 2), sample(60, 40)];
        assert_eq!(outliers(&rules, &samples), [(4, Reason::SuccessRate)]);
        // All alike: nobody stands out, however bad they are.
        assert_eq!(outliers(&rules, &[sample(50, 50); 5]), []);
        // Too few that have been asked often enough.
        samples[0] = sample(10, 0);
        samples[1] = sample(10, 0);
        assert_eq!(outliers(&rules, &samples), []);
    }

    #[test]
    fn a_fixed_share_of_failures_is_too_many() {
        let rule = Rate { threshold: 40, minimum_hosts: 1, request_volume: 10 };
        let rules = Rules { failure_percentage: Some(rule), ..Rules::default() };
        let samples = [sample(7, 3), sample(6, 4), sample(0, 9), sample(0, 10)];
        assert_eq!(
            outliers(&rules, &samples),
            [(1, Reason::FailurePercentage), (3, Reason::FailurePercentage)]
        );
    }

    #[test]
    fn the_slow_one_stands_out_against_the_median() {
        let rule = LatencyRule { factor: 3.0, minimum: S / 10, minimum_hosts: 2, request_volume: 10 };
        let rules = Rules { latency: Some(rule), ..Rules::default() };
        let of = |latencies: &[f64]| -> Vec<usize> {
            let samples: Vec<Sample> =
                latencies.iter().map(|latency| Sample { latency: *latency, ..sample(10, 0) }).collect();
            outliers(&rules, &samples).into_iter().map(|(at, _)| at).collect()
        };
        assert_eq!(of(&[0.05, 0.04, 0.2]), [2]);
        assert_eq!(of(&[0.05, 0.2]), [1]);
        // Slower than the others, and fast enough.
        assert_eq!(of(&[0.01, 0.01, 0.09]), [0_usize; 0]);
        assert_eq!(of(&[0.5, 0.6, 0.7]), [0_usize; 0]);
    }

    #[test]
    fn the_time_grows_and_is_forgiven() {
        let rules = Rules::default();
        assert_eq!([1, 2, 3, 99].map(|times| ejection(&rules, times).as_secs()), [10, 20, 30, 300]);
        assert_eq!([0, 9, 10, 25, 999].map(|well| times(&rules, 3, S * well)), [3, 3, 2, 1, 0]);
    }

    proptest! {
        #[test]
        fn somebody_is_always_left(percent in 0_u32..=100, total in 0_usize..40, panic in 0_u32..=100) {
            let rules = Rules { max_ejection_percent: percent, ..Rules::default() };
            let mut ejected = 0;
            while may_eject(&rules, ejected, total, panic) {
                ejected += 1;
            }
            prop_assert!(ejected == 0 || ejected < total);
            prop_assert!(ejected <= 1 || ejected * 100 <= percent as usize * total);
            prop_assert!(ejected == 0 || (total - ejected) * 100 >= panic as usize * total);
            prop_assert!(ejected > 0 || total < 2 || panic > 0);
        }
    }
}
