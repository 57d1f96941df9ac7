//! Who may ask, and how often: the guard of a route, compiled, and what it keeps.

pub mod address;
pub mod auth;
pub mod external;
pub mod identity;
pub mod limit;
pub mod store;

use std::sync::Arc;

use tutti_ports::rate::Verdict;
use tutti_ports::routing::Guard;

use crate::model::condition::Condition;
use address::Addresses;
use auth::keyring::Keyrings;
use auth::{AuthPlan, Identity};
use external::{Allowed, ExternalPlan};
use limit::Limits;

/// The guard of a route.
pub struct GuardPlan {
    /// From where.
    pub addresses: Option<Addresses>,
    /// How often.
    pub limits: Option<Limits>,
    /// Who.
    pub auth: Option<AuthPlan>,
    /// Under which condition.
    pub authorize: Option<Condition>,
    /// Who else decides.
    pub external: Option<ExternalPlan>,
}

impl GuardPlan {
    /// Compiles a guard; `None` if it lets everybody. The text says what is wrong.
    pub fn compile(
        route: &str,
        guard: &Guard,
        external: Option<ExternalPlan>,
        keyrings: &mut Keyrings,
    ) -> Result<Option<Box<Self>>, String> {
        if *guard == Guard::default() {
            return Ok(None);
        }
        let condition = |text: &String| Condition::compile(text, true);
        Ok(Some(Box::new(Self {
            addresses: Addresses::compile(guard),
            limits: Limits::compile(route, &guard.rate_limits)?,
            auth: guard.auth.as_ref().map(|auth| AuthPlan::compile(auth, keyrings)).transpose()?,
            authorize: guard
                .authorize
                .as_ref()
                .map(condition)
                .transpose()
                .map_err(|why| format!("authorize: {why}"))?,
            external,
        })))
    }
}

/// What a guard found out about a request.
#[derive(Default)]
pub struct Guarded {
    /// What the limits said, with what callers are told they are called.
    pub verdicts: Vec<(Arc<str>, Verdict)>,
    /// Who asks.
    pub identity: Identity,
    /// Whether the client is told what credential to bring.
    pub challenged: bool,
    /// What another service has permitted.
    pub allowed: Option<Arc<Allowed>>,
}
