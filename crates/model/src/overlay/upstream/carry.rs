//! What carries the connections to a service: the PROXY protocol, TLS.

use std::path::PathBuf;

use tutti_core::{ServiceName, code};
use tutti_ports::routing::{CertificateFiles, CheckCarriage, ProxyVersion, TlsVersion, UpstreamTls};

use super::super::types::upstream as types;
use super::Reader;
use crate::compose::paths;
use crate::diagnostic::Problem;
use crate::source::Span;
use crate::yaml::Node;

/// The version that is spoken.
pub(super) fn version(version: types::ProxyVersion) -> ProxyVersion {
    match version {
        types::ProxyVersion::V1 => ProxyVersion::V1,
        types::ProxyVersion::V2 => ProxyVersion::V2,
    }
}

impl Reader<'_> {
    /// How TLS is spoken; `None` if it is not, or cannot be as it is said.
    pub(super) fn tls(&mut self, name: &ServiceName, tls: &types::TlsOrOn) -> Option<UpstreamTls> {
        let default = types::UpstreamTls::default();
        let said = match tls {
            types::TlsOrOn::Whether(false) => return None,
            types::TlsOrOn::Whether(true) => &default,
            types::TlsOrOn::How(how) => how,
        };
        let certificate = match (&said.cert, &said.key) {
            (Some(cert), Some(key)) => Some(CertificateFiles {
                cert: self.file("cert", cert),
                key: self.file("key", key),
                ocsp: None,
            }),
            (None, None) => None,
            (one, _) => {
                let (there, missing) = if one.is_some() { ("cert", "key") } else { ("key", "cert") };
                self.wrong(
                    there,
                    format!("`{there}` needs `{missing}`: a certificate and its key belong together"),
                );
                None
            }
        };
        let min_version = match said.min_version.as_deref() {
            None | Some("1.2") => TlsVersion::Tls12,
            Some("1.3") => TlsVersion::Tls13,
            Some(other) => {
                let message =
                    format!("`{other}` is not a version of TLS that can be the oldest: `1.2` or `1.3`");
                self.wrong("min_version", message);
                TlsVersion::Tls12
            }
        };
        if said.insecure_skip_verify {
            self.insecure(name, said);
        }
        let server_name = self.server_name(name, said);
        let ca = said.ca.as_ref().map(|ca| self.file("ca", ca));
        let insecure_skip_verify = said.insecure_skip_verify;
        Some(UpstreamTls { ca, server_name, certificate, min_version, insecure_skip_verify })
    }

    /// What health checks speak of what requests do.
    pub(super) fn checks(
        &mut self,
        said: Option<types::CheckCarriage>,
        tls: bool,
        proxy: bool,
    ) -> CheckCarriage {
        let said = said.unwrap_or_default();
        for (key, given, there) in
            [("tls", said.tls.is_some(), tls), ("proxy_protocol", said.proxy_protocol.is_some(), proxy)]
        {
            if given && !there {
                self.bad("health_check", format!("`health_check.{key}` has no effect without `{key}`"));
            }
        }
        CheckCarriage { tls: said.tls != Some(false), proxy_protocol: said.proxy_protocol != Some(false) }
    }

    fn insecure(&mut self, name: &ServiceName, said: &types::UpstreamTls) {
        if said.ca.is_some() {
            self.wrong(
                "ca",
                "`ca` has no effect with `insecure_skip_verify`, which believes anybody".to_owned(),
            );
        }
        let message = format!(
            "INSECURE: the certificates of `{name}` are not verified: whoever sits in between can read and change everything"
        );
        let hint = "name its authority under `ca` instead";
        let span = self.within("insecure_skip_verify");
        self.report.add(Problem::warning(code::NOT_HONOURED, message).at(span).hint(hint));
    }

    /// The name that is said, or the host of what runs elsewhere, or the service's own.
    fn server_name(&mut self, name: &ServiceName, said: &types::UpstreamTls) -> String {
        let Some(said) = &said.server_name else {
            let external = self.services.get(name).and_then(|service| service.external.first());
            let host = external.and_then(|(_, address)| address.rsplit_once(':')).map(|(host, _)| host);
            return host.map_or_else(|| name.to_string(), |host| host.trim_matches(['[', ']']).to_owned());
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
        if !said.chars().all(plain) {
            self.wrong("server_name", format!("`{said}` is neither a host name nor an address"));
        }
        said.clone()
    }

    /// A file of the project, which must be there.
    fn file(&mut self, key: &str, said: &str) -> PathBuf {
        let path = paths::absolute(self.folder, said, self.env);
        if !self.report.sources.disk.is_file(&path) {
            let (message, span) = (format!("there is no file `{}`", path.display()), self.within(key));
            self.report.error(code::UNREADABLE_FILE, span, message);
        }
        path
    }

    fn wrong(&mut self, key: &str, message: String) {
        let span = self.within(key);
        self.report.error(code::BAD_VALUE, span, message);
    }

    /// Where a key of `tls` stands.
    fn within(&self, key: &str) -> Span {
        let tls = self.node.and_then(|node| node.get("tls"));
        let node: Option<&Node> = tls.and_then(|tls| tls.get(key)).or(tls);
        node.map_or(Span::default(), |node| node.span)
    }
}
