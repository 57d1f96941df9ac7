//! Carrying out one probe: the only place of the registry that talks to instances.
//!
//! Each attempt uses a connection of its own, as a new client would, and reads no more than [`BODY_BYTES`] of an answer. It begins as
//! connections for requests do, with TLS or a header of the PROXY protocol, for which somebody else is asked.

mod grpc;
mod http;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tutti_core::error::chain;
use tutti_core::{InstanceId, ServiceName};
use tutti_net::carry::{Carriage, Carries};
use tutti_net::{Addr, ConnectError, Stream};
use tutti_ports::catalog::{AppProtocol, Probe};
use tutti_ports::exec::{Exec, ExecError};

use crate::model::check::Verdict;
use crate::text::{printable, quoted};

/// Most that is read of an answer. More is not needed, and a page of usual size is read to its end, so that the service
/// does not see its connection break while it is sending.
const BODY_BYTES: usize = 64 << 10;

/// How much longer than a command's timeout is waited for whoever runs it to kill it and say so.
const KILL_GRACE: Duration = Duration::from_secs(2);

/// What a probe found, and in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub verdict: Verdict,
    pub reason: String,
}

impl Found {
    fn new(verdict: Verdict, reason: impl Into<String>) -> Self {
        Self { verdict, reason: reason.into() }
    }
}

/// What a probe needs.
#[derive(Clone)]
pub(crate) struct Order {
    pub id: InstanceId,
    pub service: ServiceName,
    /// What requests speak at the probe's address.
    pub protocol: AppProtocol,
    pub probe: Probe,
    pub timeout: Duration,
    pub exec: Arc<dyn Exec>,
}

/// Carries out probes. A trait, so that the service is tested without a network.
#[async_trait::async_trait]
pub(crate) trait Prober: Send + Sync + 'static {
    /// Carries out one. May take longer than the timeout only where it says so.
    async fn probe(&self, order: Order) -> Found;
}

/// Who knows how connections to services begin, once there is somebody.
pub(crate) type Carriers = Arc<OnceLock<Arc<dyn Carriage>>>;

/// The real one.
#[derive(Default)]
pub(crate) struct NetProber {
    pub carriers: Carriers,
}

/// Makes connections for a probe.
struct Dial<'a> {
    service: &'a str,
    protocol: AppProtocol,
    timeout: Duration,
    carriage: Option<&'a dyn Carriage>,
}

impl Dial<'_> {
    /// What requests are carried by.
    fn carries(&self) -> Carries {
        match self.protocol {
            AppProtocol::Http => Carries::Http1,
            AppProtocol::H2c => Carries::Http2,
            AppProtocol::Tcp => Carries::Bytes,
        }
    }

    /// A connection that has begun, and the authority that is asked for on it.
    async fn connect(&self, addr: SocketAddr, carries: Carries) -> Result<(Stream, String), Found> {
        let made = Stream::connect(&Addr::Tcp(addr), self.timeout).await;
        let stream = made.map_err(|error| no_connection(&error))?;
        let Some(carriage) = self.carriage else { return Ok((stream, addr.to_string())) };
        let begun = carriage.check(self.service, stream, carries).await.map_err(|error| {
            Found::new(Verdict::Fail, format!("at {addr}: {}", printable(&chain(&error), 200)))
        })?;
        let named = |name: String| match (name.contains(':'), addr.port()) {
            (true, 443) => format!("[{name}]"),
            (true, port) => format!("[{name}]:{port}"),
            (false, 443) => name,
            (false, port) => format!("{name}:{port}"),
        };
        Ok((begun.stream, begun.server_name.map_or_else(|| addr.to_string(), named)))
    }
}

#[async_trait::async_trait]
impl Prober for NetProber {
    async fn probe(&self, order: Order) -> Found {
        let timeout = order.timeout;
        let dial = Dial {
            service: order.service.as_str(),
            protocol: order.protocol,
            timeout,
            carriage: self.carriers.get().map(Arc::as_ref),
        };
        let limited = match &order.probe {
            Probe::Command { argv } => {
                let run = command(&order, argv);
                return tokio::time::timeout(timeout + KILL_GRACE, run)
                    .await
                    .unwrap_or_else(|_| too_late(&order));
            }
            Probe::Http { addr, path, host, any_status } => {
                let (addr, host, any_status) = (*addr, host.as_deref(), *any_status);
                let asked = http::Asked { addr, path, host, any_status };
                tokio::time::timeout(timeout, http::probe(&dial, asked)).await
            }
            Probe::Grpc { addr, service } => {
                tokio::time::timeout(timeout, grpc::probe(&dial, *addr, service, timeout)).await
            }
            Probe::Tcp { addr } => tokio::time::timeout(timeout, tcp(&dial, *addr)).await,
            // TTL checks are never probed.
            Probe::Ttl { .. } => Ok(Found::new(Verdict::Pass, "")),
        };
        limited.unwrap_or_else(|_| too_late(&order))
    }
}

fn too_late(order: &Order) -> Found {
    Found::new(Verdict::Fail, format!("{} did not answer within {:?}", describe(&order.probe), order.timeout))
}

/// What a probe does, in words.
pub(crate) fn describe(probe: &Probe) -> String {
    match probe {
        Probe::Http { addr, path, .. } => format!("GET {} at {addr}", printable(path, 80)),
        Probe::Tcp { addr } => format!("TCP at {addr}"),
        Probe::Grpc { addr, service } if service.is_empty() => format!("gRPC health at {addr}"),
        Probe::Grpc { addr, service } => format!("gRPC health of {} at {addr}", printable(service, 80)),
        Probe::Command { argv } => format!("`{}`", printable(&argv.join(" "), 80)),
        Probe::Ttl { ttl } => format!("TTL of {ttl:?}"),
    }
}

/// Where a probe goes.
pub(crate) fn address(probe: &Probe) -> Option<SocketAddr> {
    match probe {
        Probe::Http { addr, .. } | Probe::Tcp { addr } | Probe::Grpc { addr, .. } => Some(*addr),
        Probe::Command { .. } | Probe::Ttl { .. } => None,
    }
}

/// The kind of a probe, for a metric's label.
pub(crate) fn kind(probe: &Probe) -> &'static str {
    match probe {
        Probe::Http { .. } => "http",
        Probe::Tcp { .. } => "tcp",
        Probe::Grpc { .. } => "grpc",
        Probe::Command { .. } => "command",
        Probe::Ttl { .. } => "ttl",
    }
}

async fn tcp(dial: &Dial<'_>, addr: SocketAddr) -> Found {
    match dial.connect(addr, dial.carries()).await {
        Ok(_) => Found::new(Verdict::Pass, format!("TCP at {addr} accepted")),
        Err(found) => found,
    }
}

fn no_connection(error: &ConnectError) -> Found {
    if error.is_refused() {
        return Found::new(Verdict::Refused, format!("connection refused at {}", error.addr));
    }
    Found::new(
        Verdict::Fail,
        format!("no connection to {}: {}", error.addr, printable(&chain(&error.cause), 100)),
    )
}

async fn command(order: &Order, argv: &[String]) -> Found {
    let what = describe(&order.probe);
    match order.exec.run(&order.id, argv, order.timeout).await {
        Ok(finished) => {
            let said = quoted(last_line(&finished.output).as_bytes());
            let verdict = if finished.status == 0 { Verdict::Pass } else { Verdict::Fail };
            Found::new(verdict, format!("{what} ended with status {}{said}", finished.status))
        }
        Err(ExecError::Timeout(after)) => {
            Found::new(Verdict::Fail, format!("{what} did not end within {after:?}"))
        }
        Err(error) => Found::new(Verdict::Fail, printable(&chain(&error), 200)),
    }
}

/// The line of a command's output that most likely says what is wrong.
fn last_line(output: &str) -> &str {
    output.trim_end().lines().next_back().unwrap_or_default()
}
