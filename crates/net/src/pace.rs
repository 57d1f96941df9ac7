//! The least rate at which a peer must send or take bytes. Only time in which we wait for the peer counts: a body that
//! nobody reads is not slow.

use std::time::Duration;

use tokio::time::Instant;

/// Bytes earn time, but no more than so many times the grace: what a system's buffers took at once is no promise for hours.
const MOST_GRACES: u32 = 6;

/// A least rate, over the time that was waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinRate {
    /// Bytes for each second of waiting.
    pub bytes_per_second: u32,
    /// How long may be waited before the rate counts.
    pub grace: Duration,
}

/// How a peer keeps to a rate.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: MinRate,
    /// How long may still be waited.
    left: Duration,
    since: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(rate: MinRate) -> Self {
        Self { rate, left: rate.grace, since: None }
    }

    /// The peer has sent or taken bytes, and is not waited for any more.
    pub(crate) fn moved(&mut self, bytes: u64, now: Instant) {
        if let Some(since) = self.since.take() {
            self.left = self.left.saturating_sub(now.saturating_duration_since(since));
        }
        let earned = bytes.saturating_mul(1_000) / u64::from(self.rate.bytes_per_second.max(1));
        let most = self.rate.grace.saturating_mul(MOST_GRACES);
        self.left = self.left.saturating_add(Duration::from_millis(earned)).min(most);
    }

    /// The peer is waited for: how long it may take until its next byte.
    pub(crate) fn wait(&mut self, now: Instant) -> Duration {
        let since = *self.since.get_or_insert(now);
        self.left.saturating_sub(now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: MinRate = MinRate { bytes_per_second: 100, grace: Duration::from_secs(5) };

    #[tokio::test(start_paused = true)]
    async fn only_waiting_counts_and_bytes_earn_time() {
        let mut pace = Pace::new(RATE);
        let second = Duration::from_secs(1);
        let begin = Instant::now();
        assert_eq!(pace.wait(begin), 5 * second);
        assert_eq!(pace.wait(begin + 2 * second), 3 * second);
        pace.moved(200, begin + 2 * second);
        // Nobody waits for an hour.
        let later = begin + Duration::from_secs(3600);
        assert_eq!(pace.wait(later), 5 * second);
        pace.moved(1_000_000, later);
        assert_eq!(pace.wait(later), 30 * second);
        pace.moved(0, later + 25 * second);
        assert_eq!(pace.wait(later), 5 * second);
        pace.moved(0, later + 5 * second);
        assert_eq!(pace.wait(later + 5 * second), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drip_ends_when_its_grace_is_used_up() {
        let mut pace = Pace::new(RATE);
        let mut now = Instant::now();
        let mut drops = 0;
        while pace.wait(now) > Duration::from_millis(500) {
            now += Duration::from_millis(500);
            pace.moved(1, now);
            drops += 1;
            assert!(drops < 20);
        }
        assert!(drops >= 9, "{drops}");
    }
}
