//! The algorithms against their sources: evenness, disruption, spread of load, and that a choice is always usable.

use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use super::*;

const ALL: [Balance; 6] = [
    Balance::LeastRequest,
    Balance::RoundRobin,
    Balance::Random,
    Balance::PeakEwma,
    Balance::RingHash,
    Balance::Maglev,
];

struct Given<L, A>(L, A);

impl<L: Fn(usize) -> u64, A: Fn(usize) -> bool> Candidates for Given<L, A> {
    fn avoid(&self, at: usize) -> bool {
        (self.1)(at)
    }
    fn load(&self, at: usize) -> u64 {
        (self.0)(at)
    }
    fn cost(&self, at: usize) -> f64 {
        (self.0)(at) as f64
    }
}

fn counts(picker: &Picker, n: u64, among: &impl Candidates) -> Vec<u64> {
    let rng = Rng::seeded(3);
    let mut counts = vec![0; picker.len()];
    for turn in 0..n {
        let draw = Draw { rng: &rng, turn, hash: Some(hash::hash(7, &turn.to_le_bytes())) };
        counts[picker.pick(&draw, among).unwrap()] += 1;
    }
    counts
}

fn names(count: u32) -> Vec<String> {
    (1..=count).map(|ordinal| format!("catalog-{ordinal}")).collect()
}

fn placed(balance: Balance, names: &[String], weights: impl Fn(usize) -> u32) -> Picker {
    let members: Vec<(&str, u32)> =
        names.iter().enumerate().map(|(at, name)| (name.as_str(), weights(at))).collect();
    Picker::named(balance, &members, None)
}

fn chosen(picker: &Picker, key: u64) -> usize {
    let rng = Rng::seeded(1);
    picker.pick(&Draw { rng: &rng, turn: 0, hash: Some(hash::mix(key)) }, &Alike).unwrap()
}

#[test]
fn round_robin_is_exact() {
    let equal = Picker::new(Balance::RoundRobin, &[1, 1, 1]);
    assert_eq!(counts(&equal, 300, &Alike), [100, 100, 100]);
    let weighted = Picker::new(Balance::RoundRobin, &[50, 10, 0, 10]);
    assert_eq!(counts(&weighted, 700, &Alike), [500, 100, 0, 100]);
    // Smooth: the heavy one never comes more often in a row than it must.
    assert_eq!(smooth_schedule(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
    assert!(smooth_schedule(&[u32::MAX, 1, 7]).len() as u64 <= SCHEDULE + 3);
}

#[test]
fn the_less_loaded_of_two_is_taken() {
    for balance in [Balance::LeastRequest, Balance::PeakEwma] {
        let picker = Picker::new(balance, &[1, 1]);
        assert_eq!(counts(&picker, 100, &Given(|at| at as u64 * 5, |_| false)), [100, 0]);
        // Twice the weight may carry twice the load.
        let picker = Picker::new(balance, &[2, 1]);
        assert_eq!(counts(&picker, 100, &Given(|at: usize| [19, 10][at], |_| false)), [100, 0]);
        assert_eq!(counts(&picker, 100, &Given(|at: usize| [21, 10][at], |_| false)), [0, 100]);
    }
}

#[test]
fn idle_candidates_are_drawn_by_weight() {
    for balance in [Balance::LeastRequest, Balance::PeakEwma, Balance::Random] {
        let counts = counts(&Picker::new(balance, &[3, 1]), 10_000, &Alike);
        assert!((7_200..7_800).contains(&counts[0]), "{counts:?}");
    }
}

/// "The Power of Two Choices": with n requests for n servers the fullest one has about ln n / ln ln n of them when chance
/// alone decides, and about ln ln n / ln 2 when the less loaded of two is taken: 10 and 4 for n = 1,000.
#[test]
fn two_choices_spread_load_better_than_chance() {
    let fullest = |balance| {
        let picker = Picker::new(balance, &vec![1; 1_000]);
        let loads = vec![std::cell::Cell::new(0_u64); 1_000];
        let rng = Rng::seeded(5);
        for turn in 0..1_000 {
            let among = Given(|at: usize| loads[at].get(), |_| false);
            let at = picker.pick(&Draw { rng: &rng, turn, hash: None }, &among).unwrap();
            loads[at].set(loads[at].get() + 1);
        }
        loads.iter().map(std::cell::Cell::get).max().unwrap()
    };
    let (two, random) = (fullest(Balance::LeastRequest), fullest(Balance::Random));
    assert!(two <= 4 && random >= 5, "the fullest has {two} by two choices, {random} by chance");
}

/// NSDI 2016, section 3.4 and figure 12: with a table more than 100 times as large as the number of backends, shares of
/// the table differ by at most 1 % of the mean; of requests, by what chance adds.
#[test]
fn maglev_shares_are_even() {
    for count in [3, 10, 100, 600] {
        let names = names(count);
        let picker = placed(Balance::Maglev, &names, |_| 1);
        let Method::Maglev(table) = &picker.method else { panic!("not a table") };
        let mut shares = vec![0_u64; names.len()];
        for point in 0..65_537 {
            shares[table.find(point, |_| true).unwrap()] += 1;
        }
        let mean = 65_537.0 / f64::from(count);
        let worst = shares.iter().map(|share| (*share as f64 - mean).abs() / mean).fold(0.0, f64::max);
        assert!(worst <= 0.02, "{count} backends: {:.2} % off", worst * 100.0);
    }
}

#[test]
fn shares_by_hash_follow_the_weights() {
    for (balance, within) in [(Balance::Maglev, 0.03), (Balance::RingHash, 0.25)] {
        let names = names(4);
        let picker = placed(balance, &names, |at| [1, 2, 3, 4][at]);
        let counts = counts(&picker, 100_000, &Alike);
        for (at, count) in counts.iter().enumerate() {
            let wanted = 10_000.0 * (at + 1) as f64;
            assert!((*count as f64 / wanted - 1.0).abs() < within, "{balance:?} {counts:?}");
        }
    }
}

/// When one of 10 leaves, its tenth of the requests must move, and hardly any other: the ring moves none, Maglev's table
/// a few (section 3.4, "resilience to backend changes").
#[test]
fn few_requests_move_when_one_of_ten_leaves() {
    for (balance, most) in [(Balance::RingHash, 0.13), (Balance::Maglev, 0.15)] {
        let ten = names(10);
        let nine: Vec<String> = ten.iter().filter(|name| *name != "catalog-4").cloned().collect();
        let (before, after) = (placed(balance, &ten, |_| 1), placed(balance, &nine, |_| 1));
        let keys = 20_000;
        let (mut moved, mut needless) = (0, 0);
        for key in 0..keys {
            let (was, is) = (&ten[chosen(&before, key)], &nine[chosen(&after, key)]);
            moved += usize::from(was != is);
            needless += usize::from(was != is && was != "catalog-4");
        }
        let share = moved as f64 / keys as f64;
        assert!((0.05..=most).contains(&share), "{balance:?}: {share}");
        assert!(balance == Balance::Maglev || needless == 0, "{needless} moved that could have stayed");
    }
}

#[test]
fn passing_one_over_moves_only_its_own() {
    for balance in [Balance::RingHash, Balance::Maglev] {
        let ten = names(10);
        let picker = placed(balance, &ten, |_| 1);
        let rng = Rng::seeded(1);
        for key in 0..5_000 {
            let draw = Draw { rng: &rng, turn: 0, hash: Some(hash::mix(key)) };
            let was = picker.pick(&draw, &Alike).unwrap();
            let is = picker.pick(&draw, &Given(|_| 0, |at| at == 3)).unwrap();
            assert!(is != 3 && (was == 3 || was == is));
        }
    }
}

/// "Consistent Hashing with Bounded Loads": nobody has more than (1 + ε) times the mean, though all ask for the same.
#[test]
fn a_bound_spreads_what_is_asked_for_by_all() {
    for balance in [Balance::RingHash, Balance::Maglev] {
        let ten = names(10);
        let members: Vec<(&str, u32)> = ten.iter().map(|name| (name.as_str(), 1)).collect();
        let picker = Picker::named(balance, &members, Some(125));
        let loads = vec![std::cell::Cell::new(0_u64); 10];
        let rng = Rng::seeded(1);
        for _ in 0..1_000 {
            let among = Given(|at: usize| loads[at].get(), |_| false);
            let at = picker.pick(&Draw { rng: &rng, turn: 0, hash: Some(42) }, &among).unwrap();
            loads[at].set(loads[at].get() + 1);
        }
        assert!(loads.iter().all(|load| load.get() <= 126), "{loads:?}");
        assert_eq!(loads.iter().filter(|load| load.get() >= 124).count(), 8, "{loads:?}");
    }
}

#[test]
fn a_thousand_candidates_are_placed() {
    for balance in [Balance::RingHash, Balance::Maglev] {
        let names = names(1_000);
        let began = std::time::Instant::now();
        let picker = placed(balance, &names, |_| 1);
        let took = began.elapsed();
        let counts = counts(&picker, 200_000, &Alike);
        assert!(counts.iter().all(|count| *count > 50), "{balance:?}");
        println!("{balance:?}: 1,000 candidates in {took:?}");
    }
}

#[test]
fn nothing_usable_is_none() {
    let rng = Rng::seeded(1);
    let draw = Draw { rng: &rng, turn: 0, hash: Some(9) };
    for balance in ALL {
        assert_eq!(Picker::new(balance, &[]).pick(&draw, &Alike), None);
        assert_eq!(Picker::new(balance, &[0]).pick(&draw, &Alike), None);
        assert_eq!(Picker::new(balance, &[0, 0]).pick(&draw, &Alike), None);
        assert_eq!(Picker::new(balance, &[1, 1]).pick(&draw, &Given(|_| 0, |_| true)), None);
    }
}

proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(60))]
    #[test]
    fn a_choice_is_usable_and_made_whenever_one_can_be(
        weights in proptest::collection::vec(0_u32..4, 0..7),
        avoided in proptest::collection::vec(any::<bool>(), 7),
        loads in proptest::collection::vec(0_u64..5, 7),
        (seed, turn, bounded) in any::<(u64, u64, bool)>(),
        hash in any::<Option<u64>>(),
    ) {
        let names = names(7);
        let members: Vec<(&str, u32)> =
            names.iter().map(String::as_str).zip(weights.iter().copied()).collect();
        for balance in ALL {
            let picker = Picker::named(balance, &members, bounded.then_some(110));
            let rng = Rng::seeded(seed);
            let chosen = picker.pick(&Draw { rng: &rng, turn, hash }, &Given(|at: usize| loads[at], |at: usize| avoided[at]));
            let possible = (0..weights.len()).any(|at| weights[at] > 0 && !avoided[at]);
            prop_assert_eq!(chosen.is_some(), possible);
            if let Some(at) = chosen {
                prop_assert!(weights[at] > 0 && !avoided[at]);
            }
        }
    }
}
