//! What the registry counts.

use tutti_core::metrics::{Counter, Family, Gauge, Histogram, Page};

/// The registry's metrics. One value for each registry.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Instances by health.
    pub(crate) instances: Family<Gauge>,
    /// Probes that ended, by kind and result.
    pub(crate) probes: Family<Counter>,
    /// How long probes took.
    pub(crate) probe_seconds: Histogram,
    /// Probes under way.
    pub(crate) probes_in_flight: Gauge,
    /// Probes that wait for room.
    pub(crate) probes_waiting: Gauge,
    /// Changes of health.
    pub(crate) transitions: Counter,
    /// Suspicions that were reported.
    pub(crate) suspicions: Counter,
    /// Suspicions that were dropped because too many were waiting.
    pub(crate) suspicions_dropped: Counter,
    /// The view's generation.
    pub(crate) generation: Gauge,
    /// Changes that are not yet durable.
    pub(crate) writes_pending: Gauge,
    /// Attempts to write that failed.
    pub(crate) write_failures: Counter,
    /// Changes that were given up and never became durable.
    pub(crate) writes_lost: Counter,
}

impl Metrics {
    /// Adds the metrics to a page.
    pub fn show(&self, page: &mut Page) {
        page.family("tutti_registry_instances", "Instances by health.", &self.instances);
        page.family("tutti_registry_probes_total", "Probes that ended, by kind and result.", &self.probes);
        page.one("tutti_registry_probe_duration_seconds", "How long probes took.", &self.probe_seconds);
        page.one("tutti_registry_probes_in_flight", "Probes under way.", &self.probes_in_flight);
        page.one("tutti_registry_probes_waiting", "Probes that wait for room.", &self.probes_waiting);
        page.one("tutti_registry_transitions_total", "Changes of an instance's health.", &self.transitions);
        page.one("tutti_registry_suspicions_total", "Suspicions that were reported.", &self.suspicions);
        page.one(
            "tutti_registry_suspicions_dropped_total",
            "Suspicions dropped because too many were waiting.",
            &self.suspicions_dropped,
        );
        page.one("tutti_registry_view_generation", "Generation of the newest view.", &self.generation);
        page.one("tutti_registry_writes_pending", "Changes that are not yet durable.", &self.writes_pending);
        page.one(
            "tutti_registry_write_failures_total",
            "Attempts to write that failed.",
            &self.write_failures,
        );
        page.one("tutti_registry_writes_lost_total", "Changes that never became durable.", &self.writes_lost);
    }
}
