//! Levels of instances: the first ones that are well enough get everything, and what they cannot carry spills over to the
//! next (the arithmetic of Envoy's "priority levels").

/// Most levels of one service: by zone and by priority, of itself and of the one that stands in for it.
pub const LEVELS: usize = 8;

/// What is known of a level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Instances that are well.
    pub well: usize,
    /// All instances, but for those that come or go.
    pub known: usize,
}

/// The level for a request. `point` is any number, as likely as any other; the same one meets the same level as long as
/// health does not change. `overprovisioning` is in percent. 0 when no level is well.
pub fn level(levels: impl Iterator<Item = Level>, overprovisioning: u32, point: u64) -> usize {
    let mut loads = [0_u64; LEVELS];
    let mut left = 100_u64;
    let over = u64::from(overprovisioning.max(100));
    for (load, level) in loads.iter_mut().zip(levels) {
        let well = level.well as u64;
        let health = (over * well).checked_div(level.known.max(level.well) as u64).unwrap_or(0).min(100);
        // A level that is hardly well still gets a little, or it would be as if it were not there.
        *load = (if well > 0 { health.max(1) } else { 0 }).min(left);
        left -= *load;
    }
    // When all together cannot carry 100 %, each carries its part of it.
    let total = 100 - left;
    if total == 0 {
        return 0;
    }
    let mut point = point % total;
    for (at, load) in loads.iter().enumerate() {
        match point.checked_sub(*load) {
            Some(rest) => point = rest,
            None => return at,
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shares(levels: &[(usize, usize)], over: u32) -> Vec<u32> {
        let mut shares = vec![0; levels.len()];
        for point in 0..9_900 {
            let levels = levels.iter().map(|(well, known)| Level { well: *well, known: *known });
            shares[level(levels, over, point)] += 1;
        }
        shares.iter().map(|share| (f64::from(*share) / 99.0).round() as u32).collect()
    }

    #[test]
    fn the_table_in_envoys_documentation() {
        // "Priority levels", overprovisioning factor 140 %.
        assert_eq!(shares(&[(100, 100), (100, 100)], 140), [100, 0]);
        assert_eq!(shares(&[(72, 100), (72, 100)], 140), [100, 0]);
        assert_eq!(shares(&[(71, 100), (71, 100)], 140), [99, 1]);
        assert_eq!(shares(&[(50, 100), (50, 100)], 140), [70, 30]);
        assert_eq!(shares(&[(25, 100), (100, 100)], 140), [35, 65]);
        assert_eq!(shares(&[(25, 100), (25, 100)], 140), [50, 50]);
        assert_eq!(shares(&[(0, 100), (100, 100)], 140), [0, 100]);
        assert_eq!(shares(&[(0, 100), (0, 100)], 140), [100, 0]);
        assert_eq!(shares(&[(0, 0), (1, 1), (1, 1)], 100), [0, 100, 0]);
    }

    proptest! {
        #[test]
        fn only_levels_that_are_well_are_chosen(
            levels in proptest::collection::vec((0_usize..5, 0_usize..5), 1..8),
            (over, point) in any::<(u32, u64)>(),
        ) {
            let given = levels.iter().map(|(well, known)| Level { well: *well, known: *known });
            let chosen = level(given, over % 1000, point);
            prop_assert!(chosen < levels.len());
            if levels.iter().any(|(well, _)| *well > 0) {
                prop_assert!(levels[chosen].0 > 0);
            }
        }
    }
}
