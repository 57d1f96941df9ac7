//! What the data plane knows, as one immutable value: listeners with their compiled routes, and who is ready.
//!
//! A snapshot is made by the control side and adopted by each worker; what did not change is shared with the snapshot
//! before. A worker never sees half of a change, and never goes back to an older generation.

pub mod book;
pub mod cluster;
pub mod gates;
pub mod members;
pub mod plan;
pub mod routes;
pub mod streams;

use std::sync::Arc;

use tutti_ports::catalog::View;
use tutti_ports::routing::Explain;

use crate::access_log;
use cluster::Cluster;
use plan::ListenerPlan;

/// One state of the data plane.
pub struct Snapshot {
    /// Grows by one with each snapshot of this process.
    pub generation: u64,
    /// The catalog's view that it was made of.
    pub view: Arc<View>,
    /// The greatest key of a socket when this was made: one that is older and not listed is of no use any more.
    pub keys: u64,
    /// Grows by one with each change of listeners and routes.
    pub routes: u64,
    /// Who is told why a request went where it went.
    pub explain: Explain,
    /// How requests are recorded; `None`: not at all.
    pub log: Option<Arc<access_log::plan::Plan>>,
    /// Everything that is listened at, edge and doors.
    pub listeners: Vec<Arc<ListenerPlan>>,
    /// Services and ports by slot. A slot never changes its meaning, so what was compiled earlier stays right.
    pub clusters: Arc<Vec<Arc<Cluster>>>,
}

impl Snapshot {
    /// Nothing.
    pub fn empty() -> Self {
        Self {
            generation: 0,
            view: Arc::default(),
            keys: 0,
            routes: 0,
            explain: Explain::Off,
            log: None,
            listeners: Vec::new(),
            clusters: Arc::default(),
        }
    }
}
