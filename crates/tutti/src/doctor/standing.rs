//! What can be seen without a running Tutti: toolchains, ports, the data directory, the machine.

use std::path::Path;

use tutti_model::app::{Application, Service};
use tutti_ports::routing::{Listener, Serve};
use tutti_store::DataDir;
use tutti_supervisor::infer::{self, Toolbox, Workshop};

use super::{Finding, listeners};
use crate::term;

/// Looks at everything an `up` would need.
pub(crate) fn examine(application: &Application, data_dir: &Path, running: bool) -> Vec<Finding> {
    let tools = Toolbox::new(std::env::var_os("PATH").unwrap_or_default());
    let services =
        application.services.values().map(|service| runnable(application, service, data_dir, &tools));
    let mut findings: Vec<Finding> = services.collect();
    if !running {
        findings.extend(application.routing.listeners.iter().map(port));
    }
    findings.push(directory(data_dir));
    findings.extend(space(data_dir));
    findings.push(open_files());
    findings
}

fn runnable(application: &Application, service: &Service, data_dir: &Path, tools: &Toolbox) -> Finding {
    let name = service.name.as_str();
    if service.skip {
        return Finding::good(name, "left out (skip: true)");
    }
    if let Some((_, address)) = service.external.first() {
        return Finding::good(name, format!("runs elsewhere, at {address}"));
    }
    let workshop = Workshop { folder: data_dir.join("setup").join(name) };
    match infer::plan(service, &application.folder, &workshop, tools) {
        Ok(plan) => Finding::good(name, format!("runs `{}`", infer::show_program(&plan.launch.program))),
        Err(cannot) => Finding::bad(name, cannot.to_string(), cannot.remedy()),
    }
}

/// Whether an address of the edge can be had.
fn port(listener: &Listener) -> Finding {
    let serves = match &listener.serve {
        Serve::Http(_) => "HTTP",
        Serve::Tcp(_) | Serve::Stream(_) => "TCP",
    };
    let subject = format!("{} ({})", listener.name, listener.bind);
    let error = match tutti_net::listen::check_free(listener.bind) {
        Ok(()) => return Finding::good(subject, format!("free, for {serves}")),
        Err(error) => error,
    };
    match listeners::owner_of(listener.bind.port()) {
        Some(owner) => {
            let remedy = format!("stop that process, or {}", elsewhere(&listener.name, listener.bind.port()));
            Finding::bad(subject, format!("taken by process {} ({})", owner.pid, owner.command), remedy)
        }
        None if error.kind() == std::io::ErrorKind::PermissionDenied => Finding::bad(
            subject,
            "ports below 1024 are not for ordinary users on this machine",
            "publish a port from 1024 on, or allow it: sysctl net.ipv4.ip_unprivileged_port_start=80",
        ),
        None => Finding::bad(subject, error.to_string(), elsewhere(&listener.name, listener.bind.port())),
    }
}

/// How a listener gets another port.
pub(crate) fn elsewhere(listener: &str, port: u16) -> String {
    let next = port.saturating_add(1);
    match listener {
        "gateway" => format!("say another one in tutti.yaml (`gateway: {{ listen: {next} }}`)"),
        "gateway-https" => format!("say another one in tutti.yaml (`gateway: {{ https: {next} }}`)"),
        _ => format!("publish another port in the compose file (`\"{next}:…\"`)"),
    }
}

fn directory(data_dir: &Path) -> Finding {
    let subject = crate::cli::shown(data_dir);
    match DataDir::holder(data_dir) {
        Ok(Some(holder)) => Finding::good(subject, format!("in use by {holder}")),
        Ok(None) if data_dir.exists() => Finding::good(subject, "free"),
        Ok(None) => Finding::good(subject, "will be made by the first `tutti up`"),
        Err(error) => Finding::bad(subject, error.to_string(), "see `tutti explain 301`"),
    }
}

/// Below this much free space builds and databases begin to fail.
const LITTLE_SPACE: u64 = 1 << 30;

fn space(data_dir: &Path) -> Option<Finding> {
    let existing = data_dir.ancestors().find(|folder| folder.exists())?;
    let stat = rustix::fs::statvfs(existing).ok()?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let text = format!("{} free", term::bytes(free));
    Some(match free {
        0..LITTLE_SPACE => Finding::look("disk", text, "make room: state, logs and builds need it"),
        _ => Finding::good("disk", text),
    })
}

/// Below this many open files a proxy of some hundred connections runs out of them.
const FEW_FILES: u64 = 4_096;

fn open_files() -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    match limit {
        0..FEW_FILES => Finding::look(
            "open files",
            format!("at most {limit} for a process"),
            "raise it: `ulimit -n 65536`, or LimitNOFILE= of the systemd unit",
        ),
        _ => Finding::good("open files", format!("at most {limit} for a process")),
    }
}
