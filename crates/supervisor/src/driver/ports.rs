//! *Ports mode*: instances are processes of this machine that share its network and its files.
//!
//! Every instance gets ports of its own, learns the main one as `PORT`, and reaches its peers at the door's
//! addresses, which stand in its environment and command in place of the names. Same features as cells, less isolation.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use tutti_core::code;
use tutti_core::error::chain;
use tutti_model::app::{Application, Command, Listen, MountSource, Service};
use tutti_ports::catalog::{AppProtocol, Endpoint};
use tutti_ports::door::Door;

use super::pool::{Lease, Pool};
use super::{Driver, Order, Prepared, Process, Start, Surroundings};
use crate::diagnose::{self, StartFailure};
use crate::environment::{self, Parts, Standard};
use crate::infer::{self, Launch};
use crate::keeper::{Keeper, Spawn};
use crate::options::Options;
use crate::plans::Plans;
use crate::rewrite::{self, PeerTarget, Targets};
use crate::service::Current;
use crate::stats::Usage;
use crate::sys::proc;

/// The driver.
pub(crate) struct PortsDriver {
    current: Arc<Current>,
    options: Arc<Options>,
    door: Arc<dyn Door>,
    keeper: Keeper,
    plans: Arc<Plans>,
    pool: Arc<Pool>,
}

impl PortsDriver {
    pub(crate) fn new(
        current: Arc<Current>,
        options: Arc<Options>,
        door: Arc<dyn Door>,
        keeper: Keeper,
        plans: Arc<Plans>,
    ) -> Self {
        let pool = Pool::new(own_ports(&current.get()));
        Self { current, options, door, keeper, plans, pool }
    }

    /// A port for each that it listens at; the first is the main one.
    fn ports(&self, order: &Order<'_>) -> Result<Vec<(Listen, Lease)>, StartFailure> {
        let fixed = order.service.fixed_port;
        let mut listens = listens(order.service, Some(order.launch));
        if let (Some(port), true) = (fixed, listens.is_empty()) {
            listens.push(Listen { port, protocol: AppProtocol::default(), udp: false });
        }
        let mut leases = Vec::new();
        for (at, listen) in listens.into_iter().enumerate() {
            // A service that cannot be told its main port cannot be told the others either.
            let exact = fixed.map(|port| if at == 0 { port } else { listen.port });
            leases.push((listen, self.port(exact)?));
        }
        Ok(leases)
    }

    fn port(&self, fixed: Option<u16>) -> Result<Lease, StartFailure> {
        let Some(port) = fixed else {
            self.pool.leave_out(own_ports(&self.current.get()));
            let failed = |error| StartFailure::passing(None, format!("no port could be allocated: {error}"));
            return self.pool.free().map_err(failed);
        };
        self.pool.exactly(port).ok_or_else(|| {
            let by = diagnose::who_listens(port).map_or_else(String::new, |who| format!(" by {who}"));
            let reason = format!("its fixed port {port} is taken{by}");
            StartFailure::passing(Some(code::FIXED_PORT_TAKEN), reason)
        })
    }

    /// Opens the doors to all peers.
    async fn peers(&self, service: &Service) -> Result<BTreeMap<String, PeerTarget>, StartFailure> {
        let application = self.current.get();
        let mut targets = BTreeMap::new();
        for peer in &service.peers {
            let Some(meant) = application.services.get(&peer.service).filter(|meant| !meant.skip) else {
                continue;
            };
            let at = PeerTarget::host_of(meant);
            let mut target = PeerTarget { service: meant.name.to_string(), ports: BTreeMap::new(), at };
            let plan = self.plans.get(&meant.name);
            for listen in listens(meant, plan.as_ref().map(|plan| &plan.launch)) {
                let door = self.door.open(&meant.name, listen.port, listen.protocol).await;
                let door = door.map_err(|error| StartFailure::passing(None, chain(&error)))?;
                target.ports.insert(listen.port, (door.ip().to_string(), door.port().to_string()));
            }
            targets.insert(peer.host.clone(), target);
        }
        Ok(targets)
    }

    /// Makes the folders that volumes are kept in.
    fn make_volumes(&self, service: &Service) -> Result<Vec<(String, PathBuf)>, StartFailure> {
        let mounts = environment::mounts(service, &self.options.data_dir);
        for ((_, folder), mount) in mounts.iter().zip(&service.mounts) {
            if !matches!(mount.source, MountSource::Bind(_)) {
                std::fs::create_dir_all(folder).map_err(|error| {
                    StartFailure::passing(None, format!("cannot make {}: {error}", folder.display()))
                })?;
            }
        }
        Ok(mounts)
    }

    fn standard(&self, order: &Order<'_>, targets: &Targets, main: Option<u16>) -> IndexMap<String, String> {
        let application = self.current.get();
        let mut peers = BTreeMap::new();
        for target in targets.peers.values() {
            let main = application.services.get(target.service.as_str());
            let main = main.and_then(|service| service.listens.iter().find(|listen| !listen.udp));
            let door = match main {
                Some(listen) => target.ports.get(&listen.port),
                None => target.ports.values().next(),
            };
            if let Some(door) = door {
                peers.insert(target.service.clone(), door.clone());
            }
        }
        environment::standard(&Standard {
            project: application.name.as_str(),
            service: order.service,
            instance: order.id.as_str(),
            port: main,
            peers: &peers,
            otlp_endpoint: self.options.otlp_endpoint.as_deref(),
            deployment: &self.options.deployment_environment,
        })
    }
}

/// Ports that the application publishes or knows by number: they are given to nobody else.
fn own_ports(application: &Application) -> HashSet<u16> {
    let mut own = HashSet::new();
    for service in application.services.values() {
        own.extend(service.listens.iter().map(|listen| listen.port));
        own.extend(service.published.iter().filter_map(|published| published.host_port));
        own.extend(service.fixed_port);
    }
    own.extend(application.routing.listeners.iter().map(|listener| listener.bind.port()));
    own
}

#[async_trait::async_trait]
impl Driver for PortsDriver {
    async fn prepare(&self, order: Order<'_>) -> Result<Prepared, StartFailure> {
        let ports = self.ports(&order)?;
        let name = order.service.name.as_str();
        let targets = Targets {
            peers: self.peers(order.service).await?,
            own: ports.iter().map(|(listen, lease)| (listen.port, lease.port.to_string())).collect(),
            mounts: self.make_volumes(order.service)?,
            ours: environment::ours(&self.current.get(), order.service, &self.options.data_dir),
        };
        let mut env = rewrite::environment(name, &order.service.environment, &targets);
        let main = ports.first().map(|(_, lease)| lease.port);
        let whole = environment::compose(&Parts {
            operator: &self.options.operator_env,
            launch: order.launch,
            service_env: &env.value,
            standard: self.standard(&order, &targets, main),
        });
        let command = match order.command {
            Some(command) => command.clone(),
            None => built(order.launch)?,
        };
        let command = rewrite::command(name, &command, &targets);
        env.rewrites.extend(command.rewrites);
        let endpoints = ports.iter().map(|(listen, lease)| Endpoint {
            port: listen.port,
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, lease.port)),
            protocol: listen.protocol,
        });
        Ok(Prepared {
            argv: argv(command.value, main, &whole),
            endpoints: endpoints.collect(),
            around: Surroundings { env: whole.into_iter().collect(), dir: order.launch.cwd.clone(), targets },
            rewrites: env.rewrites,
            notices: env.notices,
            leases: ports.into_iter().map(|(_, lease)| lease).collect(),
        })
    }

    fn resume(&self, endpoints: &[Endpoint]) -> Vec<Lease> {
        endpoints.iter().map(|endpoint| self.pool.held(endpoint.addr.port())).collect()
    }

    fn adopt(&self, pid: i32, tag: u64) -> Box<dyn Process> {
        Box::new(self.keeper.adopt(pid, tag))
    }

    async fn launch(&self, start: Start<'_>) -> Result<Box<dyn Process>, StartFailure> {
        let name = start.argv.first().map(String::as_str).unwrap_or_default();
        let env = &start.around.env;
        let path = env.iter().rfind(|(key, _)| key == "PATH").map_or("", |(_, value)| value.as_str());
        let program = diagnose::find_program(name, &start.around.dir, path)?;
        let spawn = Spawn {
            tag: 0,
            program: program.to_string_lossy().into_owned(),
            argv: start.argv.to_vec(),
            env: env.clone(),
            dir: start.around.dir.to_string_lossy().into_owned(),
            stdin: start.stdin.is_some(),
            terminal: start.terminal,
        };
        let fds: Vec<OwnedFd> = start.stdin.into_iter().chain([start.stdout, start.stderr]).collect();
        let child = self.keeper.spawn(spawn, fds).await;
        child.map(|child| Box::new(child) as _).map_err(|why| diagnose::spawn_failure(&program, why))
    }

    fn addresses(&self, pid: i32) -> Vec<SocketAddr> {
        let listeners = proc::listeners();
        let tree = proc::trees(&proc::all(), [pid]);
        let open: HashSet<u64> = tree.into_iter().flat_map(proc::sockets).collect();
        let mut found: Vec<SocketAddr> =
            listeners.iter().filter(|l| open.contains(&l.inode)).map(|l| l.addr).collect();
        found.sort();
        found
    }

    fn usage(&self, pids: &[i32]) -> Vec<(i32, Usage)> {
        let processes = proc::all();
        let by_pid: HashMap<i32, &proc::Process> = processes.iter().map(|p| (p.pid, p)).collect();
        pids.iter()
            .map(|pid| {
                let tree = proc::trees(&processes, [*pid]);
                (*pid, Usage::of(tree.iter().filter_map(|pid| by_pid.get(pid).copied())))
            })
            .collect()
    }
}

/// Where a service listens: as the files say, else as its image says.
fn listens(service: &Service, launch: Option<&Launch>) -> Vec<Listen> {
    let said: Vec<Listen> = service.listens.iter().filter(|listen| !listen.udp).copied().collect();
    if !said.is_empty() {
        return said;
    }
    let exposed = launch.map(|launch| launch.exposes.as_slice()).unwrap_or_default();
    exposed.iter().map(|port| Listen { port: *port, protocol: AppProtocol::default(), udp: false }).collect()
}

/// The command, once its program has been built.
fn built(launch: &Launch) -> Result<Command, StartFailure> {
    launch.program.resolve().ok_or_else(|| {
        let program = infer::show_program(&launch.program);
        StartFailure::lasting(
            code::PROGRAM_NOT_FOUND,
            format!("`{program}` was not built by its setup steps"),
        )
    })
}

fn argv(command: Command, port: Option<u16>, env: &IndexMap<String, String>) -> Vec<String> {
    match command {
        Command::Args(args) => infer::expand(&args, port, env),
        Command::Shell(line) => vec![diagnose::SHELL.to_owned(), "-c".to_owned(), line],
    }
}
