//! Choosing an instance: power of two choices by load, or round robin; both by weight.

use tutti_core::random::Rng;

/// How the instances of a service share its requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// Two are drawn by weight, and the one with fewer requests under way for its weight is taken
    /// (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing").
    #[default]
    LeastLoaded,
    /// In turn, each as often as its weight says, spread evenly ("smooth weighted round robin", as in nginx).
    RoundRobin,
}

/// Longest round-robin schedule; greater sums of weights are scaled down to it.
const SCHEDULE: u64 = 4_096;

/// The candidates' weights, prepared for drawing. Candidates are named by their position.
#[derive(Clone, Debug)]
pub struct Picker {
    balance: Balance,
    /// Running sums of the weights; empty when all are equal.
    sums: Vec<u64>,
    weights: Vec<u32>,
    schedule: Vec<u32>,
}

impl Picker {
    /// Prepares a choice among candidates of these weights; those of weight 0 are never chosen.
    pub fn new(balance: Balance, weights: &[u32]) -> Self {
        let equal = weights.windows(2).all(|pair| pair.first() == pair.last()) && weights.first() != Some(&0);
        let sums = if equal {
            Vec::new()
        } else {
            weights
                .iter()
                .scan(0_u64, |sum, weight| {
                    *sum += u64::from(*weight);
                    Some(*sum)
                })
                .collect()
        };
        let schedule = match balance {
            Balance::RoundRobin if !equal => smooth_schedule(weights),
            _ => Vec::new(),
        };
        Self { balance, sums, weights: weights.to_vec(), schedule }
    }

    /// How many candidates there are.
    pub fn len(&self) -> usize {
        self.weights.len()
    }

    /// Whether there is no candidate.
    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    /// Chooses. `turn` grows by one with each choice of this chooser; `load` is the number of requests under way;
    /// `avoid` says which candidates to pass over. `None` if every candidate of some weight is to be avoided.
    pub fn pick(
        &self,
        rng: &Rng,
        turn: u64,
        load: impl Fn(usize) -> u64,
        avoid: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let usable = |at: &usize| !avoid(*at) && self.weight(*at) > 0;
        let drawn = match self.balance {
            Balance::LeastLoaded => self.least_loaded(rng, &load, &usable),
            Balance::RoundRobin => self.in_turn(turn).filter(usable),
        };
        drawn.or_else(|| self.any(rng, turn, &usable))
    }

    fn weight(&self, at: usize) -> u32 {
        self.weights.get(at).copied().unwrap_or(0)
    }

    fn least_loaded(
        &self,
        rng: &Rng,
        load: &impl Fn(usize) -> u64,
        usable: &impl Fn(&usize) -> bool,
    ) -> Option<usize> {
        let first = self.draw(rng)?;
        if self.len() == 1 {
            return Some(first).filter(usable);
        }
        let mut second = self.draw(rng)?;
        if second == first {
            second = (first + 1) % self.len();
        }
        match (usable(&first), usable(&second)) {
            (true, true) => {
                // load / weight compared without dividing; a tie goes to the one that was drawn by weight.
                let cost = |at: usize, other: usize| u128::from(load(at)) * u128::from(self.weight(other));
                Some(if cost(second, first) < cost(first, second) { second } else { first })
            }
            (true, false) => Some(first),
            (false, true) => Some(second),
            (false, false) => None,
        }
    }

    /// One candidate, as likely as its weight is great.
    fn draw(&self, rng: &Rng) -> Option<usize> {
        let Some(total) = self.sums.last() else {
            return if self.is_empty() { None } else { Some(rng.below(self.len())) };
        };
        if *total == 0 {
            return None;
        }
        let at = rng.below(usize::try_from(*total).unwrap_or(usize::MAX)) as u64;
        Some(self.sums.partition_point(|sum| *sum <= at))
    }

    fn in_turn(&self, turn: u64) -> Option<usize> {
        if !self.schedule.is_empty() {
            let at = turn % self.schedule.len() as u64;
            return self.schedule.get(at as usize).map(|at| *at as usize);
        }
        if self.is_empty() || !self.sums.is_empty() {
            None
        } else {
            Some((turn % self.len() as u64) as usize)
        }
    }

    /// The slow way, when what was drawn is to be avoided: the first usable one from a starting point.
    fn any(&self, rng: &Rng, turn: u64, usable: &impl Fn(&usize) -> bool) -> Option<usize> {
        let len = self.len();
        let start = match self.balance {
            Balance::LeastLoaded => rng.below(len),
            Balance::RoundRobin => (turn % (len as u64).max(1)) as usize,
        };
        (start..len).chain(0..start).find(usable)
    }
}

fn smooth_schedule(weights: &[u32]) -> Vec<u32> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let mut parts: Vec<u64> = weights.iter().map(|weight| u64::from(weight / divisor)).collect();
    let total: u64 = parts.iter().sum();
    if total > SCHEDULE {
        for part in &mut parts {
            // A candidate of little weight still gets its turn.
            *part = if *part == 0 { 0 } else { (*part * SCHEDULE / total).max(1) };
        }
    }
    let total: u64 = parts.iter().sum();
    let mut credit = vec![0_i64; parts.len()];
    let mut schedule = Vec::with_capacity(total as usize);
    for _ in 0..total {
        for (credit, part) in credit.iter_mut().zip(&parts) {
            *credit += *part as i64;
        }
        let Some((at, most)) = credit.iter_mut().enumerate().rev().max_by_key(|(_, credit)| **credit) else {
            break;
        };
        *most -= total as i64;
        schedule.push(at as u32);
    }
    schedule
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    fn counts(
        picker: &Picker,
        n: u64,
        load: impl Fn(usize) -> u64,
        avoid: impl Fn(usize) -> bool,
    ) -> Vec<u64> {
        let rng = Rng::seeded(3);
        let mut counts = vec![0; picker.len()];
        for turn in 0..n {
            counts[picker.pick(&rng, turn, &load, &avoid).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn round_robin_is_exact() {
        let equal = Picker::new(Balance::RoundRobin, &[1, 1, 1]);
        assert_eq!(counts(&equal, 300, |_| 0, |_| false), [100, 100, 100]);
        let weighted = Picker::new(Balance::RoundRobin, &[50, 10, 0, 10]);
        assert_eq!(counts(&weighted, 700, |_| 0, |_| false), [500, 100, 0, 100]);
        // Smooth: the heavy one never comes more often in a row than it must.
        assert_eq!(smooth_schedule(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert!(smooth_schedule(&[u32::MAX, 1, 7]).len() as u64 <= SCHEDULE + 3);
    }

    #[test]
    fn the_less_loaded_of_two_is_taken() {
        let picker = Picker::new(Balance::LeastLoaded, &[1, 1]);
        assert_eq!(counts(&picker, 100, |at| at as u64 * 5, |_| false), [100, 0]);
        // Twice the weight may carry twice the load.
        let picker = Picker::new(Balance::LeastLoaded, &[2, 1]);
        assert_eq!(counts(&picker, 100, |at| [19, 10][at], |_| false), [100, 0]);
        assert_eq!(counts(&picker, 100, |at| [21, 10][at], |_| false), [0, 100]);
    }

    #[test]
    fn idle_candidates_are_drawn_by_weight() {
        let picker = Picker::new(Balance::LeastLoaded, &[3, 1]);
        let counts = counts(&picker, 10_000, |_| 0, |_| false);
        assert!((7_200..7_800).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn nothing_usable_is_none() {
        let rng = Rng::seeded(1);
        for balance in [Balance::LeastLoaded, Balance::RoundRobin] {
            assert_eq!(Picker::new(balance, &[]).pick(&rng, 0, |_| 0, |_| false), None);
            assert_eq!(Picker::new(balance, &[0]).pick(&rng, 0, |_| 0, |_| false), None);
            assert_eq!(Picker::new(balance, &[0, 0]).pick(&rng, 0, |_| 0, |_| false), None);
            assert_eq!(Picker::new(balance, &[1, 1]).pick(&rng, 0, |_| 0, |_| true), None);
        }
    }

    proptest! {
        #[test]
        fn a_choice_is_usable_and_made_whenever_one_can_be(
            weights in proptest::collection::vec(0_u32..4, 0..7),
            avoided in proptest::collection::vec(any::<bool>(), 7),
            loads in proptest::collection::vec(0_u64..5, 7),
            (seed, turn, robin) in any::<(u64, u64, bool)>(),
        ) {
            let balance = if robin { Balance::RoundRobin } else { Balance::LeastLoaded };
            let picker = Picker::new(balance, &weights);
            let chosen = picker.pick(&Rng::seeded(seed), turn, |at| loads[at], |at| avoided[at]);
            let possible = (0..weights.len()).any(|at| weights[at] > 0 && !avoided[at]);
            prop_assert_eq!(chosen.is_some(), possible);
            if let Some(at) = chosen {
                prop_assert!(weights[at] > 0 && !avoided[at]);
            }
        }
    }
}
