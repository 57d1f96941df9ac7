//! What the supervisor counts.

use tutti_core::metrics::{Counter, Family, Gauge, Page};

use crate::event::EventKind;
use crate::status::{ServiceState, ServiceStatus};

/// The supervisor's metrics. One value for each supervisor.
#[derive(Debug, Default)]
pub struct Metrics {
    services: Family<Gauge>,
    starts: Family<Counter>,
    exits: Family<Counter>,
    restarts: Family<Counter>,
    kills: Family<Counter>,
    rollouts: Family<Counter>,
    pub(crate) log_lines: Counter,
    pub(crate) log_lines_dropped: Counter,
    pub(crate) keeper_losses: Counter,
}

const STATES: [ServiceState; 14] = [
    ServiceState::Stopped,
    ServiceState::Setup,
    ServiceState::Waiting,
    ServiceState::Starting,
    ServiceState::Ready,
    ServiceState::Degraded,
    ServiceState::Unhealthy,
    ServiceState::CrashLoop,
    ServiceState::Completed,
    ServiceState::Failed,
    ServiceState::Blocked,
    ServiceState::Stopping,
    ServiceState::Skipped,
    ServiceState::External,
];

impl Metrics {
    /// Adds the metrics to a page.
    pub fn show(&self, page: &mut Page) {
        page.family("tutti_supervisor_services", "Services by state.", &self.services);
        page.family("tutti_supervisor_starts_total", "Processes started, by service.", &self.starts);
        page.family("tutti_supervisor_exits_total", "Processes that ended unasked, by service.", &self.exits);
        page.family("tutti_supervisor_restarts_total", "Restarts after an exit, by service.", &self.restarts);
        page.family("tutti_supervisor_kills_total", "Instances killed after their grace.", &self.kills);
        page.family("tutti_supervisor_rollouts_total", "Rolling restarts that ended.", &self.rollouts);
        page.one("tutti_supervisor_log_lines_total", "Lines that services printed.", &self.log_lines);
        let dropped = "Lines that could not be written to the log.";
        page.one("tutti_supervisor_log_lines_dropped_total", dropped, &self.log_lines_dropped);
        page.one("tutti_supervisor_keeper_losses_total", "Keepers that were lost.", &self.keeper_losses);
    }

    pub(crate) fn event(&self, service: &str, kind: &EventKind) {
        let labels = [("service", service)];
        match kind {
            EventKind::Started { .. } => self.starts.with(&labels).inc(),
            EventKind::Exited { .. } => self.exits.with(&labels).inc(),
            EventKind::Restarting { .. } => self.restarts.with(&labels).inc(),
            EventKind::Killing { .. } => self.kills.with(&labels).inc(),
            EventKind::RolloutFinished => self.rollouts.with(&[("service", service), ("end", "done")]).inc(),
            EventKind::RolloutAborted { .. } => {
                self.rollouts.with(&[("service", service), ("end", "aborted")]).inc();
            }
            _ => {}
        }
    }

    pub(crate) fn services(&self, services: &[ServiceStatus]) {
        for state in STATES {
            let count = services.iter().filter(|service| service.state == state).count();
            self.services.with(&[("state", state.as_str())]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}
