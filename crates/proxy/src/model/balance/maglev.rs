//! Maglev's table (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4).
//!
//! Each candidate has a permutation of the table's places; in turn, each takes its next free place. So the places are
//! shared almost evenly, a lookup is one access, and when a candidate leaves few places of the others change.
//! A candidate of greater weight takes its turn more often, as in Envoy.

use super::hash::hash;

/// The table's size: a prime, and more than 100 times the number of candidates, so that shares differ by less than 1 %
/// (section 3.4). The paper measures these two.
const SIZES: [usize; 2] = [65_537, 655_373];

/// How many places are looked at for one that is not passed over.
const STEPS: usize = 256;

/// A lookup table.
#[derive(Clone, Debug)]
pub struct Maglev {
    places: Vec<u32>,
}

struct Filler {
    at: u32,
    offset: u64,
    skip: u64,
    next: u64,
    weight: f64,
    target: f64,
}

impl Maglev {
    /// A table of these names and weights; those of weight 0 have no place.
    pub fn new(members: &[(&str, u32)]) -> Self {
        let usable = members.iter().filter(|(_, weight)| *weight > 0).count();
        let [small, large] = SIZES;
        Self::sized(members, if usable * 100 <= small { small } else { large })
    }

    fn sized(members: &[(&str, u32)], size: usize) -> Self {
        const FREE: u32 = u32::MAX;
        let heaviest = f64::from(members.iter().map(|(_, weight)| *weight).max().unwrap_or(0));
        let prime = size as u64;
        let mut fillers: Vec<Filler> = members
            .iter()
            .enumerate()
            .filter(|(_, (_, weight))| *weight > 0)
            .map(|(at, (name, weight))| Filler {
                at: at as u32,
                offset: hash(1, name.as_bytes()) % prime,
                skip: hash(2, name.as_bytes()) % (prime - 1) + 1,
                next: 0,
                weight: f64::from(*weight) / heaviest,
                target: 0.0,
            })
            .collect();
        // The order in which turns are taken must not depend on how the catalog lists the instances.
        fillers.sort_by_key(|filler| (filler.offset, filler.skip));
        if fillers.is_empty() {
            return Self { places: Vec::new() };
        }
        let mut places = vec![FREE; size];
        let mut left = size;
        let mut round = 0.0;
        while left > 0 {
            round += 1.0;
            for filler in &mut fillers {
                if left == 0 {
                    break;
                }
                // Its turn comes in `weight` of the rounds; the heaviest one's in each.
                if round * filler.weight < filler.target {
                    continue;
                }
                filler.target += 1.0;
                // There is a free place, so the permutation leads to one.
                for _ in 0..size {
                    let place = (filler.offset + filler.next * filler.skip) % prime;
                    filler.next += 1;
                    if let Some(place) = places.get_mut(place as usize)
                        && *place == FREE
                    {
                        *place = filler.at;
                        left -= 1;
                        break;
                    }
                }
            }
        }
        Self { places }
    }

    /// The candidate at the hash's place, or the first one after it that `usable` accepts; `None` if none near by is.
    pub fn find(&self, hash: u64, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let size = self.places.len() as u64;
        if size == 0 {
            return None;
        }
        let start = (hash % size) as usize;
        let (before, after) = self.places.split_at_checked(start)?;
        let mut last = None;
        for at in after.iter().chain(before).take(STEPS) {
            let at = *at as usize;
            if last != Some(at) && usable(at) {
                return Some(at);
            }
            last = Some(at);
        }
        None
    }
}
