//! Phase 4: a worker takes no more than it can finish.

use tutti_core::limits;

use super::{Exchange, Stop};
use crate::error::Fault;

/// Runs the phase.
pub fn run(exchange: &mut Exchange<'_>) -> Result<(), Stop> {
    let under_way = exchange.worker.recorder.under_way();
    if under_way > limits::WORKER_REQUESTS {
        let message = format!("{} requests are under way on this worker", limits::WORKER_REQUESTS);
        return Err(Fault::overloaded(message).into());
    }
    Ok(())
}
