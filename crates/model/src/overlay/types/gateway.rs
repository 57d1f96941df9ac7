//! The types of `gateway:`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::acme::Acme;
use super::external::ExternalAuth;
use super::{AccessLog, ClientLimits, OneText, RateLimits, Several};

/// The gateway.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Gateway {
    /// The address, such as `127.0.0.1:8080`, `:8080` or `8080`. Default: where the compose file publishes the service
    /// to which `/` goes, else `127.0.0.1:8080`.
    pub listen: Option<OneText>,
    /// How often a caller may ask, whatever the route: counted for all routes together, beside the limits of the route.
    pub rate_limit: Option<RateLimits>,
    /// Another service that is asked whether a request may pass, on every route that does not say otherwise.
    pub external_auth: Option<ExternalAuth>,
    /// What each client may take.
    pub limits: Option<ClientLimits>,
    /// The proxies and load balancers in front, by address or range such as `10.0.0.0/8`; `private_ranges` stands for those of
    /// private networks and of this machine. Only they are believed when they say for whom they ask. Default: nobody.
    pub trusted_proxies: Option<Several>,
    /// The header field in which they say it: `x-forwarded-for` (the default) or `forwarded`. The other one is not believed.
    pub trusted_header: Option<TrustedHeader>,
    /// Load balancers in front begin connections with a header of the PROXY protocol (version 1 or 2), which says who the client is:
    /// `required`, `optional`, or the whole. Default: nobody does.
    pub proxy_protocol: Option<ProxyProtocolOrMode>,
    /// Who is told why a request went where it went, if the request asks by `x-tutti-explain: true`: `off`, `loopback` (clients on this
    /// machine), `on` (everybody, without instances and addresses), or addresses and ranges. Default: `loopback`, in production `off`.
    pub explain: Option<Several>,
    /// Where requests are recorded: a file, `stdout` or `off`, or the whole. Default: JSON lines in `.tutti/access.log`.
    pub access_log: Option<AccessLog>,
    /// The address at which the routes are served over HTTPS, such as `0.0.0.0:443` or `:8443`.
    pub https: Option<OneText>,
    /// Whether plain HTTP is answered with a redirect to HTTPS. Default: yes, where there is `https`.
    pub https_redirect: Option<bool>,
    /// How HTTPS is spoken.
    pub tls: Option<Tls>,
    /// HTTP/3 at the address of `https`, at the same port of UDP, or how. With `false` clients that remember it are told to forget it.
    /// Default: none.
    pub http3: Option<Http3>,
}

/// Whether HTTP/3 is spoken, or how.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Http3 {
    /// Whether.
    Whether(bool),
    /// How.
    How(Http3Options),
}

/// How HTTP/3 is spoken.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http3Options {
    /// The port that clients are told, if it is another than that of `https`: where something in front forwards UDP.
    pub advertised_port: Option<u16>,
    /// For how long clients may remember that there is HTTP/3. Default: 24h.
    pub max_age: Option<String>,
    /// Whether each client has to show that its address is its own before its handshake, which costs it a round trip. Default: only
    /// while many handshakes are under way.
    pub retry: Option<bool>,
}

/// How HTTPS is spoken.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Certificates in files, which are read again when they change. Which one is shown is decided by the names in them; the
    /// first is for clients that ask for none of these.
    pub files: Vec<CertificateFiles>,
    /// The oldest version that is spoken: `1.2` or `1.3`. Default: `1.2`.
    pub min_version: Option<String>,
    /// Certificates of an authority that is asked by ACME. Without it and without `files`, the development authority of this user
    /// issues them.
    pub acme: Option<Acme>,
    /// Which clients show certificates. Default: none is asked.
    pub client_auth: Option<ClientAuth>,
}

/// A certificate in files.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The chain in PEM, the server's own certificate first.
    pub cert: String,
    /// Its private key in PEM.
    pub key: String,
    /// An OCSP response in DER, shown with it.
    pub ocsp: Option<String>,
}

/// Which clients show certificates.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientAuth {
    /// The authorities whose certificates are believed, in PEM.
    pub ca: String,
    /// `required` (the default) or `optional`.
    pub mode: Option<ClientAuthMode>,
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuthMode {
    /// Who has none is turned away.
    #[default]
    Required,
    /// Who has none is served too.
    Optional,
}

/// The header field in which proxies say for whom they ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TrustedHeader {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Who begins connections with a header of the PROXY protocol.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ProxyProtocolOrMode {
    /// The trusted proxies do, at all addresses of the gateway.
    Mode(ProxyMode),
    /// All of it.
    Whole(ProxyProtocol),
}

/// Who begins connections with a header of the PROXY protocol.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProxyProtocol {
    /// `required` (the default) or `optional`.
    pub mode: Option<ProxyMode>,
    /// The addresses of those who do, as in `trusted_proxies`, which it is by default.
    pub from: Option<Several>,
    /// At which addresses of the gateway: `listen`, `https`, or both (the default).
    pub listeners: Option<Several>,
}

/// Whether connections must begin with a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProxyMode {
    /// Those of the proxies must, and others are closed.
    #[default]
    Required,
    /// Those of the proxies may, and others are served as they come.
    Optional,
}
