//! What the integration tests share: an application of shell scripts, and fakes around the supervisor.
#![allow(dead_code, missing_docs)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tutti_core::{InstanceId, ProjectName, ServiceName};
use tutti_model::app::{Application, Command, Listen, Restart, Service};
use tutti_supervisor::logs::{LogLine, LogQuery};
use tutti_supervisor::options::{Backoff, KeeperCommand};
use tutti_supervisor::{
    Deps, Event, EventKind, Handle, Options, ServiceStatus, Status, Supervisor, SupervisorError,
};
use tutti_testkit::fake::{FakeCatalog, FakeDoor, FakeTraffic, Probing};

/// Nothing in a test takes longer, or the test has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A server that listens at `$PORT` and dies politely.
pub const SERVER: &str = "exec python3 -u -c '
import os, signal, socket, sys
signal.signal(signal.SIGTERM, lambda *_: (print(\"bye\"), sys.exit(0)))
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((\"127.0.0.1\", int(os.environ[\"PORT\"]))); s.listen()
print(\"listening at\", os.environ[\"PORT\"])
while True: s.accept()[0].close()'";

pub fn fixture() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let fixture = test.parent().unwrap().parent().unwrap().join("examples").join("kept");
    assert!(fixture.exists(), "`cargo test -p tutti-supervisor` builds it; `--test` alone does not");
    fixture
}

pub fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

pub fn id(text: &str) -> InstanceId {
    text.parse().unwrap()
}

pub fn service(text: &str, script: &str) -> Service {
    let mut service = Service::new(name(text));
    service.run = Some(Command::Shell(script.to_owned()));
    service.restart = Restart::No;
    service.stop_grace_period = Duration::from_secs(5);
    service
}

pub fn server(text: &str) -> Service {
    let mut server = service(text, SERVER);
    server.listens = vec![Listen { port: 8080, protocol: Default::default(), udp: false }];
    server
}

pub struct World {
    pub handle: Handle,
    pub catalog: Arc<FakeCatalog>,
    pub traffic: Arc<FakeTraffic>,
    pub folder: TempDir,
    events: tokio::sync::broadcast::Receiver<Arc<Event>>,
    pub seen: Vec<Arc<Event>>,
    work: tokio::task::JoinHandle<Result<(), SupervisorError>>,
}

pub fn options(data: &Path) -> Options {
    let mut options = Options::new(data.to_owned());
    options.keeper = KeeperCommand { program: fixture(), args: vec!["keeper".into()] };
    options.backoff = Backoff {
        first: Duration::from_millis(10),
        most: Duration::from_millis(50),
        crash_loop_after: 3,
        ..Backoff::default()
    };
    options
}

impl World {
    pub fn new(probing: Probing, services: Vec<Service>) -> Self {
        Self::with(probing, services, |_| {})
    }

    pub fn with(probing: Probing, services: Vec<Service>, change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let application = Application {
            name: ProjectName::new("test").unwrap(),
            folder: folder.path().to_owned(),
            files: Vec::new(),
            services: services.into_iter().map(|service| (service.name.clone(), service)).collect(),
            routing: Default::default(),
        };
        let catalog = Arc::new(FakeCatalog::new(probing));
        let traffic = Arc::new(FakeTraffic::default());
        let mut options = options(&folder.path().join("data"));
        change(&mut options);
        let deps = Deps::new(catalog.clone(), Arc::new(FakeDoor::default()), traffic.clone());
        let (supervisor, handle) = Supervisor::new(deps, Arc::new(application), options).unwrap();
        let events = handle.events();
        let work = tokio::spawn(supervisor.run());
        Self { handle, catalog, traffic, folder, events, seen: Vec::new(), work }
    }

    /// Waits for an event.
    pub async fn event(&mut self, wanted: impl Fn(&Event) -> bool) -> Arc<Event> {
        let waits = async {
            loop {
                let event = self.events.recv().await.unwrap();
                self.seen.push(event.clone());
                if wanted(&event) {
                    return event;
                }
            }
        };
        match tokio::time::timeout(PATIENCE, waits).await {
            Ok(event) => event,
            Err(_) => panic!("it did not come; what came: {:#?}\n{:#?}", self.seen, self.handle.status()),
        }
    }

    /// Waits until the status is as wanted.
    pub async fn status(&self, wanted: impl Fn(&Status) -> bool) -> Arc<Status> {
        let mut watch = self.handle.watch();
        let result = tokio::time::timeout(PATIENCE, watch.wait_for(|status| wanted(status))).await;
        match result {
            Ok(status) => Arc::clone(&status.unwrap()),
            Err(_) => panic!("it did not become so: {:#?}", self.handle.status()),
        }
    }

    pub async fn service(&self, name: &str, wanted: impl Fn(&ServiceStatus) -> bool) -> ServiceStatus {
        let status = self.status(|status| status.service(name).is_some_and(&wanted)).await;
        status.service(name).unwrap().clone()
    }

    pub async fn up(&self) -> tutti_supervisor::status::Settled {
        self.handle.up(&[]).await.unwrap();
        tokio::time::timeout(PATIENCE, self.handle.settled(&[])).await.unwrap()
    }

    /// Waits for a line in the log of a service.
    pub async fn line(&self, service: &str, wanted: impl Fn(&LogLine) -> bool) -> LogLine {
        use tutti_supervisor::logs::Followed;
        let query = LogQuery { services: vec![service.to_owned()], ..LogQuery::default() };
        let mut follower = self.handle.follow(query).await;
        let waits = async {
            while let Some(followed) = follower.next().await {
                match followed {
                    Followed::Line(line) if wanted(&line) => return (*line).clone(),
                    _ => {}
                }
            }
            panic!("the log ended");
        };
        tokio::time::timeout(PATIENCE, waits).await.unwrap()
    }

    pub async fn down(self) -> Result<(), SupervisorError> {
        tokio::time::timeout(PATIENCE, self.handle.shutdown()).await.unwrap();
        self.work.await.unwrap()
    }
}

pub fn kind(wanted: impl Fn(&EventKind) -> bool) -> impl Fn(&Event) -> bool {
    move |event| wanted(&event.kind)
}

/// Whether a process is there and not a zombie.
pub fn alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').map(|(_, tail)| tail.trim().chars().next());
    matches!(state, Some(Some(state)) if state != 'Z' && state != 'X')
}
