//! When a certificate is renewed, and when an order that failed is tried again. Times are seconds since 1970 where they outlive the
//! process, so that a restart changes nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When an authority suggests that a certificate be renewed (RFC 9773 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    /// Not before.
    pub(crate) start: u64,
    /// Not after.
    pub(crate) end: u64,
}

/// What the time of renewal depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Lifetime {
    /// Valid from.
    pub(crate) not_before: u64,
    /// Valid until.
    pub(crate) not_after: u64,
    /// 0.0 to 1.0, drawn once when it was issued: the same point after a restart, another one for each certificate.
    pub(crate) jitter: f64,
    /// What the authority suggests.
    pub(crate) window: Option<Window>,
}

impl Lifetime {
    /// When it is to be renewed. With a window of the authority's that makes sense: at the certificate's own point in it. Otherwise
    /// when two thirds of its life are over, and up to a thirtieth later.
    pub(crate) fn due(&self) -> u64 {
        match self.window.filter(|window| window.start < window.end && window.start < self.not_after) {
            Some(window) => {
                let at =
                    window.start.saturating_add(share(window.end.saturating_sub(window.start), self.jitter));
                // A window that ends after the certificate is no reason to let it end.
                at.min(self.last_call())
            }
            None => {
                let life = self.life();
                self.not_before.saturating_add(life / 3 * 2).saturating_add(share(life / 30, self.jitter))
            }
        }
    }

    /// When a twentieth of its life is left: from here on it is urgent.
    pub(crate) fn last_call(&self) -> u64 {
        self.not_after.saturating_sub(self.life() / 20)
    }

    /// How long a certificate that was just issued is left alone, whatever the authority suggests: one that always suggests the past is
    /// not asked in a circle.
    pub(crate) fn rest(&self) -> Duration {
        Duration::from_secs((self.life() / 10).min(3_600))
    }

    fn life(&self) -> u64 {
        self.not_after.saturating_sub(self.not_before)
    }
}

fn share(of: u64, part: f64) -> u64 {
    // Both are far below 2^53.
    (of as f64 * part.clamp(0.0, 1.0)) as u64
}

/// The first wait after an order that failed; each further one is four times as long, so that an authority which allows five
/// failures in an hour (Let's Encrypt) is not asked a sixth time.
const FIRST: Duration = Duration::from_secs(30);

/// The longest wait after an order that failed.
const LONGEST: Duration = Duration::from_secs(6 * 3_600);

/// The shortest wait when an authority says that we ask too often and not until when.
const TOO_OFTEN: Duration = Duration::from_secs(3_600);

/// The longest wait that an authority can impose: what is longer is a mistake, or meant to harm.
pub(crate) const IMPOSED: Duration = Duration::from_secs(8 * 86_400);

/// How an order ended that gave no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setback {
    /// It failed.
    Failed,
    /// The authority says that we ask too often, and until when if it does.
    TooOften(Option<Duration>),
    /// Another process is at it.
    Elsewhere,
}

/// How long to wait after the `failures`-th failure in a row, which is 1 the first time. `chance` is 0.0 to 1.0: a fifth more or less,
/// so that many that fail together do not come back together.
pub(crate) fn wait(setback: Setback, failures: u32, chance: f64) -> Duration {
    let spread = 0.8 + 0.4 * chance.clamp(0.0, 1.0);
    match setback {
        Setback::Elsewhere => Duration::from_secs(15).mul_f64(spread),
        Setback::Failed => {
            let factor = 4_u32.saturating_pow(failures.saturating_sub(1).min(8));
            FIRST.saturating_mul(factor).min(LONGEST).mul_f64(spread)
        }
        Setback::TooOften(told) => {
            let own = wait(Setback::Failed, failures, chance);
            // Never earlier than told; a little later, not all at once.
            let told = told.unwrap_or(TOO_OFTEN).min(IMPOSED).mul_f64(1.0 + 0.1 * chance.clamp(0.0, 1.0));
            told.max(own)
        }
    }
}

/// How long to wait until the authority's suggestion is asked for again: as it says, between an hour and a day (RFC 9773 section
/// 4.3.2 leaves the bounds to the client); six hours after a failure (section 4.3.3).
pub(crate) fn ask_again(told: Option<Duration>) -> Duration {
    const DAY: Duration = Duration::from_secs(86_400);
    told.map_or(DAY / 4, |told| told.clamp(DAY / 24, DAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn ninety_days(jitter: f64, window: Option<Window>) -> Lifetime {
        Lifetime { not_before: 1_000 * DAY, not_after: 1_090 * DAY, jitter, window }
    }

    #[test]
    fn two_thirds_of_its_life_and_a_little() {
        assert_eq!(ninety_days(0.0, None).due(), 1_060 * DAY);
        assert_eq!(ninety_days(1.0, None).due(), 1_063 * DAY);
        let six_days = Lifetime { not_before: 0, not_after: 6 * DAY, jitter: 0.5, window: None };
        assert!((4 * DAY..5 * DAY).contains(&six_days.due()));
    }

    #[test]
    fn a_window_of_the_authority_is_followed() {
        let window = |start: u64, end: u64| Some(Window { start: start * DAY, end: end * DAY });
        assert_eq!(ninety_days(0.5, window(1_070, 1_072)).due(), 1_071 * DAY);
        // Revoked: the window lies in the past, so it is due at once.
        assert_eq!(ninety_days(0.5, window(900, 902)).due(), 901 * DAY);
        // Nonsense is as no window.
        for bad in [window(1_072, 1_070), window(1_070, 1_070), window(1_200, 1_300)] {
            assert_eq!(ninety_days(0.0, bad).due(), 1_060 * DAY, "{bad:?}");
        }
        // Too late is never waited for.
        let late = ninety_days(1.0, window(1_089, 1_500));
        assert_eq!(late.due(), late.last_call());
    }

    #[test]
    fn a_certificate_of_the_year_1970_or_9999_overflows_nothing() {
        for (not_before, not_after) in [(0, 0), (0, u64::MAX), (u64::MAX, 0), (u64::MAX, u64::MAX)] {
            for window in [None, Some(Window { start: 0, end: u64::MAX })] {
                let odd = Lifetime { not_before, not_after, jitter: f64::NAN, window };
                let _ = (odd.due(), odd.last_call());
            }
        }
    }

    #[test]
    fn failures_are_tried_again_later_and_later_and_never_five_times_in_an_hour() {
        let waits: Vec<u64> = (1..=8).map(|n| wait(Setback::Failed, n, 0.0).as_secs()).collect();
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]), "{waits:?}");
        assert!(waits[..5].iter().sum::<u64>() > 3_600, "{waits:?}");
        assert_eq!(wait(Setback::Failed, u32::MAX, 1.0), LONGEST.mul_f64(1.2));
    }

    #[test]
    fn what_an_authority_says_is_waited_for_and_never_for_ever() {
        let told = |secs| wait(Setback::TooOften(Some(Duration::from_secs(secs))), 1, 0.0);
        assert_eq!(told(7_200), Duration::from_secs(7_200));
        assert_eq!(told(0), wait(Setback::Failed, 1, 0.0));
        assert_eq!(told(u64::MAX), IMPOSED);
        assert_eq!(wait(Setback::TooOften(None), 1, 0.0), TOO_OFTEN);
        assert!(wait(Setback::TooOften(Some(TOO_OFTEN)), 1, 1.0) > TOO_OFTEN);
    }

    #[test]
    fn the_suggestion_is_asked_for_between_every_hour_and_every_day() {
        let hours = |told| ask_again(told).as_secs() / 3_600;
        assert_eq!(hours(Some(Duration::ZERO)), 1);
        assert_eq!(hours(Some(Duration::from_secs(6 * 3_600))), 6);
        assert_eq!(hours(Some(Duration::MAX)), 24);
        assert_eq!(hours(None), 6);
    }
}
