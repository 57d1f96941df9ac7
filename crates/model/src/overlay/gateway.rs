//! `gateway:` becomes listeners: one of plain HTTP, and with `https` one of HTTPS.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tutti_core::code;
use tutti_ports::routing::{
    CertificateFiles, ClientAuth, Filter, Http3, Listener, Match, PathMatch, Route, Serve, Tls, TlsVersion,
    Transport,
};

use super::types::gateway::ClientAuthMode;
use super::types::{self, OneText};
use super::{Overlay, acme, proxies, routes, streams};
use crate::app::Application;
use crate::compose::environment::Environment;
use crate::compose::paths;
use crate::diagnostic::{Problem, Report};
use crate::source::Span;
use crate::value::duration;
use crate::yaml::Node;

/// Where the gateway listens when nothing says otherwise.
const DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

/// Keys that hold for published ports, too.
const EVERYWHERE: [&str; 2] = ["access_log", "explain"];

/// The gateway's listeners; none without routes.
///
/// Without `gateway.listen` it takes the place of the published port of the service to which `/` goes, so that the
/// application answers where Docker Compose would let it answer; without such a port it is `127.0.0.1:8080`.
pub(crate) fn gateway(
    overlay: &Overlay,
    application: &Application,
    env: &Environment,
    report: &mut Report,
) -> Vec<Listener> {
    let routes = routes::routes(overlay, application, report);
    let node = overlay.tree.get("gateway");
    let (served, streams) = (!overlay.types.routes.is_empty(), has_streams(overlay));
    if !served && !streams {
        let held = |node: &&Node| {
            node.as_map().is_none_or(|map| map.keys().any(|key| !EVERYWHERE.contains(&&**key)))
        };
        if let Some(node) = node.filter(held) {
            let message = "`gateway` has no effect without `routes`: published ports are served where they are published";
            report.add(Problem::notice(code::NOT_HONOURED, message).at(node.span));
        }
        return Vec::new();
    }
    let default = types::Gateway::default();
    let said = overlay.types.gateway.as_ref().unwrap_or(&default);
    let mut reader = Reader { node, folder: &application.folder, env, report };
    let (span, header_span) = (reader.span("trusted_proxies"), reader.span("proxy_protocol"));
    let carried = Transport {
        limits: super::limits::limits(said.limits.as_ref()),
        trusted_proxies: proxies::trusted(said, span, reader.report),
        ..Transport::default()
    };
    let headers = proxies::protocol(said, header_span, reader.report);
    let at = |key: &str| headers.as_ref().filter(|(_, at)| at.is_empty() || at.iter().any(|one| one == key));
    let proxied = |key: &str| Transport {
        proxy_protocol: at(key).map(|(protocol, _)| protocol.clone()),
        ..carried.clone()
    };
    let https = reader.place("https", said.https.as_ref(), || None).filter(|_| served);
    let streams = streams::streams(overlay, application, &proxied(""), https, reader.report);
    let mut listeners = Vec::new();
    if served {
        let Some(bind) = reader.place("listen", said.listen.as_ref(), || {
            Some(published_root(&routes, application).unwrap_or(DEFAULT))
        }) else {
            return Vec::new();
        };
        let plain =
            |serve| Listener { name: "gateway".to_owned(), bind, transport: proxied("listen"), serve };
        match https {
            None => {
                reader.without_https(said);
                listeners.push(plain(Serve::Http(routes)));
            }
            Some(https) => {
                if https == bind {
                    let message = format!("HTTP and HTTPS cannot both be served at {https}");
                    reader.report.error(code::CONFLICT, reader.span("https"), message);
                }
                let tls = reader.tls_with_acme(said, &routes);
                reader.strangers(&tls, https);
                let redirected = said.https_redirect.unwrap_or(true);
                let first = if redirected { vec![Arc::new(redirect(https.port()))] } else { routes.clone() };
                listeners.push(plain(Serve::Http(first)));
                let passthrough = streams.at_https;
                let http3 = said.http3.as_ref().map(http3);
                let transport = Transport { tls: Some(tls), passthrough, http3, ..proxied("https") };
                let (name, serve) = ("gateway-https".to_owned(), Serve::Http(routes));
                listeners.push(Listener { name, bind: https, transport, serve });
            }
        }
    }
    for stream in streams.listeners {
        if listeners.iter().any(|other: &Listener| other.bind == stream.bind && stream.bind.port() != 0) {
            let message = format!("{} is the address of the gateway, and of `{}`", stream.bind, stream.name);
            reader.report.error(code::CONFLICT, Span::default(), message);
        }
        listeners.push(stream);
    }
    listeners
}

impl Reader<'_> {
    /// Says it when clients on other machines will be shown a certificate of this machine's own authority.
    fn strangers(&mut self, tls: &Tls, https: SocketAddr) {
        if !tls.files.is_empty() || tls.acme.is_some() || https.ip().is_loopback() {
            return;
        }
        let message = format!(
            "clients of other machines can reach {https}, and will not trust its certificate: this machine's development authority signs it"
        );
        let hint = "give the certificate in `tls: { files: … }` or have it made by `tls: { acme: … }`; for development alone, listen at 127.0.0.1";
        let problem = Problem::notice(code::CERTIFICATE_OF_DEVELOPMENT, message);
        self.report.add(problem.at(self.span("https")).hint(hint));
    }
}

/// Whether any bytes are passed on.
fn has_streams(overlay: &Overlay) -> bool {
    !overlay.types.tcp_routes.is_empty() || !overlay.types.tls_routes.is_empty()
}

/// What is said of HTTP/3. The table has checked it.
fn http3(said: &types::gateway::Http3) -> Http3 {
    let default = Http3::default();
    match said {
        types::gateway::Http3::Whether(on) => Http3 { on: *on, ..default },
        types::gateway::Http3::How(how) => Http3 {
            on: true,
            advertised_port: how.advertised_port,
            max_age: how
                .max_age
                .as_deref()
                .and_then(|text| duration::parse(text).ok())
                .unwrap_or(default.max_age),
            retry: how.retry.unwrap_or_default(),
        },
    }
}

/// Answers every request with where it is served over HTTPS.
fn redirect(port: u16) -> Route {
    let (scheme, port) = (Some("https".to_owned()), Some(port));
    let to = Filter::Redirect { scheme, host: None, port, path: None, status: 308 };
    Route { filters: vec![to], ..Route::named("https-redirect") }
}

struct Reader<'a> {
    node: Option<&'a Node>,
    folder: &'a Path,
    env: &'a Environment,
    report: &'a mut Report,
}

impl Reader<'_> {
    fn span(&self, key: &str) -> Span {
        let key = self.node.and_then(|node| node.get(key));
        key.or(self.node).map_or(Span::default(), |node| node.span)
    }

    /// The address that a key says, or the default without one. `None` also if it is none, which is reported.
    fn place(
        &mut self,
        key: &str,
        said: Option<&OneText>,
        default: impl FnOnce() -> Option<SocketAddr>,
    ) -> Option<SocketAddr> {
        match said {
            Some(said) => address(said, self.span(key), self.report),
            None => default(),
        }
    }

    fn without_https(&mut self, said: &types::Gateway) {
        for (key, there) in [
            ("tls", said.tls.is_some()),
            ("https_redirect", said.https_redirect == Some(true)),
            ("http3", said.http3.as_ref().is_some_and(|said| http3(said).on)),
        ] {
            if there && said.https.is_none() {
                let message = format!("`{key}` needs `https`, the address at which HTTPS is spoken");
                let hint = "for example `https: \":8443\"`";
                self.report.add(Problem::error(code::MISSING_KEY, message).at(self.span(key)).hint(hint));
            }
        }
    }

    fn tls_with_acme(&mut self, said: &types::Gateway, routes: &[Arc<Route>]) -> Tls {
        let mut tls = self.tls(said.tls.as_ref());
        let asked = said.tls.as_ref().and_then(|tls| tls.acme.as_ref());
        tls.acme = asked.map(|said| {
            let node = self.node.and_then(|node| node.get("tls")?.get("acme"));
            acme::read(said, node, routes, (self.folder, self.env), self.report)
        });
        tls
    }

    fn tls(&mut self, said: Option<&types::Tls>) -> Tls {
        let Some(said) = said else { return Tls::default() };
        let node = self.node.and_then(|node| node.get("tls"));
        let at = |key: &str| node.and_then(|node| node.get(key));
        let entries = at("files").map(Node::items).unwrap_or_default();
        let files = said.files.iter().zip(entries).map(|(files, node)| CertificateFiles {
            cert: self.file(&files.cert, node.get("cert")),
            key: self.file(&files.key, node.get("key")),
            ocsp: files.ocsp.as_ref().map(|ocsp| self.file(ocsp, node.get("ocsp"))),
        });
        let files = files.collect();
        let min_version = match said.min_version.as_deref() {
            None | Some("1.2") => TlsVersion::Tls12,
            Some("1.3") => TlsVersion::Tls13,
            Some(other) => {
                let message =
                    format!("`{other}` is not a version of TLS that can be the oldest: `1.2` or `1.3`");
                let span = at("min_version").map_or(Span::default(), |node| node.span);
                self.report.error(code::BAD_VALUE, span, message);
                TlsVersion::Tls12
            }
        };
        let client_auth = said.client_auth.as_ref().map(|auth| ClientAuth {
            ca: self.file(&auth.ca, at("client_auth").and_then(|node| node.get("ca"))),
            required: auth.mode.unwrap_or_default() == ClientAuthMode::Required,
        });
        Tls { files, min_version, client_auth, acme: None }
    }

    /// A file of the project, which must be there.
    fn file(&mut self, said: &str, node: Option<&Node>) -> PathBuf {
        let path = paths::absolute(self.folder, said, self.env);
        if !self.report.sources.disk.is_file(&path) {
            let message = format!("there is no file `{}`", path.display());
            let span = node.map_or(Span::default(), |node| node.span);
            self.report.error(code::UNREADABLE_FILE, span, message);
        }
        path
    }
}

pub(super) fn address(listen: &OneText, span: Span, report: &mut Report) -> Option<SocketAddr> {
    let text = match listen {
        OneText::Int(port) => port.to_string(),
        OneText::Text(text) => text.clone(),
    };
    let full = match text.strip_prefix(':').unwrap_or(&text) {
        port if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            // A port alone is this machine's own; every address is asked for by name.
            format!("127.0.0.1:{port}")
        }
        _ => text.replace("localhost:", "127.0.0.1:"),
    };
    let parsed = full.parse().ok();
    if parsed.is_none() {
        let hint = "for example `127.0.0.1:8080`, `0.0.0.0:80` or `:8080`";
        let message = format!("`{text}` is not an address to listen at");
        report.add(Problem::error(code::BAD_VALUE, message).at(span).hint(hint));
    }
    parsed
}

/// Where the service behind `/` is published.
fn published_root(routes: &[Arc<Route>], application: &Application) -> Option<SocketAddr> {
    let root = |found: &Match| match &found.path {
        None => true,
        Some(PathMatch::Prefix(path)) => path == "/",
        Some(_) => false,
    };
    let whole = routes.iter().find(|route| route.matches.is_empty() || route.matches.iter().any(root))?;
    let backend = whole.backends.first()?;
    let service = application.services.get(&backend.service)?;
    let port = service.published.iter().find(|port| !port.udp && port.host_port.is_some())?;
    let ip = port.host_ip.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into());
    Some(SocketAddr::new(ip, port.host_port?))
}
