//! Between phases 5 and 6: whether the route is for whoever asks, and whether they ask too often.
//!
//! First what costs least: the address, then the limits of rate.

use std::net::{IpAddr, Ipv4Addr};

use http::HeaderMap;

use super::{Exchange, Stop};
use crate::error::Fault;
use crate::guard::limit::{self, Caller, Limit, Outcome};
use crate::guard::{GuardPlan, Guarded};
use crate::model::rate::header;
use crate::snapshot::plan::RoutePlan;

/// Runs the phase.
pub async fn run(exchange: &mut Exchange<'_>, route: &RoutePlan) -> Result<(), Stop> {
    let Some(guard) = &route.guard else { return Ok(()) };
    let client = exchange.entry.client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    if guard.addresses.as_ref().is_some_and(|addresses| !addresses.allow(client)) {
        return Err(Fault::address_denied(client).into());
    }
    exchange.guarded = Some(Box::default());
    if let Some(limits) = &guard.limits {
        let [early, _] = &limits.stages;
        count(exchange, early, client).await?;
    }
    Ok(())
}

async fn count(exchange: &mut Exchange<'_>, limits: &[Limit], client: IpAddr) -> Result<(), Stop> {
    if limits.is_empty() {
        return Ok(());
    }
    let store = &*exchange.worker.shared.rates;
    let caller = Caller { address: client, headers: exchange.request.headers() };
    let (verdicts, refused) = match limit::ask(store, limits, &caller).await {
        Outcome::Passed(_, verdicts) => (verdicts, false),
        Outcome::Refused(verdicts) => (verdicts, true),
        Outcome::Unknown => return Ok(()),
        Outcome::Unavailable(error) => return Err(Fault::rates_unknown(&error).into()),
    };
    let wait = verdicts.iter().filter(|verdict| !verdict.allowed).map(|verdict| verdict.reset).max();
    if let Some(guarded) = &mut exchange.guarded {
        let labels = limits.iter().map(|limit| std::sync::Arc::clone(&limit.label));
        guarded.verdicts.extend(labels.zip(verdicts));
    }
    if refused { Err(Fault::rate_limited(wait.unwrap_or_default()).into()) } else { Ok(()) }
}

/// What the client is told besides the answer.
pub fn tell(guard: &GuardPlan, guarded: &Guarded, headers: &mut HeaderMap) {
    let Some(limits) = &guard.limits else { return };
    if let Some(policies) = &limits.policies {
        headers.insert(header::RATE_LIMIT_POLICY, policies.clone());
    }
    let verdicts = guarded.verdicts.iter().map(|(label, verdict)| (&**label, *verdict));
    if let Some(left) = header::left(verdicts) {
        headers.insert(header::RATE_LIMIT, left);
    }
}
