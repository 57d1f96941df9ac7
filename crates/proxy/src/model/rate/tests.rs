//! Both algorithms, step by step and by their properties.

use super::*;
use proptest::prelude::*;

fn policy(algorithm: Algorithm, requests: u32, window_ms: u64, burst: u32) -> Policy {
    Policy { name: "t".into(), algorithm, requests, window: Duration::from_millis(window_ms), burst }
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn try_take(counts: &mut Counts, policy: &Policy, now: Duration) -> bool {
    let allowed = counts.look(policy, now).allowed;
    if allowed {
        counts.take(policy, now);
    }
    allowed
}

#[test]
fn gcra_lets_a_burst_pass_and_then_a_steady_stream() {
    let policy = policy(Algorithm::Gcra, 10, 1_000, 3);
    let mut counts = Counts::new(&policy);
    let now = ms(5_000);
    assert_eq!(counts.look(&policy, now), Verdict { allowed: true, remaining: 2, reset: ms(100) });
    assert!((0..3).all(|_| try_take(&mut counts, &policy, now)));
    assert_eq!(counts.look(&policy, now), Verdict { allowed: false, remaining: 0, reset: ms(100) });
    assert!(!try_take(&mut counts, &policy, now + ms(99)));
    assert!(try_take(&mut counts, &policy, now + ms(100)));
    assert!(!try_take(&mut counts, &policy, now + ms(100)));
    assert_eq!((0..9).filter(|_| try_take(&mut counts, &policy, now + ms(60_000))).count(), 3);
    counts.give_back(&policy, now + ms(60_000));
    assert!(try_take(&mut counts, &policy, now + ms(60_000)));
    assert_eq!(counts.spent(&policy), now + ms(60_300));
}

#[test]
fn a_window_lets_pass_what_fits_and_says_when_there_is_room() {
    let policy = policy(Algorithm::SlidingWindow, 2, 800, 1);
    let mut counts = Counts::new(&policy);
    assert!(try_take(&mut counts, &policy, ms(1_010)) && try_take(&mut counts, &policy, ms(1_250)));
    // The first lies in the part from 1000 to 1100, which is forgotten nine parts later.
    assert_eq!(counts.look(&policy, ms(1_300)), Verdict { allowed: false, remaining: 0, reset: ms(600) });
    assert!(!try_take(&mut counts, &policy, ms(1_899)) && try_take(&mut counts, &policy, ms(1_900)));
    assert!(!try_take(&mut counts, &policy, ms(2_099)));
    counts.give_back(&policy, ms(2_099));
    assert!(try_take(&mut counts, &policy, ms(2_099)));
    assert_eq!(counts.spent(&policy), ms(2_900));
}

#[test]
fn a_clock_that_goes_back_locks_nobody_out_for_longer_than_a_window() {
    for algorithm in [Algorithm::Gcra, Algorithm::SlidingWindow] {
        let policy = policy(algorithm, 4, 1_000, 4);
        let mut counts = Counts::new(&policy);
        assert!((0..4).all(|_| try_take(&mut counts, &policy, ms(1_000_000))));
        assert!(!try_take(&mut counts, &policy, ms(10)));
        if algorithm == Algorithm::Gcra {
            assert!(counts.look(&policy, ms(10)).reset <= ms(1_000));
        }
        // Ahead by an age: nothing is remembered, and nothing overflows.
        assert!(try_take(&mut counts, &policy, Duration::from_secs(u64::MAX >> 34)));
        counts.look(&policy, Duration::MAX);
    }
}

fn instants() -> impl Strategy<Value = Vec<u64>> {
    let steps = prop_oneof![4 => 0_u64..20, 2 => 0_u64..400, 1 => 0_u64..3_000];
    proptest::collection::vec(steps, 1..300).prop_map(|steps| {
        let mut now = 0;
        steps
            .into_iter()
            .map(|step| {
                now += step;
                now
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn a_window_never_holds_more(times in instants(), requests in 1_u32..20, window in 1_u64..900) {
        let policy = policy(Algorithm::SlidingWindow, requests, window, 1);
        let mut counts = Counts::new(&policy);
        let passed: Vec<u64> =
            times.into_iter().filter(|time| try_take(&mut counts, &policy, ms(*time))).collect();
        for begin in &passed {
            let within = passed.iter().filter(|time| (*begin..begin + window).contains(time)).count();
            prop_assert!(within <= requests as usize, "{within} from {begin}");
        }
    }

    #[test]
    fn gcra_never_lets_pass_more_than_a_burst_and_the_rate(
        times in instants(), requests in 1_u32..20, window in 1_u64..900, burst in 1_u32..10,
    ) {
        let policy = policy(Algorithm::Gcra, requests, window, burst);
        let mut counts = Counts::new(&policy);
        let passed: Vec<u64> =
            times.into_iter().filter(|time| try_take(&mut counts, &policy, ms(*time))).collect();
        for (at, begin) in passed.iter().enumerate() {
            for (more, end) in passed.iter().skip(at).enumerate() {
                let most = u64::from(burst) + (end - begin) * u64::from(requests) / window;
                prop_assert!((more as u64) < most, "{} from {begin} to {end}", more + 1);
            }
        }
    }

    #[test]
    fn whoever_waits_as_told_passes(
        times in instants(), requests in 1_u32..20, window in 1_u64..900, sliding: bool,
    ) {
        let algorithm = if sliding { Algorithm::SlidingWindow } else { Algorithm::Gcra };
        let policy = policy(algorithm, requests, window, requests);
        let mut counts = Counts::new(&policy);
        for time in times {
            let verdict = counts.look(&policy, ms(time));
            if verdict.allowed {
                counts.take(&policy, ms(time));
            } else {
                let later = ms(time) + verdict.reset;
                prop_assert!(counts.clone().look(&policy, later).allowed);
                prop_assert!(!counts.clone().look(&policy, later - Duration::from_nanos(1)).allowed);
            }
        }
    }

    #[test]
    fn what_is_spent_is_as_good_as_new(times in instants(), requests in 1_u32..20, sliding: bool) {
        let algorithm = if sliding { Algorithm::SlidingWindow } else { Algorithm::Gcra };
        let policy = policy(algorithm, requests, 500, requests);
        let mut counts = Counts::new(&policy);
        for time in times {
            try_take(&mut counts, &policy, ms(time));
            let spent = counts.spent(&policy);
            let mut fresh = Counts::new(&policy);
            prop_assert_eq!(counts.clone().look(&policy, spent), fresh.look(&policy, spent));
        }
    }
}
