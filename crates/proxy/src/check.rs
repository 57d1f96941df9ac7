//! A configuration that is only looked at: compiled as it would be to be taken into force, with nothing bound, fetched or written.

use std::sync::Arc;

use tutti_ports::routing::{Routing, Serve};

use crate::config::Options;
use crate::control::{self, Control};
use crate::error::ApplyError;
use crate::metrics::Metrics;
use crate::snapshot::book::Book;
use crate::snapshot::plan::Compiler;
use crate::transport::{self, TransportError};

/// Whether listeners and routes could be taken into force, as far as rules and files decide. Whether addresses are free turns out when
/// they are bound.
pub fn check(routing: Routing, options: &Options) -> Result<(), ApplyError> {
    control::check(&routing)?;
    let mut control = Control::new(Arc::default(), transport::Book::new(None));
    let carriers = control.carriers.compile(&routing.upstreams);
    carriers.map_err(|(service, source)| ApplyError::Upstream { service, source })?;
    let metrics = Arc::<Metrics>::default();
    let mut compiler = Compiler {
        clusters: &mut control.clusters,
        metrics: &metrics,
        options,
        keyrings: &mut control.keyrings,
        documents: &mut control.documents,
        made: &mut control.made,
        identity: None,
    };
    for mut listener in routing.listeners {
        if let Serve::Http(routes) = &mut listener.serve {
            let failed = |source| ApplyError::Route { listener: listener.name.clone(), source };
            Book::default().all(&listener.name, std::mem::take(routes), &mut compiler).map_err(failed)?;
        }
        compiler.edge(&listener, 0, listener.bind)?;
        match control.transports.compile(&listener) {
            // The machine's own are there when it runs.
            Ok(_) | Err(TransportError::NoCertificate) => {}
            Err(source) => {
                let (listener, source) = (listener.name.clone(), Box::new(source));
                return Err(ApplyError::Transport { listener, source });
            }
        }
    }
    Ok(())
}
