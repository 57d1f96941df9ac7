//! A bulkhead: at most so many requests at a time, a bounded crowd that waits, and who is turned away.
//!
//! Who matters more goes in first, and when the crowd is full, who matters least is turned away for one that matters more.
//! When the crowd has not been gone for a while, waiting is cut short for those who matter least, and the newest goes in first: whoever
//! has waited long has probably given up ("controlled delay" and "adaptive LIFO", Maurer, "Fail at Scale", ACM Queue 2015, after
//! CoDel, RFC 8289). So at any load those who are let in are answered in time, instead of everybody too late.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::adaptive::{Adaptive, Bounds, Sample};

/// What a gate allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Requests at a time; `None`: as the adaptive limit says, or any number.
    pub limit: Option<u32>,
    /// Requests that wait.
    pub queue: u32,
    /// How long one waits.
    pub patience: Duration,
    /// A limit that is found out.
    pub adaptive: Option<Bounds>,
}

/// After the crowd has not been gone for so long, it is an overload and no burst.
const STANDING: Duration = Duration::from_millis(100);
/// How long one waits then.
const HASTE: Duration = Duration::from_millis(20);

/// Why a request was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The crowd is full of those that matter as much.
    Full,
    /// It waited too long.
    Late,
}

/// What becomes of a request that wants in.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry<W> {
    /// It is in.
    Admitted,
    /// It waits; somebody who matters less may have been turned away for it.
    Waiting(Option<W>),
    /// It is turned away.
    Refused(W),
}

/// A gate. `W` is what is called when a waiting request gets in or is turned away.
#[derive(Debug)]
pub struct Gate<W> {
    rules: Rules,
    adaptive: Option<Adaptive>,
    inside: u32,
    waiting: u32,
    /// By priority; in each the oldest first.
    crowd: BTreeMap<u8, VecDeque<(Duration, W)>>,
    /// Since when somebody has always been waiting.
    crowded: Option<Crowded>,
}

#[derive(Clone, Copy, Debug)]
struct Crowded {
    since: Duration,
    /// The least priority of all that have waited since.
    least: u8,
}

impl<W> Gate<W> {
    /// A gate with nobody there.
    pub fn new(rules: Rules, now: Duration) -> Self {
        let adaptive = rules.adaptive.map(|bounds| Adaptive::new(bounds, now));
        Self { rules, adaptive, inside: 0, waiting: 0, crowd: BTreeMap::new(), crowded: None }
    }

    /// From now on other rules hold. Nobody who is in is put out.
    pub fn adjust(&mut self, rules: Rules, now: Duration) {
        if self.rules.adaptive != rules.adaptive {
            self.adaptive = rules.adaptive.map(|bounds| Adaptive::new(bounds, now));
        }
        self.rules = rules;
    }

    /// Requests that may be in at a time.
    pub fn limit(&self) -> u32 {
        let fixed = self.rules.limit.unwrap_or(u32::MAX);
        self.adaptive.as_ref().map_or(fixed, |adaptive| adaptive.limit().min(fixed))
    }

    /// Requests that are in.
    pub fn inside(&self) -> u32 {
        self.inside
    }

    /// Requests that wait.
    pub fn waiting(&self) -> u32 {
        self.waiting
    }

    /// Lets a request in at once, if there is room and nobody waits.
    pub fn admit(&mut self) -> bool {
        let room = self.waiting == 0 && self.inside < self.limit();
        self.inside += u32::from(room);
        room
    }

    /// A request wants in. `waiter` is kept if it has to wait.
    pub fn enter(&mut self, priority: u8, waiter: W, now: Duration) -> Entry<W> {
        if self.admit() {
            return Entry::Admitted;
        }
        let mut out = None;
        if self.waiting >= self.rules.queue {
            let overloaded = self.is_overloaded(now);
            let Some(mut least) = self.crowd.first_entry() else { return Entry::Refused(waiter) };
            let stale = |since: Duration| overloaded && now.saturating_sub(since) >= HASTE;
            let oldest = least.get().front().is_some_and(|(since, _)| stale(*since));
            if *least.key() > priority || (*least.key() == priority && !oldest) {
                return Entry::Refused(waiter);
            }
            out = least.get_mut().pop_front().map(|(_, waiter)| waiter);
            if least.get().is_empty() {
                least.remove();
            }
            self.waiting = self.waiting.saturating_sub(1);
        }
        let crowded = self.crowded.get_or_insert(Crowded { since: now, least: priority });
        crowded.least = crowded.least.min(priority);
        self.waiting += 1;
        self.crowd.entry(priority).or_default().push_back((now, waiter));
        Entry::Waiting(out)
    }

    /// How long a request that begins to wait now may wait. Whoever goes in before others has a place soon, however slow the
    /// upstream is, and keeps its time.
    pub fn patience(&self, priority: u8, now: Duration) -> Duration {
        let last = self.crowded.is_some_and(|crowded| priority <= crowded.least);
        if last && self.is_overloaded(now) { self.rules.patience.min(HASTE) } else { self.rules.patience }
    }

    /// A request that was in has ended.
    pub fn leave(&mut self, sample: Option<Sample>, now: Duration) {
        if let (Some(adaptive), Some(sample)) = (&mut self.adaptive, sample) {
            adaptive.ended(sample, self.inside, now);
        }
        self.inside = self.inside.saturating_sub(1);
    }

    /// The next to get in, if there is room. It counts as in.
    pub fn next(&mut self, now: Duration) -> Option<W> {
        if self.inside >= self.limit() {
            return None;
        }
        let overloaded = self.is_overloaded(now);
        let mut most = self.crowd.last_entry()?;
        let line = most.get_mut();
        let (_, waiter) = if overloaded { line.pop_back() } else { line.pop_front() }?;
        if line.is_empty() {
            most.remove();
        }
        self.inside += 1;
        self.gone();
        Some(waiter)
    }

    /// What was given by [`Gate::next`] was not wanted any more.
    pub fn give_back(&mut self) {
        self.inside = self.inside.saturating_sub(1);
    }

    /// Takes out of the crowd who does not wait any longer.
    pub fn forget(&mut self, priority: u8, is: impl Fn(&W) -> bool) {
        let Some(line) = self.crowd.get_mut(&priority) else { return };
        let Some(at) = line.iter().position(|(_, waiter)| is(waiter)) else { return };
        line.remove(at);
        if line.is_empty() {
            self.crowd.remove(&priority);
        }
        self.gone();
    }

    fn gone(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
        if self.waiting == 0 {
            self.crowded = None;
        }
    }

    fn is_overloaded(&self, now: Duration) -> bool {
        self.crowded.is_some_and(|crowded| now.saturating_sub(crowded.since) >= STANDING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULES: Rules = Rules { limit: Some(2), queue: 3, patience: Duration::from_secs(1), adaptive: None };

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn gate() -> Gate<u32> {
        let mut gate = Gate::new(RULES, Duration::ZERO);
        assert_eq!(gate.enter(128, 1, at(0)), Entry::Admitted);
        assert_eq!(gate.enter(128, 2, at(0)), Entry::Admitted);
        gate
    }

    #[test]
    fn a_bounded_crowd_waits_in_order() {
        let mut gate = gate();
        for n in 3..6 {
            assert_eq!(gate.enter(128, n, at(0)), Entry::Waiting(None));
        }
        assert_eq!(gate.enter(128, 6, at(0)), Entry::Refused(6));
        assert_eq!(gate.next(at(1)), None);
        gate.leave(None, at(1));
        assert_eq!((gate.next(at(1)), gate.next(at(1))), (Some(3), None));
        assert_eq!((gate.inside(), gate.waiting()), (2, 2));
    }

    #[test]
    fn who_matters_more_goes_first_and_who_matters_less_is_turned_away() {
        let mut gate = gate();
        for (n, priority) in [(3, 64), (4, 64), (5, 128)] {
            assert_eq!(gate.enter(priority, n, at(0)), Entry::Waiting(None));
        }
        assert_eq!(gate.enter(192, 6, at(0)), Entry::Waiting(Some(3)));
        assert_eq!(gate.enter(64, 7, at(0)), Entry::Refused(7));
        let mut order = Vec::new();
        for _ in 0..3 {
            gate.leave(None, at(1));
            order.extend(gate.next(at(1)));
        }
        assert_eq!(order, [6, 5, 4]);
    }

    #[test]
    fn in_an_overload_the_newest_goes_first_and_waiting_is_short() {
        let mut gate = gate();
        gate.enter(128, 3, at(0));
        gate.enter(128, 4, at(90));
        assert_eq!(gate.patience(128, at(99)), at(1000));
        assert_eq!((gate.patience(128, at(100)), gate.patience(129, at(100))), (at(20), at(1000)));
        gate.leave(None, at(100));
        assert_eq!(gate.next(at(100)), Some(4));
        // Once the crowd is gone it is over.
        gate.forget(128, |waiter| *waiter == 3);
        assert_eq!((gate.waiting(), gate.patience(128, at(200))), (0, at(1000)));
    }

    #[test]
    fn in_an_overload_who_has_waited_long_makes_room() {
        let mut gate = gate();
        for n in 3..6 {
            gate.enter(128, n, at(0));
        }
        assert_eq!(gate.enter(128, 6, at(99)), Entry::Refused(6));
        assert_eq!(gate.enter(128, 7, at(100)), Entry::Waiting(Some(3)));
        assert_eq!(gate.enter(127, 8, at(100)), Entry::Refused(8));
    }

    #[test]
    fn other_rules_hold_at_once() {
        let mut gate = gate();
        gate.enter(128, 3, at(0));
        gate.adjust(Rules { limit: Some(3), ..RULES }, at(0));
        assert_eq!(gate.next(at(0)), Some(3));
    }

    proptest! {
        #[test]
        fn bounds_hold_and_nobody_is_lost(steps in proptest::collection::vec((0_u8..4, 0_u8..4, 0_u64..30), 0..300)) {
            let mut gate = Gate::new(RULES, Duration::ZERO);
            let (mut now, mut entered, mut left, mut refused) = (0, 0_u32, 0_u32, 0_u32);
            for (n, (what, priority, wait)) in (0_u32..).zip(steps) {
                now += wait;
                match what {
                    0 | 1 => {
                        entered += 1;
                        match gate.enter(priority, n, at(now)) {
                            Entry::Refused(_) | Entry::Waiting(Some(_)) => refused += 1,
                            Entry::Admitted | Entry::Waiting(None) => {}
                        }
                    }
                    2 if gate.inside() > 0 => {
                        gate.leave(None, at(now));
                        left += 1;
                    }
                    _ => {}
                }
                while gate.next(at(now)).is_some() {}
                prop_assert!(gate.inside() <= 2 && gate.waiting() <= 3);
                prop_assert_eq!(entered, gate.inside() + gate.waiting() + left + refused);
                let held: usize = gate.crowd.values().map(VecDeque::len).sum();
                prop_assert_eq!(held, gate.waiting() as usize);
            }
        }
    }
}
