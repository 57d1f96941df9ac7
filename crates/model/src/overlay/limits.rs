//! `gateway.limits:`.

use tutti_ports::routing::ClientLimits;

use super::types;
use crate::value::duration;

/// The limits that are said, and the defaults of the others. The table has checked what is said.
pub(super) fn limits(said: Option<&types::ClientLimits>) -> ClientLimits {
    let Some(said) = said else { return ClientLimits::default() };
    let default = ClientLimits::default();
    let grace = said.min_rate_grace.as_deref().and_then(|text| duration::parse(text).ok());
    ClientLimits {
        connections: said.connections_per_client,
        min_rate: said.min_rate.unwrap_or(default.min_rate),
        min_rate_grace: grace.unwrap_or(default.min_rate_grace),
    }
}
