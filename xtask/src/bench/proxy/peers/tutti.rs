//! Tutti: the whole program as it is installed, with its registry, health checks, metrics, tracing headers and access log.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::{Place, Running, routes};
use crate::bench::proxy::scenario::Scenario;

const DOES: &[Scenario] = &[Scenario::Small, Scenario::Large, Scenario::Fresh, Scenario::Grpc];

impl Place<'_> {
    /// Tutti in front of upstreams that run elsewhere.
    pub(super) fn tutti(&self, program: &Path) -> Result<Running> {
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
        let overlay = format!(
            "gateway: {{ listen: \"127.0.0.1:{}\" }}\n\
             services:\n  u: {{ external: \"127.0.0.1:{upstream}\" }}\n\
             \x20 g: {{ external: \"127.0.0.1:{grpc}\", protocol: h2c }}\n\
             routes:\n{all}  - {{ path: /bench.Echo, to: g }}\n",
            ports.plain
        );
        fs::write(folder.join("tutti.yaml"), overlay)?;
        let mut command = Command::new(program);
        command.arg("up").current_dir(&folder);
        self.peer("tutti", ports, DOES, command)
    }
}
