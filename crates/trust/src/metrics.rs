//! What the room counts.

use tutti_core::metrics::{Counter, Family, Gauge, Page};

/// The room's metrics. One value for each room.
#[derive(Debug, Default)]
pub struct Metrics {
    /// When each certificate ends.
    pub(crate) ends: Family<Gauge>,
    /// Certificates that were issued, by who issued them.
    pub(crate) issued: Family<Counter>,
    /// Certificates that took the place of an older one.
    pub(crate) renewals: Counter,
    /// Orders that gave none, by reason.
    pub(crate) failures: Family<Counter>,
    /// Orders under way.
    pub(crate) orders: Gauge,
    /// Names that clients asked for in vain, by reason.
    pub(crate) refused: Family<Counter>,
}

impl Metrics {
    /// Adds the metrics to a page.
    pub fn show(&self, page: &mut Page) {
        page.family(
            "tutti_trust_certificate_expiry_seconds",
            "When the certificate of a name ends, in seconds since 1970.",
            &self.ends,
        );
        page.family("tutti_trust_issued_total", "Certificates that were issued, by issuer.", &self.issued);
        page.one("tutti_trust_renewals_total", "Certificates that replaced an older one.", &self.renewals);
        page.family(
            "tutti_trust_failures_total",
            "Orders that gave no certificate, by reason.",
            &self.failures,
        );
        page.one("tutti_trust_orders_in_flight", "Orders under way.", &self.orders);
        page.family(
            "tutti_trust_on_demand_refused_total",
            "Names that clients brought up and that were not asked for, by reason.",
            &self.refused,
        );
    }
}
