//! What the proxies are put to, one row of the table each.

use clap::ValueEnum;

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// HTTP/1.1, kept connections, 1 kB.
    Small,
    /// HTTP/1.1, kept connections, 64 kB.
    Large,
    /// HTTP/1.1, a new connection for each request.
    Fresh,
    /// HTTP/2 over TLS 1.3, 100 streams on each connection, 1 kB.
    H2,
    /// gRPC unary over HTTP/2 without TLS, both sides.
    Grpc,
    /// TLS 1.3 with ECDSA, a full handshake for each request.
    Handshake,
    /// TLS 1.3, a resumed session for each request.
    Resumed,
    /// As `small`, behind a limit of rate that is never reached.
    Limited,
    /// As `small`, with a JWT (RS256) that is checked.
    Jwt,
}

impl Scenario {
    /// All, in the order of the table.
    pub const ALL: [Scenario; 9] = [
        Scenario::Small,
        Scenario::Large,
        Scenario::Fresh,
        Scenario::H2,
        Scenario::Grpc,
        Scenario::Handshake,
        Scenario::Resumed,
        Scenario::Limited,
        Scenario::Jwt,
    ];

    /// What proxies without tokens of their own are put to.
    pub const WITHOUT_JWT: [Scenario; 8] = [
        Scenario::Small,
        Scenario::Large,
        Scenario::Fresh,
        Scenario::H2,
        Scenario::Grpc,
        Scenario::Handshake,
        Scenario::Resumed,
        Scenario::Limited,
    ];

    /// Its name, as it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Small => "small",
            Scenario::Large => "large",
            Scenario::Fresh => "fresh",
            Scenario::H2 => "h2",
            Scenario::Grpc => "grpc",
            Scenario::Handshake => "handshake",
            Scenario::Resumed => "resumed",
            Scenario::Limited => "limited",
            Scenario::Jwt => "jwt",
        }
    }

    /// What is asked for. Every proxy has [`ROUTES`] routes by prefix; these are the last, a limited one and a guarded one.
    pub fn path(self) -> &'static str {
        match self {
            Scenario::Large => "/r999/64k.txt",
            Scenario::Grpc => "/bench.Echo/Unary",
            Scenario::Limited => "/limited/1k.txt",
            Scenario::Jwt => "/jwt/1k.txt",
            _ => "/r999/1k.txt",
        }
    }

    /// Whether the client speaks TLS.
    pub fn is_tls(self) -> bool {
        matches!(self, Scenario::H2 | Scenario::Handshake | Scenario::Resumed)
    }
}

/// Routes of every proxy, `/r0/` to `/r999/`.
pub const ROUTES: usize = 1_000;
