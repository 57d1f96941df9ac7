//! Pebble, its DNS server, and a room of certificates that it asks.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, SystemTime};

use http::{Request, Response, StatusCode};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tutti_core::random::Rng;
use tutti_core::time::SystemClock;
use tutti_net::tls::{self, Key, Keys};
use tutti_net::{Addr, Body, ConnectionInfo, DrainSignal, Drainer, Handler, ListenOptions, Listener, server};
use tutti_ports::certificates::{Acme, Certificates, Challenge, ExternalAccount, Identity, Policy};
use tutti_ports::state::Store;
use tutti_testkit::state::MemoryStore;
use tutti_trust::dev::Authority;
use tutti_trust::{Deps, Handle, Options, Trust};

/// Nothing takes longer, or the test has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

const KID: &str = "kid-1";
const HMAC: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

pub struct Lab {
    folder: tempfile::TempDir,
    pebble: Program,
    _dns: Program,
    ports: Ports,
    store: Arc<MemoryStore>,
    root: PathBuf,
    tasks: Mutex<Vec<(Drainer, JoinHandle<server::Served>)>>,
}

struct Ports {
    acme: u16,
    manage: u16,
    dns_manage: u16,
    http: u16,
    tls: u16,
}

/// A program that ends with the test.
struct Program {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    /// Runs it until it has said a line with `ready`.
    fn run(mut command: Command, ready: &'static str) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (log, out) = (Arc::new(Mutex::new(String::new())), child.stdout.take().unwrap());
        let (send, told) = mpsc::channel();
        let kept = Arc::clone(&log);
        // It ends with the program's output.
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let found = line.contains(ready);
                let mut kept = kept.lock().unwrap();
                kept.push_str(&line);
                kept.push('\n');
                if found {
                    let _ = send.send(());
                }
            }
        });
        let program = Self { child, log };
        assert!(told.recv_timeout(PATIENCE).is_ok(), "{}", program.log.lock().unwrap());
        program
    }
}

fn program(name: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/oracle");
    let found = folder.join(name);
    if !found.is_file() {
        println!("skipped: {name} is not in target/oracle; `cargo xtask test --all` installs it where Go is");
        return None;
    }
    Some(found)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

impl Lab {
    pub async fn start() -> Option<Self> {
        Self::start_with(false).await
    }

    pub async fn start_with(external: bool) -> Option<Self> {
        let (pebble, dns) = (program("pebble")?, program("pebble-challtestsrv")?);
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(&folder.path().join("authority"), SystemTime::now()).unwrap();
        let own =
            authority.issue(&["localhost".to_owned(), "127.0.0.1".to_owned()], SystemTime::now()).unwrap();
        let (cert, key) = (folder.path().join("pebble.pem"), folder.path().join("pebble.key"));
        std::fs::write(&cert, pem("CERTIFICATE", &own.chain[0])).unwrap();
        std::fs::write(&key, pem("PRIVATE KEY", &own.key)).unwrap();
        let ports = Ports {
            acme: free_port(),
            manage: free_port(),
            dns_manage: free_port(),
            http: free_port(),
            tls: free_port(),
        };
        let resolver = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(dns);
        command.args(["-management", &format!("127.0.0.1:{}", ports.dns_manage), "-dnsserver", &resolver]);
        command.args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-defaultIPv6", ""]);
        let dns = Program::run(command, "Starting management server");
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{}", ports.acme),
            "managementListenAddress": format!("127.0.0.1:{}", ports.manage),
            "certificate": cert, "privateKey": key,
            "httpPort": ports.http, "tlsPort": ports.tls, "ocspResponderURL": "",
            "externalAccountBindingRequired": external,
            "externalAccountMACKeys": { KID: HMAC },
            "retryAfter": { "authz": 1, "order": 1 },
            "keyAlgorithm": "ecdsa",
            "profiles": { "default": { "description": "ninety days", "validityPeriod": 7_776_000 } },
        } });
        let path = folder.path().join("pebble.json");
        std::fs::write(&path, config.to_string()).unwrap();
        let mut command = Command::new(pebble);
        command.arg("-config").arg(&path).args(["-dnsserver", &resolver, "-strict"]);
        command
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", "15")
            .env("PEBBLE_AUTHZREUSE", "0");
        let pebble = Program::run(command, "ACME directory available at");
        let root = folder.path().join("authority/root.pem");
        let store = Arc::new(MemoryStore::new());
        Some(Self { folder, pebble, _dns: dns, ports, store, root, tasks: Mutex::default() })
    }

    pub fn acme(&self, challenges: &[Challenge]) -> Acme {
        Acme {
            directory: format!("https://localhost:{}/dir", self.ports.acme),
            email: None,
            challenges: challenges.to_vec(),
            certificates: Vec::new(),
            on_demand: None,
            external_account: None,
            dns_hook: None,
            trusted_root: Some(self.root.clone()),
        }
    }

    pub fn external_account(&self) -> ExternalAccount {
        let key_file = self.folder.path().join("hmac");
        std::fs::write(&key_file, format!("{HMAC}\n")).unwrap();
        ExternalAccount { kid: KID.to_owned(), key_file }
    }

    /// What Pebble has said.
    pub fn log(&self) -> String {
        self.pebble.log.lock().unwrap().clone()
    }

    /// How many lines of it have this in them.
    pub fn count(&self, part: &str) -> usize {
        self.log().lines().filter(|line| line.contains(part)).count()
    }

    /// A hook that writes to the DNS server, and where it notes how it was called.
    pub fn dns_hook(&self) -> (Vec<String>, PathBuf) {
        let (script, log) = (self.folder.path().join("hook.sh"), self.folder.path().join("hook.log"));
        let (url, noted) = (format!("http://127.0.0.1:{}", self.ports.dns_manage), log.display());
        let text = format!(
            "echo \"$*\" >>'{noted}'\ncase $1 in\npresent) curl -fsS -d \"{{\\\"host\\\":\\\"$2\\\",\\\"value\\\":\\\"$3\\\"}}\" {url}/add-txt 2>/dev/null \
             || curl -fsS -d \"{{\\\"host\\\":\\\"$2\\\",\\\"value\\\":\\\"$3\\\"}}\" {url}/set-txt ;;\n\
             cleanup) curl -fsS -d \"{{\\\"host\\\":\\\"$2\\\"}}\" {url}/clear-txt ;;\nesac\n"
        );
        std::fs::write(&script, text).unwrap();
        (vec!["/bin/sh".to_owned(), script.display().to_string()], log)
    }

    /// Has Pebble suggest that a certificate be renewed at once.
    pub async fn wants_renewal(&self, identity: &Identity) {
        let window = r#"{"suggestedWindow":{"start":"2020-01-01T00:00:00Z","end":"2020-01-02T00:00:00Z"}}"#;
        let body = serde_json::json!({ "certificate": pem("CERTIFICATE", &identity.chain[0]), "ariResponse": window });
        let file = self.folder.path().join("ari.json");
        std::fs::write(&file, body.to_string()).unwrap();
        let url = format!("https://127.0.0.1:{}/set-renewal-info/", self.ports.manage);
        let mut curl = Command::new("curl");
        curl.args(["-fsS", "--cacert"]).arg(&self.root).args(["-d", &format!("@{}", file.display()), &url]);
        let done = tokio::task::spawn_blocking(move || curl.output()).await.unwrap().unwrap();
        assert!(done.status.success(), "{done:?}");
    }

    /// The URL of somebody who admits this name alone.
    pub async fn asked_whether(&self, name: &str) -> String {
        let listener =
            Listener::bind(&Addr::Tcp("127.0.0.1:0".parse().unwrap()), &ListenOptions::default()).unwrap();
        let addr = listener.socket_addr().unwrap();
        self.serve(listener, Arc::new(Admits(format!("/check?domain={name}"))));
        format!("http://{addr}/check")
    }

    fn serve<H: Handler>(&self, listener: Listener, handler: Arc<H>) {
        let (drainer, signal) = Drainer::new();
        let task = tokio::spawn(server::serve(listener, handler, server::Settings::named("test"), signal));
        self.tasks.lock().unwrap().push((drainer, task));
    }

    /// A room with the lab's state, and listeners that answer challenges.
    pub async fn room(&self, acme: Acme) -> Room {
        let deps = Deps {
            store: Arc::clone(&self.store) as Arc<dyn Store>,
            clock: Arc::new(SystemClock::new()),
            rng: Rng::seeded(1),
        };
        let options = Options {
            folder: self.folder.path().join("trust"),
            authority: self.folder.path().join("authority"),
        };
        let policy = Policy { acme: Some(acme), ..Policy::default() };
        let (trust, handle) = Trust::new(deps, options, policy).await.unwrap();
        let (end, ended) = oneshot::channel::<()>();
        let run = tokio::spawn(trust.run(async move {
            let _ = ended.await;
        }));
        let bind = |port: u16| {
            let addr = Addr::Tcp(([127, 0, 0, 1], port).into());
            Listener::bind(&addr, &ListenOptions::default()).unwrap()
        };
        let (drainer, signal) = Drainer::new();
        let port = self.ports.http;
        let answers = Arc::new(Answers(Arc::clone(&handle)));
        let http = tokio::spawn(serve_http(bind(port), answers, signal));
        let tls = tokio::spawn(serve_tls(bind(self.ports.tls), Arc::clone(&handle)));
        Room { handle, end, run, drainer, http, tls }
    }
}

async fn serve_http(listener: Listener, handler: Arc<Answers>, signal: DrainSignal) {
    server::serve(listener, handler, server::Settings::named("http-01"), signal).await;
}

async fn serve_tls(listener: Listener, handle: Arc<Handle>) {
    let tickets = tls::server::Tickets::new().unwrap();
    let keys = Arc::new(Challenges(handle));
    let server = tls::Server::new(keys, &tls::server::Options::default(), &tickets).unwrap();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        // One after another is enough for an authority that asks for one.
        let _ = server.accept(stream).await;
    }
}

/// A room that runs.
pub struct Room {
    pub handle: Arc<Handle>,
    end: oneshot::Sender<()>,
    run: JoinHandle<()>,
    drainer: Drainer,
    http: JoinHandle<()>,
    tls: JoinHandle<()>,
}

impl Room {
    pub async fn wait_for(&self, name: &str) -> Arc<Identity> {
        self.wait_for_other(name, Vec::new()).await
    }

    /// Waits for a certificate with another chain.
    pub async fn wait_for_other(&self, name: &str, than: Vec<Vec<u8>>) -> Arc<Identity> {
        let found = async {
            loop {
                if let Some(identity) =
                    self.handle.current(Some(name)).filter(|identity| identity.chain != than)
                {
                    return identity;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(identity) => identity,
            Err(_) => panic!("no certificate for {name}: {:?}", self.handle.standings().await),
        }
    }

    /// Waits until something has failed, and says what.
    pub async fn trouble(&self) -> String {
        loop {
            if let Some(trouble) = self.handle.standings().await.into_iter().find_map(|one| one.trouble) {
                return trouble;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Lets it do what it has to do at once.
    pub async fn settle(&self) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.handle.standings().await;
    }

    pub async fn stop(self) {
        let _ = self.end.send(());
        self.run.await.unwrap();
        self.drainer.drain(Duration::ZERO);
        self.http.await.unwrap();
        self.tls.abort();
        let _ = self.tls.await;
    }
}

struct Admits(String);

impl Handler for Admits {
    async fn handle(&self, request: Request<Body>, _: &ConnectionInfo) -> Response<Body> {
        let admitted = request.uri().to_string() == self.0;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = if admitted { StatusCode::OK } else { StatusCode::FORBIDDEN };
        response
    }
}

struct Answers(Arc<Handle>);

impl Handler for Answers {
    async fn handle(&self, request: Request<Body>, _: &ConnectionInfo) -> Response<Body> {
        let token = request.uri().path().strip_prefix("/.well-known/acme-challenge/").unwrap_or_default();
        let host = request.headers().get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
        let host = host.split(':').next().unwrap_or_default();
        match self.0.http_challenge(host, token) {
            Some(answer) => Response::new(Body::from(answer)),
            None => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::NOT_FOUND;
                response
            }
        }
    }
}

struct Challenges(Arc<Handle>);

impl Keys for Challenges {
    fn current(&self, _: Option<&str>) -> Option<Arc<Key>> {
        None
    }

    fn obtain<'a>(
        &'a self,
        _: &'a str,
    ) -> std::pin::Pin<Box<dyn Future<Output = Option<Arc<Key>>> + Send + 'a>> {
        Box::pin(std::future::ready(None))
    }

    fn challenge(&self, name: &str) -> Option<Arc<Key>> {
        let identity = self.0.alpn_challenge(name)?;
        Key::from_der(identity.chain.clone(), identity.key.clone(), None).ok().map(Arc::new)
    }
}
