//! The ring: each candidate has points on a circle, and a request goes to the first point after its hash
//! (Karger et al. 1997, "Consistent Hashing and Random Trees"; points by weight as in libketama).
//!
//! When one of n candidates leaves, only its own requests move: about one in n.

use super::hash::{hash, mix};

/// Points of a candidate of ordinary weight. libketama has 160; the spread is then about 8 % (1/√160).
const POINTS: u64 = 160;

/// Most points of a ring.
const MOST: u64 = 1 << 20;

/// How many points are looked at for one that is not passed over.
const STEPS: usize = 256;

/// A ring of points.
#[derive(Clone, Debug)]
pub struct Ring {
    /// Hashes in order, each with its candidate.
    points: Vec<(u64, u32)>,
}

impl Ring {
    /// A ring of these names and weights; those of weight 0 have no point.
    pub fn new(members: &[(&str, u32)]) -> Self {
        let usable = members.iter().filter(|(_, weight)| *weight > 0).count() as u64;
        let total: u64 = members.iter().map(|(_, weight)| u64::from(*weight)).sum();
        if total == 0 {
            return Self { points: Vec::new() };
        }
        // The mean candidate has POINTS, the others by their weight.
        let all = usable.saturating_mul(POINTS).min(MOST);
        let mut points = Vec::with_capacity(all as usize);
        for (at, (name, weight)) in members.iter().enumerate().filter(|(_, (_, weight))| *weight > 0) {
            let base = hash(0, name.as_bytes());
            let share = u128::from(all) * u128::from(*weight) / u128::from(total);
            let count = u64::try_from(share).unwrap_or(MOST).max(1);
            points.extend((0..count).map(|point| (mix(base ^ mix(point)), at as u32)));
        }
        points.sort_unstable();
        Self { points }
    }

    /// The first candidate from the hash on that `usable` accepts; `None` if none near by is.
    pub fn find(&self, hash: u64, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let start = self.points.partition_point(|(point, _)| *point < hash);
        let (before, after) = self.points.split_at_checked(start)?;
        let mut last = None;
        for (_, at) in after.iter().chain(before).take(STEPS) {
            let at = *at as usize;
            if last != Some(at) && usable(at) {
                return Some(at);
            }
            last = Some(at);
        }
        None
    }
}
