//! HAProxy.

use std::fs;
use std::process::Command;

use anyhow::Result;

use super::{Place, Running, routes};
use crate::bench::proxy::scenario::Scenario;

impl Place<'_> {
    /// HAProxy, with its routes in a map.
    pub fn haproxy(&self) -> Result<Running> {
        let ports = self.ports(2);
        let (upstream, grpc) = (self.port, self.grpc_port());
        let both = self.folder.join("haproxy.pem");
        let key = fs::read_to_string(&self.secrets.key)?;
        fs::write(&both, fs::read_to_string(&self.secrets.cert)? + &key)?;
        let map = self.write("haproxy.map", &routes(|n| format!("/r{n}/ b\n")))?;
        let (both, map, public) = (both.display(), map.display(), self.secrets.jwt_public.display());
        let config = format!(
            "global\n  nbthread 1\n  maxconn 16384\n  no strict-limits\n  log stdout format raw local0\n\
             \x20 ssl-default-bind-options ssl-min-ver TLSv1.2\n\
             defaults\n  mode http\n  log global\n  option httplog\n  option forwardfor\n  http-reuse always\n\
             \x20 unique-id-format %[uuid]\n  unique-id-header X-Request-Id\n\
             \x20 timeout connect 1s\n  timeout client 600s\n  timeout server 60s\n\
             frontend f\n  bind 127.0.0.1:{}\n  bind 127.0.0.1:{} ssl crt {both} alpn h2,http/1.1\n\
             \x20 http-request set-header X-Forwarded-Proto http\n\
             \x20 http-request track-sc0 src table limits if {{ path_beg /limited/ }}\n\
             \x20 http-request deny deny_status 429 if {{ path_beg /limited/ }} {{ sc_http_req_rate(0) gt 10000000 }}\n\
             \x20 http-request deny deny_status 401 if {{ path_beg /jwt/ }} !{{ http_auth_bearer,jwt_verify(RS256,\"{public}\") 1 }}\n\
             \x20 use_backend b if {{ path_beg /limited/ /jwt/ }}\n\
             \x20 use_backend %[path,map_beg({map})]\n\
             frontend h\n  bind 127.0.0.1:{} proto h2\n  default_backend g\n\
             backend b\n  server s 127.0.0.1:{upstream} pool-max-conn 256\n\
             backend g\n  server s 127.0.0.1:{grpc} proto h2\n\
             backend limits\n  stick-table type ip size 100k expire 10s store http_req_rate(1s)\n",
            ports.plain, ports.tls, ports.h2c
        );
        let path = self.write("haproxy.cfg", &config)?;
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(path);
        self.peer("haproxy", ports, &Scenario::ALL, command)
    }
}
