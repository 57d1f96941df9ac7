//! Tutti: the whole program as it is installed, with its registry, health checks, metrics, tracing headers and access log.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::{Place, Running, routes};
use crate::bench::proxy::scenario::Scenario;

impl Place<'_> {
    /// Tutti in front of upstreams that run elsewhere.
    pub fn tutti(&self, program: &Path) -> Result<Running> {
        let ports = self.ports(0);
        let ports = super::Ports { h2c: ports.plain, ..ports };
        let folder = self.folder.join("tutti");
        fs::create_dir_all(&folder)?;
        fs::write(
            folder.join("compose.yaml"),
            "name: bench\nservices:\n  u: { image: u, expose: [80] }\n  g: { image: g, expose: [81] }\n",
        )?;
        let all = routes(|n| format!("  - {{ path: /r{n}/, to: u }}\n"));
        let (upstream, grpc) = (self.port, self.grpc_port());
        let (cert, key, jwks) =
            (self.secrets.cert.display(), self.secrets.key.display(), self.secrets.jwks.display());
        let overlay = format!(
            "gateway:\n\
             \x20 listen: \"127.0.0.1:{}\"\n\
             \x20 https: \"127.0.0.1:{}\"\n\
             \x20 https_redirect: false\n\
             \x20 tls: {{ files: [{{ cert: \"{cert}\", key: \"{key}\" }}] }}\n\
             services:\n\
             \x20 u: {{ external: \"127.0.0.1:{upstream}\" }}\n\
             \x20 g: {{ external: \"127.0.0.1:{grpc}\", protocol: h2c }}\n\
             routes:\n{all}\
             \x20 - {{ path: /limited/, to: u, rate_limit: 1000000/s }}\n\
             \x20 - path: /jwt/\n\
             \x20   to: u\n\
             \x20   auth: {{ jwt: {{ issuer: \"https://bench.test\", audience: bench, jwks_file: \"{jwks}\" }} }}\n\
             \x20 - {{ path: /bench.Echo, to: g }}\n",
            ports.plain, ports.tls
        );
        fs::write(folder.join("tutti.yaml"), overlay)?;
        let mut command = Command::new(program);
        command.arg("up").current_dir(&folder);
        self.peer("tutti", ports, &Scenario::ALL, command)
    }
}
