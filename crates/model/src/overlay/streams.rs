//! `tcp_routes:` and `tls_routes:` become listeners whose bytes are passed on, and what is passed on at the address of HTTPS.

use std::net::SocketAddr;
use std::time::Duration;

use tutti_core::code;
use tutti_ports::routing::{Backend, Cidr, Listener, Serve, StreamRoute, Transport};

use super::types::streams::{TcpRoute, TlsRoute};
use super::types::{OneText, Several, Targets};
use super::{Overlay, gateway, routes};
use crate::app::Application;
use crate::diagnostic::{Problem, Report};
use crate::source::Span;
use crate::value::duration;
use crate::yaml::Node;

/// What becomes of the routes.
#[derive(Default)]
pub(super) struct Streams {
    /// The listeners of their own.
    pub listeners: Vec<Listener>,
    /// What is passed on at the address of HTTPS.
    pub at_https: Vec<StreamRoute>,
}

/// Reads them. `carried` is what they have in common with the gateway's listeners.
pub(super) fn streams(
    overlay: &Overlay,
    application: &Application,
    carried: &Transport,
    https: Option<SocketAddr>,
    report: &mut Report,
) -> Streams {
    let mut reader = Reader { application, carried, out: Streams::default(), names: Vec::new(), report };
    let nodes = |key: &str| overlay.tree.get(key).map(Node::items).unwrap_or_default();
    for (at, (route, node)) in overlay.types.tcp_routes.iter().zip(nodes("tcp_routes")).enumerate() {
        reader.tcp(route, node, at);
    }
    for (at, (route, node)) in overlay.types.tls_routes.iter().zip(nodes("tls_routes")).enumerate() {
        reader.tls(route, node, at, https);
    }
    reader.out
}

struct Reader<'a> {
    application: &'a Application,
    carried: &'a Transport,
    out: Streams,
    names: Vec<String>,
    report: &'a mut Report,
}

/// What both kinds say alike.
struct Common<'a> {
    name: String,
    to: &'a Targets,
    allow: Option<&'a Several>,
    deny: Option<&'a Several>,
    connect: Option<&'a String>,
    idle: Option<&'a String>,
}

impl Reader<'_> {
    fn tcp(&mut self, route: &TcpRoute, node: &Node, at: usize) {
        let TcpRoute { name, listen, to, allow, deny, connect_timeout, idle_timeout } = route;
        let common = Common {
            name: name.clone().unwrap_or_else(|| format!("tcp-{}", at + 1)),
            to,
            allow: allow.as_ref(),
            deny: deny.as_ref(),
            connect: connect_timeout.as_ref(),
            idle: idle_timeout.as_ref(),
        };
        let Some(bind) = self.address(listen, node) else { return };
        let route = self.route(common, node);
        if self.out.listeners.iter().any(|other| other.bind == bind && bind.port() != 0) {
            let message = format!("{bind} is listened at for another route");
            self.report.error(code::CONFLICT, span(node, "listen"), message);
            return;
        }
        let name = format!("tcp:{}", route.name);
        let serve = Serve::Stream(Some(Box::new(route)));
        self.out.listeners.push(Listener { name, bind, transport: self.carried.clone(), serve });
    }

    fn tls(&mut self, route: &TlsRoute, node: &Node, at: usize, https: Option<SocketAddr>) {
        let TlsRoute { name, listen, host, alpn, to, allow, deny, connect_timeout, idle_timeout } = route;
        let common = Common {
            name: name.clone().unwrap_or_else(|| format!("tls-{}", at + 1)),
            to,
            allow: allow.as_ref(),
            deny: deny.as_ref(),
            connect: connect_timeout.as_ref(),
            idle: idle_timeout.as_ref(),
        };
        let (hosts, alpn) = (self.hosts(host.as_ref(), node), Several::list(alpn.as_ref()));
        let made = StreamRoute { hosts, alpn, ..self.route(common, node) };
        let bind = match listen {
            Some(listen) => self.address(listen, node),
            None => https,
        };
        let Some(bind) = bind else {
            if listen.is_none() {
                let message = "a TLS route needs an address: `listen`, or that of `gateway.https`";
                self.report.add(Problem::error(code::MISSING_KEY, message).at(node.span));
            }
            return;
        };
        if https == Some(bind) {
            self.out.at_https.push(made);
            return;
        }
        let known = self.out.listeners.iter_mut().find(|other| other.bind == bind);
        match known {
            Some(Listener { serve: Serve::Stream(None), transport, .. }) => transport.passthrough.push(made),
            Some(_) => {
                let message = format!("{bind} is listened at for another route");
                self.report.error(code::CONFLICT, span(node, "listen"), message);
            }
            None => {
                let name = format!("tls:{bind}");
                let transport = Transport { passthrough: vec![made], ..self.carried.clone() };
                self.out.listeners.push(Listener { name, bind, transport, serve: Serve::Stream(None) });
            }
        }
    }

    fn route(&mut self, common: Common<'_>, node: &Node) -> StreamRoute {
        if self.names.contains(&common.name) {
            let message = format!("two routes are called `{}`", common.name);
            self.report.error(code::CONFLICT, span(node, "name"), message);
        }
        self.names.push(common.name.clone());
        let backends: Vec<Backend> = routes::stream_backends(common.to, node, self.application, self.report);
        let length = |text: Option<&String>| -> Option<Duration> { duration::parse(text?).ok() };
        let ranges = |list: Option<&Several>| -> Vec<Cidr> {
            // They have been looked at one by one, with their places.
            Several::list(list).iter().filter_map(|text| text.parse().ok()).collect()
        };
        StreamRoute {
            name: common.name,
            hosts: Vec::new(),
            alpn: Vec::new(),
            backends,
            allow: ranges(common.allow),
            deny: ranges(common.deny),
            connect_timeout: length(common.connect).filter(|length| !length.is_zero()),
            idle_timeout: length(common.idle),
        }
    }

    fn hosts(&mut self, host: Option<&Several>, node: &Node) -> Vec<String> {
        let hosts = Several::list(host).iter().map(|host| host.to_ascii_lowercase()).collect::<Vec<_>>();
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        for host in &hosts {
            let name = host.strip_prefix("*.").unwrap_or(host);
            if name.is_empty() || !name.chars().all(allowed) {
                let message =
                    format!("`{host}` is not a host name: it is exact or `*.suffix`, without a port");
                self.report.error(code::BAD_VALUE, span(node, "host"), message);
            }
        }
        hosts
    }

    fn address(&mut self, listen: &OneText, node: &Node) -> Option<SocketAddr> {
        gateway::address(listen, span(node, "listen"), self.report)
    }
}

fn span(node: &Node, key: &str) -> Span {
    node.get(key).map_or(node.span, |node| node.span)
}

#[cfg(test)]
mod tests;
