//! Who may ask, and how often: the guard of a route, compiled, and what it keeps.

pub mod address;
pub mod limit;
pub mod store;

use tutti_ports::rate::Verdict;
use tutti_ports::routing::Guard;

use address::Addresses;
use limit::Limits;

/// The guard of a route.
pub struct GuardPlan {
    /// From where.
    pub addresses: Option<Addresses>,
    /// How often.
    pub limits: Option<Limits>,
}

impl GuardPlan {
    /// Compiles a guard; `None` if it lets everybody. The text says what is wrong.
    pub fn compile(route: &str, guard: &Guard) -> Result<Option<Box<Self>>, String> {
        if *guard == Guard::default() {
            return Ok(None);
        }
        Ok(Some(Box::new(Self {
            addresses: Addresses::compile(guard),
            limits: Limits::compile(route, &guard.rate_limits)?,
        })))
    }
}

/// What a guard found out about a request.
#[derive(Default)]
pub struct Guarded {
    /// What the limits said, with what callers are told they are called.
    pub verdicts: Vec<(std::sync::Arc<str>, Verdict)>,
}
