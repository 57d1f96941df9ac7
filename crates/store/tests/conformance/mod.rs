//! What every engine of the state promises, as scenarios over `&dyn Store`. `conformance!(open)` makes
//! the tests of one engine; the engine says how it is opened, restarted and how its clock is moved.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

pub mod histories;
pub mod reference;
pub mod scenarios;

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tutti_core::time::Clock;
use tutti_ports::state::Store;

/// An engine under test, opened on an empty state.
#[async_trait::async_trait]
pub trait Engine: Send + Sync {
    /// The engine as rooms see it.
    fn store(&self) -> Arc<dyn Store>;
    /// Moves the clock and returns when whatever is due by then is carried out.
    async fn advance(&self, by: Duration);
    /// Shuts the engine down and opens it again on the same state.
    async fn restart(&mut self);
    /// How many changes the engine was told to keep in its change feed.
    fn history_changes(&self) -> usize;
}

/// A clock that only the test moves.
#[derive(Debug, Default)]
pub struct ManualClock {
    now: Mutex<Duration>,
}

impl ManualClock {
    /// Moves it.
    pub fn advance(&self, by: Duration) {
        *self.now.lock().unwrap() += by;
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> Duration {
        *self.now.lock().unwrap()
    }

    /// Jumps about; nothing may depend on it.
    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.monotonic() * 1_000
    }
}

/// Makes a test of each scenario for the engine that `$open` opens.
#[macro_export]
macro_rules! conformance {
    ($open:path: $($scenario:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $scenario() {
                let mut engine = $open();
                $crate::conformance::scenarios::$scenario(&mut engine).await;
            }
        )*
        #[test]
        fn random_histories_are_the_references() {
            $crate::conformance::histories::check($open);
        }
    };
    ($open:path) => {
        $crate::conformance!(
            $open: compares_decide_between_the_branches, refused_transactions_change_nothing, ranges_are_paged_in_byte_order,
            pages_of_changes_never_split_a_transaction, a_watcher_misses_nothing_and_sees_nothing_twice,
            increments_of_many_tasks_are_all_counted, a_lease_takes_its_keys_along, a_restart_gives_leases_their_full_time,
            head_moves_only_with_changes, large_values_make_short_pages, the_future_is_not_answered,
        );
    };
}
