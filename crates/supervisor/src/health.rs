//! What the catalog is to check of an instance: the user's health check, or a connection to its port.

use std::time::Duration;

use tutti_model::app::{Command, Healthcheck, Service, Test};
use tutti_model::health as native;
use tutti_ports::catalog::{Check, Endpoint, Probe};

use crate::infer::Launch;
use crate::rewrite::{self, PeerTarget, Targets};

/// Time between two probes until the first success, where nothing else was said: a start is seen at once.
const START_INTERVAL: Duration = Duration::from_millis(100);

/// An instance without a health check may take so long before failed connections count against it.
const DEFAULT_START: Duration = Duration::from_secs(60);

/// The checks of an instance; none if nothing can be asked, which passes.
pub(crate) fn checks(
    service: &Service,
    launch: &Launch,
    endpoints: &[Endpoint],
    targets: &Targets,
) -> Vec<Check> {
    let Some(mut said) = service.health.clone().or_else(|| launch.health.clone()) else {
        return endpoints.first().map(connection).into_iter().collect();
    };
    // A `curl` in a command would ask for a port that only the image has, and need a process for each probe.
    let names = [service.name.as_str()];
    native::make_native(
        &mut said,
        &native::Surroundings { environment: &service.environment, names: &names },
    );
    probe(&said.test, endpoints, targets).map(|probe| check(&said, probe)).into_iter().collect()
}

/// The checks of a service that runs elsewhere: what is said of it, as far as it can be asked over the network.
pub(crate) fn external(service: &Service, endpoints: &[Endpoint]) -> Vec<Check> {
    let Some(mut said) = service.health.clone() else { return elsewhere(endpoints) };
    let names = [service.name.as_str()];
    native::make_native(
        &mut said,
        &native::Surroundings { environment: &service.environment, names: &names },
    );
    match &said.test {
        // It would run here, where the service is not.
        Test::Command(_) => elsewhere(endpoints),
        test => {
            probe(test, endpoints, &Targets::default()).map(|probe| check(&said, probe)).into_iter().collect()
        }
    }
}

fn elsewhere(endpoints: &[Endpoint]) -> Vec<Check> {
    let check = |main| Check {
        start_period: Duration::ZERO,
        start_interval: Duration::from_secs(1),
        ..connection(main)
    };
    endpoints.first().map(check).into_iter().collect()
}

fn connection(main: &Endpoint) -> Check {
    Check {
        name: "port".to_owned(),
        probe: Probe::Tcp { addr: main.addr },
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(2),
        start_period: DEFAULT_START,
        start_interval: START_INTERVAL,
        fall: 3,
        rise: 1,
    }
}

fn check(health: &Healthcheck, probe: Probe) -> Check {
    // Probing often must not make a slow starter fail sooner than the user's own interval would have.
    let (start_interval, start_period) = match health.start_interval {
        Some(said) => (said, health.start_period),
        None => {
            let patience = health.interval.saturating_mul(health.retries.max(1));
            (START_INTERVAL.min(health.interval), health.start_period.saturating_add(patience))
        }
    };
    Check {
        name: "healthcheck".to_owned(),
        probe,
        interval: health.interval,
        timeout: health.timeout,
        start_period,
        start_interval,
        fall: health.retries.max(1),
        rise: 1,
    }
}

fn probe(test: &Test, endpoints: &[Endpoint], targets: &Targets) -> Option<Probe> {
    // A port that is not among those that it listens at can only be meant for the main one.
    let addr = |port: u16| endpoints.iter().find(|e| e.port == port).or(endpoints.first()).map(|e| e.addr);
    match test {
        Test::None => None,
        Test::Http { port, path, any_status } => {
            Some(Probe::Http { addr: addr(*port)?, path: path.clone(), host: None, any_status: *any_status })
        }
        Test::Tcp { port } => Some(Probe::Tcp { addr: addr(*port)? }),
        Test::Grpc { port, service } => Some(Probe::Grpc { addr: addr(*port)?, service: service.clone() }),
        Test::Command(command) => Some(Probe::Command { argv: beside(command, targets) }),
    }
}

/// A command that runs beside the instance, where `localhost:8080` means the instance's own port.
fn beside(command: &Command, targets: &Targets) -> Vec<String> {
    let mut targets = targets.clone();
    let ports =
        targets.own.iter().map(|(port, real)| (*port, ("127.0.0.1".to_owned(), real.clone()))).collect();
    let own = PeerTarget { service: "localhost".to_owned(), ports, at: None };
    for name in ["localhost", "127.0.0.1", "0.0.0.0"] {
        targets.peers.insert(name.to_owned(), own.clone());
    }
    match rewrite::command("", command, &targets).value {
        Command::Args(args) => args,
        Command::Shell(line) => vec!["/bin/sh".to_owned(), "-c".to_owned(), line],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tutti_ports::catalog::AppProtocol;

    fn endpoints() -> Vec<Endpoint> {
        let endpoint = |port, real: u16| Endpoint {
            port,
            addr: ([127, 0, 0, 1], real).into(),
            protocol: AppProtocol::Http,
        };
        vec![endpoint(8080, 21000), endpoint(9090, 21001)]
    }

    fn health(test: Test) -> Healthcheck {
        let s = Duration::from_secs;
        Healthcheck {
            test,
            interval: s(30),
            timeout: s(5),
            retries: 3,
            start_period: s(0),
            start_interval: None,
        }
    }

    #[test]
    fn frequent_probes_at_the_start_do_not_shorten_the_users_patience() {
        let check = check(&health(Test::Tcp { port: 8080 }), Probe::Tcp { addr: endpoints()[0].addr });
        assert_eq!(check.start_interval, Duration::from_millis(100));
        assert_eq!(check.start_period, Duration::from_secs(90));
        let mut said = health(Test::Tcp { port: 8080 });
        said.start_interval = Some(Duration::from_secs(5));
        let check = super::check(&said, Probe::Tcp { addr: endpoints()[0].addr });
        assert_eq!((check.start_interval, check.start_period), (Duration::from_secs(5), Duration::ZERO));
    }

    #[test]
    fn probes_go_to_the_real_port() {
        let http = Test::Http { port: 9090, path: "/live".to_owned(), any_status: false };
        let addr = endpoints()[1].addr;
        let expected = Probe::Http { addr, path: "/live".to_owned(), host: None, any_status: false };
        assert_eq!(probe(&http, &endpoints(), &Targets::default()), Some(expected));
        assert_eq!(probe(&http, &[], &Targets::default()), None);
    }

    #[test]
    fn a_command_sees_the_instances_port_as_its_own() {
        let targets = Targets { own: [(8080, "21000".to_owned())].into(), ..Targets::default() };
        let command = Command::Shell("wget -qO- http://localhost:8080/x || nc -z 127.0.0.1:8080".to_owned());
        let argv = beside(&command, &targets);
        assert_eq!(argv[2], "wget -qO- http://127.0.0.1:21000/x || nc -z 127.0.0.1:21000");
    }
}
