//! Choosing an instance.
//!
//! | algorithm | a choice costs | source |
//! |---|---|---|
//! | [`Balance::LeastRequest`] | two draws, two loads | Mitzenmacher 2001, "The Power of Two Choices in Randomized Load Balancing" |
//! | [`Balance::PeakEwma`] | two draws, two `exp` | Finagle's `PeakEwma` |
//! | [`Balance::RoundRobin`] | one access | nginx's smooth weighted round robin, computed beforehand |
//! | [`Balance::Random`] | one draw | |
//! | [`Balance::RingHash`] | a binary search | Karger et al. 1997; points as in libketama |
//! | [`Balance::Maglev`] | one access | Eisenbud et al., NSDI 2016, section 3.4 |
//!
//! A choice takes no lock and no memory. Schedules, rings and tables are made when the candidates change.

pub mod ewma;
pub mod hash;
pub mod maglev;
pub mod priority;
pub mod ring;
#[cfg(test)]
mod tests;

use tutti_core::random::Rng;
pub use tutti_ports::routing::Algorithm as Balance;

use maglev::Maglev;
use ring::Ring;

/// Longest round-robin schedule; greater sums of weights are scaled down to it.
const SCHEDULE: u64 = 4_096;

/// How often chance is asked again when it named a candidate that is to be passed over.
const REDRAWS: usize = 4;

/// The candidates' weights, prepared for drawing. Candidates are named by their position.
#[derive(Clone, Debug)]
pub struct Picker {
    method: Method,
    /// Running sums of the weights; empty when all are equal.
    sums: Vec<u64>,
    weights: Vec<u32>,
    /// Most load of a candidate, in percent of the mean; 0: no bound.
    bound: u32,
}

#[derive(Clone, Debug)]
enum Method {
    LeastRequest,
    PeakEwma,
    Random,
    /// The schedule is empty when all weights are equal.
    RoundRobin(Vec<u32>),
    Ring(Ring),
    Maglev(Maglev),
}

/// What is known of the candidates at the moment of the choice.
pub trait Candidates {
    /// Whether a candidate is to be passed over.
    fn avoid(&self, at: usize) -> bool;

    /// Its requests under way.
    fn load(&self, _at: usize) -> u64 {
        0
    }

    /// What one more request would cost, in any unit.
    fn cost(&self, _at: usize) -> f64 {
        0.0
    }
}

/// Candidates of which only the weights matter.
pub struct Alike;

impl Candidates for Alike {
    fn avoid(&self, _: usize) -> bool {
        false
    }
}

/// What the request brings to its choice.
#[derive(Clone, Copy, Debug)]
pub struct Draw<'a> {
    /// Chance.
    pub rng: &'a Rng,
    /// Grows by one with each choice of this chooser.
    pub turn: u64,
    /// What is hashed of the request; `None` if it has nothing to be hashed by.
    pub hash: Option<u64>,
}

impl Picker {
    /// Prepares a choice among candidates of these weights; those of weight 0 are never chosen.
    pub fn new(balance: Balance, weights: &[u32]) -> Self {
        let members: Vec<(&str, u32)> = weights.iter().map(|weight| ("", *weight)).collect();
        Self::named(balance, &members, None)
    }

    /// The same with names, by which the algorithms that hash tell candidates apart, and a bound for their load in
    /// percent of the mean.
    pub fn named(balance: Balance, members: &[(&str, u32)], bound: Option<u32>) -> Self {
        let weights: Vec<u32> = members.iter().map(|(_, weight)| *weight).collect();
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
        let method = match balance {
            Balance::LeastRequest => Method::LeastRequest,
            Balance::PeakEwma => Method::PeakEwma,
            Balance::Random => Method::Random,
            Balance::RoundRobin if equal => Method::RoundRobin(Vec::new()),
            Balance::RoundRobin => Method::RoundRobin(smooth_schedule(&weights)),
            Balance::RingHash => Method::Ring(Ring::new(members)),
            Balance::Maglev => Method::Maglev(Maglev::new(members)),
        };
        Self { method, sums, weights, bound: bound.unwrap_or(0) }
    }

    /// How many candidates there are.
    pub fn len(&self) -> usize {
        self.weights.len()
    }

    /// Whether there is no candidate.
    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    /// Chooses. `None` if every candidate of some weight is to be avoided.
    pub fn pick(&self, draw: &Draw<'_>, among: &impl Candidates) -> Option<usize> {
        let usable = |at: usize| self.weight(at) > 0 && !among.avoid(at);
        let drawn = match &self.method {
            Method::LeastRequest => self.better_of_two(draw.rng, &usable, |one, other| {
                // load / weight compared without dividing.
                let load = |at: usize, by: usize| u128::from(among.load(at)) * u128::from(self.weight(by));
                load(one, other) < load(other, one)
            }),
            Method::PeakEwma => self.better_of_two(draw.rng, &usable, |one, other| {
                let cost = |at: usize, by: usize| among.cost(at) * f64::from(self.weight(by));
                cost(one, other) < cost(other, one)
            }),
            Method::Random => self.draw_usable(draw.rng, &usable),
            Method::RoundRobin(schedule) => self.in_turn(schedule, draw.turn).filter(|at| usable(*at)),
            Method::Ring(_) | Method::Maglev(_) => self.by_hash(draw, among, &usable),
        };
        drawn.or_else(|| self.any(draw, &usable))
    }

    fn weight(&self, at: usize) -> u32 {
        self.weights.get(at).copied().unwrap_or(0)
    }

    fn better_of_two(
        &self,
        rng: &Rng,
        usable: &impl Fn(usize) -> bool,
        better: impl Fn(usize, usize) -> bool,
    ) -> Option<usize> {
        let first = self.draw(rng)?;
        if self.len() == 1 {
            return Some(first).filter(|at| usable(*at));
        }
        let mut second = self.draw(rng)?;
        if second == first {
            second = (first + 1) % self.len();
        }
        match (usable(first), usable(second)) {
            // A tie goes to the one that was drawn by weight.
            (true, true) => Some(if better(second, first) { second } else { first }),
            (true, false) => Some(first),
            (false, true) => Some(second),
            (false, false) => self.draw_usable(rng, usable),
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

    fn draw_usable(&self, rng: &Rng, usable: &impl Fn(usize) -> bool) -> Option<usize> {
        (0..REDRAWS).find_map(|_| self.draw(rng).filter(|at| usable(*at)))
    }

    fn in_turn(&self, schedule: &[u32], turn: u64) -> Option<usize> {
        if !schedule.is_empty() {
            let at = turn % schedule.len() as u64;
            return schedule.get(at as usize).map(|at| *at as usize);
        }
        if self.is_empty() || !self.sums.is_empty() {
            None
        } else {
            Some((turn % self.len() as u64) as usize)
        }
    }

    fn by_hash(
        &self,
        draw: &Draw<'_>,
        among: &impl Candidates,
        usable: &impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let Some(hash) = draw.hash else { return self.draw_usable(draw.rng, usable) };
        let find = |accept: &dyn Fn(usize) -> bool| match &self.method {
            Method::Ring(ring) => ring.find(hash, accept),
            Method::Maglev(table) => table.find(hash, accept),
            _ => None,
        };
        if self.bound == 0 {
            return find(usable);
        }
        // Each may have `bound` percent of its share by weight of all that is under way, this request included, and one.
        let total: u64 = 1 + (0..self.len()).map(|at| among.load(at)).sum::<u64>();
        let weights: u64 = self.weights.iter().map(|weight| u64::from(*weight)).sum();
        let room = |at: usize| {
            let share = u128::from(total) * u128::from(self.weight(at)) * u128::from(self.bound);
            let most = share.div_ceil(u128::from(weights.max(1)) * 100).max(1);
            u128::from(among.load(at)) < most
        };
        find(&|at| usable(at) && room(at)).or_else(|| find(usable))
    }

    /// The slow way, when what was drawn is to be avoided: the first usable one from a starting point.
    fn any(&self, draw: &Draw<'_>, usable: &impl Fn(usize) -> bool) -> Option<usize> {
        let len = self.len();
        let start = match &self.method {
            Method::RoundRobin(_) => (draw.turn % (len as u64).max(1)) as usize,
            Method::Ring(_) | Method::Maglev(_) => {
                draw.hash.map_or_else(|| draw.rng.below(len), |hash| (hash % (len as u64).max(1)) as usize)
            }
            _ => draw.rng.below(len),
        };
        (start..len).chain(0..start).find(|at| usable(*at))
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
