//! What clients may bring up: how many names, how fast, and for how long a refusal is remembered. A stranger chooses the names.

use std::collections::HashMap;
use std::time::Duration;

use tutti_core::limits;

/// How long a refusal is remembered.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Why a name is not asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It was refused a moment ago.
    Again,
    /// As many names as there may be have a certificate.
    Full,
    /// Too many names in a minute.
    TooFast,
}

impl Refusal {
    /// The word for metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Refusal::Again => "refused_before",
            Refusal::Full => "too_many_names",
            Refusal::TooFast => "too_fast",
        }
    }
}

/// The gate. Times are monotonic.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Names that may begin now; fractions count.
    tokens: f64,
    /// When that was so.
    at: Duration,
    /// Refused names, and until when that is remembered.
    refused: HashMap<String, Duration>,
}

impl Gate {
    pub(crate) fn new(now: Duration) -> Self {
        Self { tokens: f64::from(limits::ON_DEMAND_PER_MINUTE), at: now, refused: HashMap::new() }
    }

    /// Whether a new name may be asked for (and counts it), when `held` names have been before.
    pub(crate) fn admit(&mut self, now: Duration, name: &str, held: usize) -> Result<(), Refusal> {
        if self.refused.get(name).is_some_and(|until| *until > now) {
            return Err(Refusal::Again);
        }
        if held >= limits::ON_DEMAND_NAMES {
            return Err(Refusal::Full);
        }
        let most = f64::from(limits::ON_DEMAND_PER_MINUTE);
        let since = now.saturating_sub(self.at).as_secs_f64();
        self.tokens = (self.tokens + since * most / 60.0).min(most);
        self.at = now;
        if self.tokens < 1.0 {
            return Err(Refusal::TooFast);
        }
        self.tokens -= 1.0;
        Ok(())
    }

    /// Remembers that a name was refused.
    pub(crate) fn refuse(&mut self, now: Duration, name: &str) {
        if self.refused.len() >= limits::ON_DEMAND_REFUSED {
            self.refused.retain(|_, until| *until > now);
        }
        if self.refused.len() < limits::ON_DEMAND_REFUSED {
            self.refused.insert(name.to_owned(), now + REMEMBERED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);

    #[test]
    fn so_many_in_a_minute_and_then_one_at_a_time() {
        let mut gate = Gate::new(NOW);
        let admitted = (0..100).filter(|n| gate.admit(NOW, &format!("{n}.test"), 0).is_ok()).count();
        assert_eq!(admitted, limits::ON_DEMAND_PER_MINUTE as usize);
        assert_eq!(gate.admit(NOW, "a.test", 0), Err(Refusal::TooFast));
        let later = NOW + Duration::from_secs(6);
        assert_eq!(gate.admit(later, "a.test", 0), Ok(()));
        assert_eq!(gate.admit(later, "b.test", 0), Err(Refusal::TooFast));
        let much_later = NOW + Duration::from_secs(86_400);
        let admitted = (0..100).filter(|n| gate.admit(much_later, &format!("{n}.test"), 0).is_ok()).count();
        assert_eq!(admitted, limits::ON_DEMAND_PER_MINUTE as usize);
    }

    #[test]
    fn a_refused_name_costs_nothing_for_a_minute() {
        let mut gate = Gate::new(NOW);
        gate.refuse(NOW, "evil.test");
        assert_eq!(gate.admit(NOW + Duration::from_secs(59), "evil.test", 0), Err(Refusal::Again));
        assert_eq!(gate.admit(NOW + Duration::from_secs(61), "evil.test", 0), Ok(()));
        assert_eq!(gate.admit(NOW, "good.test", limits::ON_DEMAND_NAMES), Err(Refusal::Full));
        for n in 0..limits::ON_DEMAND_REFUSED * 2 {
            gate.refuse(NOW, &format!("{n}.test"));
        }
        assert_eq!(gate.refused.len(), limits::ON_DEMAND_REFUSED);
    }
}
