//! What becomes of an instance that ended without being asked to.

use std::time::Duration;

use tutti_model::app::Restart;

use super::{Action, At, InstanceKey, Slot};
use crate::event::EventKind;
use crate::options::Backoff;
use crate::status::Exit;

/// The pause before the next start after so many failures in a row, at least one. `chance` is in 0.0 .. 1.0.
pub(super) fn pause(backoff: &Backoff, failures: u32, chance: f64) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1).min(31));
    let full = backoff.first.saturating_mul(doubled).min(backoff.most);
    full.mul_f64(1.0 - chance.clamp(0.0, 1.0) / 4.0)
}

impl Slot {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn ended(
        &mut self,
        id: &InstanceKey,
        exit: Exit,
        lasting: bool,
        restart: Restart,
        backoff: &Backoff,
        chance: f64,
        now: Duration,
    ) -> Vec<Action> {
        let good_for = self.ready_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        if good_for >= backoff.reset_after {
            self.failures = 0;
        }
        let success = exit.status == Some(0);
        let again = !lasting
            && match restart {
                Restart::No => false,
                Restart::Always | Restart::UnlessStopped => true,
                Restart::OnFailure(most) => !success && most.is_none_or(|most| self.failures < most),
            };
        let reason = exit.reason.clone();
        let code = exit.code.clone();
        self.pid = None;
        self.health = None;
        self.ready_since = None;
        self.reason.clone_from(&reason);
        self.last_exit = Some(exit);
        let tell = |kind| Action::Tell(id.service.clone(), kind);
        if !again {
            self.at = At::Exited;
            let kind = if success { EventKind::Completed } else { EventKind::Failed { reason, code } };
            return vec![tell(kind)];
        }
        self.failures = self.failures.saturating_add(1);
        self.restarts = self.restarts.saturating_add(1);
        let pause = pause(backoff, self.failures, chance);
        self.at = At::Backoff { until: now.saturating_add(pause) };
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        let mut actions =
            vec![tell(EventKind::Restarting { instance: id.id(), pause_ms, failures: self.failures })];
        if self.failures == backoff.crash_loop_after {
            actions.push(tell(EventKind::CrashLoop { instance: id.id(), reason }));
        }
        actions
    }
}
