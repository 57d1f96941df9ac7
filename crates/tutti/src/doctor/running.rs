//! What can be seen of the running application: why services are not ready.

use tutti_supervisor::{InstanceStatus, ServiceState, ServiceStatus};

use super::{Finding, listeners};
use crate::control::wire::Overview;

/// Looks at every service that is not as it was wanted.
pub(crate) fn examine(overview: &Overview) -> Vec<Finding> {
    overview.status.services.iter().map(service).collect()
}

fn service(service: &ServiceStatus) -> Finding {
    let name = service.name.as_str();
    if service.state.is_good() {
        return Finding::good(name, service.state.as_str());
    }
    if service.state == ServiceState::Stopped {
        return Finding::look(name, "stopped", format!("`tutti start {name}` starts it"));
    }
    let reason = if service.reason.is_empty() { service.state.as_str() } else { service.reason.as_str() };
    if let Some((instance, other)) =
        service.instances.iter().find_map(|one| Some((one, listens_elsewhere(one)?)))
    {
        let told = instance.endpoints.first().map_or(0, |endpoint| endpoint.addr.port());
        return Finding::bad(
            name,
            format!("{} was told to listen at port {told} (PORT) and listens at {other}", instance.id),
            format!("make it read PORT, or say `port: {other}` for it in tutti.yaml (one instance only)"),
        );
    }
    let mut text = reason.to_owned();
    let exit = service.instances.iter().find_map(|instance| instance.last_exit.as_ref());
    if let Some(exit) = exit.filter(|exit| !exit.last_lines.is_empty()) {
        text.push_str("; it last printed:\n    ");
        text.push_str(&exit.last_lines.join("\n    "));
    }
    Finding::bad(name, text, remedy(service, name))
}

fn remedy(service: &ServiceStatus, name: &str) -> String {
    let more = service.code.as_ref().map(|code| format!("; `tutti explain {code}`")).unwrap_or_default();
    match service.state {
        ServiceState::Blocked => format!("look at what it depends on first{more}"),
        ServiceState::Unhealthy | ServiceState::Starting => {
            let checked = "compare its `healthcheck` (path, port) with what it serves";
            format!("{checked}: `tutti ps --why {name}`, `tutti logs {name}`{more}")
        }
        _ => format!("`tutti logs {name}` shows the rest{more}"),
    }
}

/// The port at which an instance listens, if it is none of those it was given: it does not read `PORT`.
fn listens_elsewhere(instance: &InstanceStatus) -> Option<u16> {
    let pid = instance.pid?;
    if instance.health?.takes_traffic() || instance.endpoints.is_empty() {
        return None;
    }
    let ports = listeners::ports_of_group(pid);
    let given = |port: &u16| instance.endpoints.iter().any(|endpoint| endpoint.addr.port() == *port);
    if ports.iter().any(given) { None } else { ports.first().copied() }
}
