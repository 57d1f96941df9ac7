//! `tutti ps`: services and instances, how they are and why.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tutti_supervisor::{InstanceStatus, ServiceState, ServiceStatus};

use super::Context;
use super::board::short;
use crate::control::wire::{Listening, Overview, Transition};
use crate::query::Query;
use crate::term::{self, Style, Table};

/// Show services and instances.
#[derive(Debug, clap::Args)]
pub(crate) struct Ps {
    /// Only these services
    services: Vec<String>,
    /// Taken as Compose takes it: what has stopped is always shown
    #[arg(short, long, hide = true)]
    all: bool,
    /// `table` or `json`
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Do not cut anything to the terminal's width
    #[arg(long)]
    no_trunc: bool,
    /// A row for each instance
    #[arg(short, long)]
    instances: bool,
    /// Only the names of instances
    #[arg(short, long)]
    quiet: bool,
    /// Only the names of services
    #[arg(long = "services")]
    names: bool,
    /// Tell the history of a service's health, with reasons
    #[arg(long, value_name = "SERVICE")]
    why: Option<String>,
}

/// How it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

impl Ps {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<i32> {
        context.block_on(async {
            let client = context.client()?;
            if let Some(service) = &self.why {
                return why(context, &client, service).await;
            }
            let overview: Overview = client.get("/v1/status").await?;
            self.show(context, &overview)
        })
    }

    fn show(&self, context: &Context, overview: &Overview) -> anyhow::Result<i32> {
        let chosen: Vec<&ServiceStatus> = overview
            .status
            .services
            .iter()
            .filter(|service| {
                self.services.is_empty() || self.services.iter().any(|name| name == service.name.as_str())
            })
            .collect();
        if let Some(unknown) = self.services.iter().find(|name| overview.status.service(name).is_none()) {
            let known: Vec<&str> =
                overview.status.services.iter().map(|service| service.name.as_str()).collect();
            anyhow::bail!("there is no service {unknown:?}; the application has {}", known.join(", "));
        }
        if context.json || self.format == Some(Format::Json) {
            let mut shown = overview.clone();
            shown.status.services = chosen.into_iter().cloned().collect();
            context.print_json(&shown)?;
        } else if self.names {
            chosen.iter().for_each(|service| context.out.line(service.name.as_str()));
        } else if self.quiet {
            chosen
                .iter()
                .flat_map(|service| &service.instances)
                .for_each(|i| context.out.line(i.id.as_str()));
        } else {
            let table = self.table(overview, &chosen);
            context.out.write(&if self.no_trunc {
                table.whole(&context.out)
            } else {
                table.render(&context.out)
            });
            let Overview { version, pid, edge_generation, .. } = overview;
            let generation = format!(
                "tutti {version} (process {pid}); the data plane serves generation {edge_generation}"
            );
            context.say(&context.err.paint.on(Style::Dim, &generation));
            super::kept::tell(context, overview.last_good.as_ref(), overview.not_kept.as_deref());
        }
        Ok(0)
    }

    fn table(&self, overview: &Overview, services: &[&ServiceStatus]) -> Table {
        let mut table =
            Table::new(&["SERVICE", "STATE", "READY", "RESTARTS", "UP", "CPU", "MEMORY", "ADDRESS", "WHY"]);
        for service in services {
            table.row(service_row(service, &overview.listeners));
            if self.instances || service.instances.len() > 1 {
                service.instances.iter().for_each(|instance| table.row(instance_row(instance)));
            }
        }
        table
    }
}

type Cell = (String, Option<Style>);

fn service_row(service: &ServiceStatus, listeners: &[Listening]) -> Vec<Cell> {
    let one = match service.instances.as_slice() {
        [one] => Some(one),
        _ => None,
    };
    let addresses: Vec<&str> = listeners
        .iter()
        .filter(|listening| listening.serves.iter().any(|name| name == service.name.as_str()))
        .map(|listening| listening.address.as_str())
        .collect();
    let restarts: u32 = service.instances.iter().map(|instance| instance.restarts).sum();
    let mut row = vec![
        (service.name.to_string(), Some(Style::Bold)),
        (service.state.as_str().to_owned(), Some(style_of(service.state))),
        (format!("{}/{}", service.ready, service.desired), None),
        (restarts.to_string(), (restarts > 0).then_some(Style::Warn)),
        (one.map(uptime).unwrap_or_default(), None),
    ];
    row.extend(usage(&service.instances));
    row.push((addresses.join(" "), Some(Style::Link)));
    row.push((
        if service.state == ServiceState::Ready {
            String::new()
        } else {
            term::safe(&short(&service.reason), false)
        },
        None,
    ));
    row
}

fn instance_row(instance: &InstanceStatus) -> Vec<Cell> {
    let health = instance.health.map_or(instance.phase.as_str(), tutti_ports::catalog::Health::as_str);
    let endpoint = instance.endpoints.first().map(|endpoint| endpoint.addr.to_string()).unwrap_or_default();
    let mut row = vec![
        (format!("  {}", instance.id), None),
        (health.to_owned(), Some(Style::Dim)),
        (String::new(), None),
        (instance.restarts.to_string(), (instance.restarts > 0).then_some(Style::Warn)),
        (uptime(instance), None),
    ];
    row.extend(usage(std::slice::from_ref(instance)));
    row.push((endpoint, Some(Style::Dim)));
    row.push((term::safe(&instance.reason, false), Some(Style::Dim)));
    row
}

fn usage(instances: &[InstanceStatus]) -> [Cell; 2] {
    let samples: Vec<_> = instances.iter().filter_map(|instance| instance.stats).collect();
    if samples.is_empty() {
        return [(String::new(), None), (String::new(), None)];
    }
    let cpu: f64 = samples.iter().map(|sample| sample.cpu_percent).sum();
    let memory: u64 = samples.iter().map(|sample| sample.rss_bytes).sum();
    [(format!("{cpu:.1}%"), None), (term::bytes(memory), None)]
}

/// The colour of a state.
pub(crate) fn style_of(state: ServiceState) -> Style {
    use ServiceState as S;
    match state {
        S::Ready | S::Completed => Style::Good,
        S::Failed | S::CrashLoop | S::Unhealthy | S::Blocked => Style::Bad,
        S::Stopped | S::Skipped | S::External => Style::Dim,
        S::Setup | S::Waiting | S::Starting | S::Degraded | S::Stopping => Style::Warn,
    }
}

fn uptime(instance: &InstanceStatus) -> String {
    let (Some(started), Some(_)) = (instance.started_at_ms, instance.pid) else {
        return String::new();
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    term::duration(now.saturating_sub(Duration::from_millis(started)))
}

async fn why(context: &Context, client: &crate::control::Client, service: &str) -> anyhow::Result<i32> {
    let mut query = Query::default();
    query.push("service", service);
    let changes: Vec<Transition> = client.get(&format!("/v1/history?{query}")).await?;
    if context.json {
        context.print_json(&changes)?;
        return Ok(0);
    }
    let mut table = Table::new(&["WHEN", "INSTANCE", "FROM", "TO", "WHY"]);
    for change in changes {
        table.row(vec![
            (term::clock(change.at_ms), Some(Style::Dim)),
            (change.instance, None),
            (change.from.unwrap_or_else(|| "-".to_owned()), None),
            (change.to.unwrap_or_else(|| "gone".to_owned()), None),
            (term::safe(&change.reason, false), None),
        ]);
    }
    context.out.write(&table.render(&context.out));
    Ok(0)
}
