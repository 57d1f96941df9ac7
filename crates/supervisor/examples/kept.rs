//! The other processes of the integration tests: the keeper, and a Tutti that can be killed.
//!
//! `kept keeper FD` is the keeper; `kept run DATA SCRIPT…` runs each script as a service until it is killed.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tutti_core::{ProjectName, ServiceName};
use tutti_model::app::{Application, Command, Restart, Service};
use tutti_supervisor::{Deps, Options, Supervisor};
use tutti_testkit::fake::{FakeCatalog, FakeDoor, FakeTraffic, Probing};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [_, "keeper", fd] => tutti_supervisor::keeper::main(fd.parse().unwrap_or(-1)),
        [_, "run", data, scripts @ ..] => run(PathBuf::from(data), scripts),
        _ => ExitCode::from(2),
    }
}

fn run(data: PathBuf, scripts: &[&str]) -> ExitCode {
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
    else {
        return ExitCode::FAILURE;
    };
    let services = scripts.iter().enumerate().filter_map(|(at, script)| {
        let mut service = Service::new(ServiceName::new(&format!("s{at}")).ok()?);
        service.run = Some(Command::Shell((*script).to_owned()));
        service.restart = Restart::Always;
        Some((service.name.clone(), service))
    });
    let services = services.collect();
    let Ok(name) = ProjectName::new("fixture") else { return ExitCode::FAILURE };
    let application =
        Application { name, folder: data.clone(), files: Vec::new(), services, routing: Default::default() };
    runtime.block_on(async {
        let catalog = Arc::new(FakeCatalog::new(Probing::Pass));
        let deps = Deps::new(catalog, Arc::new(FakeDoor::default()), Arc::new(FakeTraffic::default()));
        let Ok((supervisor, handle)) = Supervisor::new(deps, Arc::new(application), Options::new(data))
        else {
            return ExitCode::FAILURE;
        };
        let work = tokio::spawn(supervisor.run());
        if handle.up(&[]).await.is_err() {
            return ExitCode::FAILURE;
        }
        let _ = work.await;
        ExitCode::SUCCESS
    })
}
