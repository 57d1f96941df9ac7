//! nginx.

use std::process::Command;

use anyhow::Result;

use super::{Place, Running, routes};
use crate::bench::proxy::scenario::Scenario;

impl Place<'_> {
    /// nginx as a proxy. It has no HTTP/2 to upstreams but for gRPC, and no JWT.
    pub fn nginx(&self) -> Result<Running> {
        let ports = self.ports(1);
        let (folder, upstream, grpc) = (self.folder.display(), self.port, self.grpc_port());
        let (cert, key) = (self.secrets.cert.display(), self.secrets.key.display());
        let locations = routes(|n| format!("location /r{n}/ {{ proxy_pass http://u; }}\n"));
        let common = format!(
            "proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $http_host;\n\
             proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;\n\
             proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-Port $server_port;\n\
             proxy_set_header X-Request-Id $request_id;\n{locations}\
             location /limited/ {{ limit_req zone=l burst=100000 nodelay; proxy_pass http://u; }}\n"
        );
        let config = format!(
            "worker_processes 1; daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr crit;\n\
             worker_rlimit_nofile 20000; events {{ worker_connections 16384; }}\n\
             http {{ access_log {folder}/nginx.log combined buffer=32k flush=1s; keepalive_requests 1000000000;\n\
             keepalive_timeout 600s; limit_req_zone $binary_remote_addr zone=l:10m rate=1000000r/s;\n\
             ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {cert}; ssl_certificate_key {key};\n\
             ssl_session_cache shared:s:10m; ssl_session_tickets on;\n\
             upstream u {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000000; }}\n\
             upstream g {{ server 127.0.0.1:{grpc}; keepalive 64; keepalive_requests 1000000000; }}\n\
             server {{ listen 127.0.0.1:{}; {common} }}\n\
             server {{ listen 127.0.0.1:{} ssl http2; {common} }}\n\
             server {{ listen 127.0.0.1:{} http2; location / {{ grpc_pass grpc://g; }} }} }}\n",
            ports.plain, ports.tls, ports.h2c
        );
        let path = self.write("nginx.conf", &config)?;
        let mut command = Command::new("nginx");
        command.arg("-c").arg(path);
        self.peer("nginx", ports, &Scenario::WITHOUT_JWT, command)
    }
}
