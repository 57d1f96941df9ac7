//! The PROXY protocol with real load balancers and servers: HAProxy and nginx, in both directions. What is not installed
//! is said and skipped.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tutti_ports::routing::{ProxyProtocol, ProxyVersion, Serve, Upstream as Called};

use crate::harness::*;

/// A program that runs until the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).chain(["/usr/sbin".into()]).map(|folder| folder.join(name));
    let found = found.into_iter().find(|program| program.is_file());
    if found.is_none() {
        println!("skipped: {name} is not installed");
    }
    found
}

/// Starts a program with a configuration, and waits until it listens.
fn start(name: &str, args: &[&str], folder: &Path, text: &str, at: SocketAddr) -> Option<Running> {
    let program = program(name)?;
    let (config, log) = (folder.join(format!("{name}.cfg")), folder.join(format!("{name}.log")));
    std::fs::write(&config, text).unwrap();
    let file = std::fs::File::create(&log).unwrap();
    let mut command = Command::new(program);
    command.args(args).arg(&config).stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
    let running = Running(command.spawn().unwrap());
    let until = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(at).is_err() {
        assert!(Instant::now() < until, "{name} does not listen: {}", std::fs::read_to_string(&log).unwrap());
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(running)
}

/// HAProxy in front of us: what it sends in each version and with every extension is understood.
pub async fn haproxy_in_front() {
    let echo = echo().await;
    let mut wanted = routing(Serve::http(vec![to("a")]));
    let from = vec!["127.0.0.1".parse().unwrap()];
    wanted.listeners[0].transport.proxy_protocol = Some(ProxyProtocol { from, required: true });
    let tutti = Tutti::applying(options(), wanted, vec![passing("a", 1, echo.addr)], None).await;
    let folder = tempfile::tempdir().unwrap();
    for sending in
        ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority,ssl"]
    {
        let at = free();
        let text = format!(
            "defaults\n  mode tcp\n  timeout connect 1s\n  timeout client 5s\n  timeout server 5s\n\
             frontend f\n  bind {at}\n  unique-id-format %{{+X}}o%ci%cp\n  default_backend b\n\
             backend b\n  server s {} {sending}\n",
            tutti.edge
        );
        let Some(_running) = start("haproxy", &["-db", "-f"], folder.path(), &text, at) else { return };
        // As if another machine asked: any address of this one's loopback network will do.
        let answer = raw(at, "GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{sending}: {answer}");
        // The port is the one of HAProxy, which the client had connected to, and not ours.
        let port = format!("\nx-forwarded-port: {}\n", at.port());
        assert!(answer.contains(&port), "{sending}: {answer}");
        println!("haproxy, {sending}: understood");
    }
}

/// We in front of HAProxy, which refuses what is no header.
pub async fn haproxy_behind() {
    let folder = tempfile::tempdir().unwrap();
    let at = free();
    let text = format!(
        "defaults\n  mode http\n  timeout connect 1s\n  timeout client 5s\n  timeout server 5s\n\
         frontend f\n  bind {at} accept-proxy\n  http-request return status 200 content-type text/plain \
         lf-string \"%[src] %[src_port] %[dst_port]\"\n"
    );
    let Some(_running) = start("haproxy", &["-db", "-f"], folder.path(), &text, at) else { return };
    told_to(at, "haproxy").await;
}

/// We in front of nginx.
pub async fn nginx_behind() {
    let folder = tempfile::tempdir().unwrap();
    let at = free();
    let place = folder.path().display();
    let text = format!(
        "worker_processes 1; daemon off; master_process off; pid {place}/pid; error_log stderr crit;\n\
         events {{ worker_connections 64; }}\n\
         http {{ access_log off; server {{ listen {at} proxy_protocol; location / {{\n\
         return 200 \"$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_port\"; }} }} }}\n"
    );
    let Some(_running) = start("nginx", &["-c"], folder.path(), &text, at) else { return };
    told_to(at, "nginx").await;
}

/// nginx in front of us, as a server of streams, if that module is there.
pub async fn nginx_in_front() {
    let module = Path::new("/usr/lib/nginx/modules/ngx_stream_module.so");
    if !module.is_file() {
        println!("skipped: {} is not installed", module.display());
        return;
    }
    let echo = echo().await;
    let mut wanted = routing(Serve::http(vec![to("a")]));
    let from = vec!["127.0.0.1".parse().unwrap()];
    wanted.listeners[0].transport.proxy_protocol = Some(ProxyProtocol { from, required: true });
    let tutti = Tutti::applying(options(), wanted, vec![passing("a", 1, echo.addr)], None).await;
    let (folder, at) = (tempfile::tempdir().unwrap(), free());
    let text = format!(
        "load_module {}; worker_processes 1; daemon off; master_process off; pid {}/pid; error_log stderr crit;\n\
         events {{ worker_connections 64; }}\n\
         stream {{ server {{ listen {at}; proxy_pass {}; proxy_protocol on; }} }}\n",
        module.display(),
        folder.path().display(),
        tutti.edge
    );
    let Some(_running) = start("nginx", &["-c"], folder.path(), &text, at) else { return };
    let answer = raw(at, "GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
    let port = format!("\nx-forwarded-port: {}\n", at.port());
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(&port), "{answer}");
}

/// A server that answers with the client's address and port and the port that it had asked for hears what we say.
async fn told_to(at: SocketAddr, name: &str) {
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let called = Called { proxy_protocol: Some(version), ..Called::default() };
        let mut wanted = routing(Serve::http(vec![to("a")]));
        wanted.listeners[0].transport.trusted_proxies.ranges = vec!["127.0.0.1".parse().unwrap()];
        wanted.upstreams = [(crate::harness::name("a"), called)].into_iter().collect();
        let tutti = Tutti::applying(options(), wanted, vec![passing("a", 1, at)], None).await;
        let ask = |client: &str| {
            let head = format!("GET / HTTP/1.1\r\nhost: h\r\nx-forwarded-for: {client}\r\n");
            raw(tutti.edge, format!("{head}connection: close\r\n\r\n"))
        };
        for client in ["203.0.113.9", "2001:db8::7"] {
            let answer = ask(client).await;
            // Neither shows a port that is not known, which is sent as 0.
            let expected = format!("{client}  {}", tutti.edge.port());
            assert!(answer.ends_with(&expected), "{name}, {version:?}: {answer}");
        }
        println!("{name}, {version:?}: understood");
    }
}
