//! Between phases 5 and 6: whether the route is for whoever asks, and whether they ask too often.
//!
//! First what costs least: the address, then the limits of rate that need not know who asks, so that guessing credentials is
//! limited, too; then who asks, the limits that need to know it, and the condition;
//! at last another service, if the route names one.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, header as fields};
use tutti_ports::rate::Ask;

use super::{Exchange, Stop};
use crate::error::Fault;
use crate::guard::auth::{AuthPlan, Denied};
use crate::guard::limit::{self, Caller, Limit, Outcome};
use crate::guard::{GuardPlan, Guarded};
use crate::model::condition::{About, Condition};
use crate::model::forwarded;
use crate::model::rate::header;
use crate::model::router::host_key;
use crate::snapshot::plan::RoutePlan;

/// Runs the phase.
pub async fn run(exchange: &mut Exchange<'_>, route: &RoutePlan) -> Result<(), Stop> {
    let Some(guard) = &route.guard else { return Ok(()) };
    let client = client(exchange);
    if guard.addresses.as_ref().is_some_and(|addresses| !addresses.allow(client)) {
        return Err(Fault::address_denied(client).into());
    }
    exchange.entry.guarded = Some(Box::default());
    let mut counted = Vec::new();
    if let Some(limits) = &guard.limits {
        let [early, _] = &limits.stages;
        counted = count(exchange, early, client).await?;
    }
    if let Some(auth) = &guard.auth {
        identify(exchange, auth).await?;
    }
    if let Some(limits) = &guard.limits {
        let [_, late] = &limits.stages;
        if let Err(refused) = count(exchange, late, client).await {
            // No limit counts what another one refuses.
            exchange.worker.shared.rates.give_back(&counted);
            return Err(refused);
        }
    }
    if let Some(condition) = &guard.authorize
        && !holds(exchange, condition)
    {
        return Err(Fault::not_allowed("the condition of the route does not hold").into());
    }
    match &guard.external {
        None => Ok(()),
        // In a box, or every guarded request would carry its weight.
        Some(external) => Box::pin(super::external::run(exchange, external, route)).await,
    }
}

/// The client's address.
pub fn client(exchange: &Exchange<'_>) -> IpAddr {
    exchange.entry.client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

async fn count(exchange: &mut Exchange<'_>, limits: &[Limit], client: IpAddr) -> Result<Vec<Ask>, Stop> {
    if limits.is_empty() {
        return Ok(Vec::new());
    }
    let Some(mut guarded) = exchange.entry.guarded.take() else { return Ok(Vec::new()) };
    let store = &*exchange.worker.shared.rates;
    let caller = Caller { address: client, headers: exchange.request.headers(), identity: &guarded.identity };
    let outcome = limit::ask(store, limits, &caller).await;
    let labels = limits.iter().map(|limit| std::sync::Arc::clone(&limit.label));
    let result = match outcome {
        Outcome::Passed(asks, verdicts) => {
            guarded.verdicts.extend(labels.zip(verdicts));
            Ok(asks)
        }
        Outcome::Refused(verdicts) => {
            let refused = verdicts.iter().filter(|verdict| !verdict.allowed);
            let wait = refused.map(|verdict| verdict.reset).max().unwrap_or_default();
            guarded.verdicts.extend(labels.zip(verdicts));
            Err(Fault::rate_limited(wait).into())
        }
        Outcome::Unknown => Ok(Vec::new()),
        Outcome::Unavailable(error) => Err(Fault::rates_unknown(&error).into()),
    };
    exchange.entry.guarded = Some(guarded);
    result
}

async fn identify(exchange: &mut Exchange<'_>, auth: &AuthPlan) -> Result<(), Stop> {
    let identity = match auth.identify(&exchange.request).await {
        Ok(identity) => identity,
        Err(denied) => return Err(refuse(exchange, &denied)),
    };
    for (name, value) in identity.fields.iter() {
        exchange.request.headers_mut().insert(name.clone(), value.clone());
    }
    if let Some(guarded) = &mut exchange.entry.guarded {
        guarded.identity = identity;
    }
    Ok(())
}

fn refuse(exchange: &mut Exchange<'_>, denied: &Denied) -> Stop {
    match denied {
        Denied::Unknown(why) => {
            tracing::debug!(request_id = exchange.entry.id(), why, "a credential is not taken");
            if let Some(guarded) = &mut exchange.entry.guarded {
                guarded.challenged = true;
            }
            Fault::unauthenticated().into()
        }
        Denied::Forbidden(why) => {
            tracing::debug!(request_id = exchange.entry.id(), why, "a credential is not enough");
            Fault::not_allowed("the credential is not enough").into()
        }
        Denied::Unavailable(why) => Fault::keys_unknown(why).into(),
        Denied::Busy => Fault::overloaded("too many passwords are being looked at".to_owned()).into(),
    }
}

/// Whether a condition holds for a request.
pub fn holds(exchange: &Exchange<'_>, condition: &Condition) -> bool {
    let host = exchange.entry.host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host = host_key(host).unwrap_or_default();
    let request = &exchange.request;
    let identity = exchange.entry.guarded.as_ref().map(|guarded| &guarded.identity);
    condition.holds(&About {
        method: request.method(),
        path: request.uri().path(),
        query: request.uri().query().unwrap_or_default(),
        host: &host,
        scheme: forwarded::scheme(request.headers()),
        headers: request.headers(),
        source: client(exchange),
        name: identity.map_or("", |identity| &identity.name),
        claims: identity.map(|identity| &*identity.claims),
    })
}

/// What the client is told besides the answer.
pub fn tell(guard: &GuardPlan, guarded: &Guarded, headers: &mut HeaderMap) {
    if guarded.challenged
        && let Some(auth) = &guard.auth
    {
        headers.insert(fields::WWW_AUTHENTICATE, auth.challenge.clone());
    }
    for (name, value) in guarded.allowed.iter().flat_map(|allowed| &allowed.client) {
        if *name == fields::SET_COOKIE {
            headers.append(name.clone(), value.clone());
        } else {
            headers.insert(name.clone(), value.clone());
        }
    }
    let Some(limits) = &guard.limits else { return };
    if let Some(policies) = &limits.policies {
        headers.insert(header::RATE_LIMIT_POLICY, policies.clone());
    }
    let verdicts = guarded.verdicts.iter().map(|(label, verdict)| (&**label, *verdict));
    if let Some(left) = header::left(verdicts) {
        headers.insert(header::RATE_LIMIT, left);
    }
}
