//! What the rest of Tutti holds: commands in, status, events and logs out. Cheap to clone.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tutti_core::{InstanceId, ServiceName};
use tutti_model::app::Application;
use tutti_ports::exec::Exec;

use crate::error::SupervisorError;
use crate::event::Event;
use crate::exec::{ExecSpec, Place, Running};
use crate::logs::{Follower, LogLine, LogQuery};
use crate::metrics::Metrics;
use crate::rewrite::Rewrite;
use crate::service::{Command, Reloaded, Shared};
use crate::stats::Sample;
use crate::status::{Rollout, ServiceState, ServiceStatus, Settled, Status};

/// Commands the supervisor and reads what it knows.
#[derive(Clone)]
pub struct Handle {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) status: watch::Receiver<Arc<Status>>,
    pub(crate) events: broadcast::Sender<Arc<Event>>,
    pub(crate) shared: Arc<Shared>,
}

impl Handle {
    /// Wants these services, and all they depend on, to run; none named: every service. Returns when it is noted;
    /// [`Handle::settled`] waits for the outcome. What had failed is tried again.
    pub async fn up(&self, services: &[ServiceName]) -> Result<(), SupervisorError> {
        let services = services.to_vec();
        self.ask(|reply| Command::Up { services, dependencies: true, reply }).await
    }

    /// Wants these services to run, and leaves what they depend on alone; none named: every service.
    pub async fn start(&self, services: &[ServiceName]) -> Result<(), SupervisorError> {
        let services = services.to_vec();
        self.ask(|reply| Command::Up { services, dependencies: false, reply }).await
    }

    /// Wants these services not to run; none named: every service. What depends on others stops first.
    pub async fn stop(&self, services: &[ServiceName]) -> Result<(), SupervisorError> {
        self.stop_within(services, None).await
    }

    /// The same; `grace` says how long their processes may take to stop before they are killed, `None`: as their
    /// definitions say.
    pub async fn stop_within(
        &self,
        services: &[ServiceName],
        grace: Option<Duration>,
    ) -> Result<(), SupervisorError> {
        let services = services.to_vec();
        self.ask(|reply| Command::Stop { services, grace, reply }).await
    }

    /// Restarts services that run: each instance is replaced by a new one that is fit before the old one goes.
    /// Those that are stopped are started. None named: every service.
    pub async fn restart(&self, services: &[ServiceName]) -> Result<(), SupervisorError> {
        self.restart_within(services, None).await
    }

    /// The same; `grace` as for [`Handle::stop_within`].
    pub async fn restart_within(
        &self,
        services: &[ServiceName],
        grace: Option<Duration>,
    ) -> Result<(), SupervisorError> {
        let services = services.to_vec();
        self.ask(|reply| Command::Restart { services, grace, reply }).await
    }

    /// Takes another definition of the application into force. Services whose definition changed are replaced by a
    /// rolling restart if they run; new ones are known, and started by [`Handle::up`]; those that are gone are stopped
    /// and then forgotten. Refused, and nothing changed, where only a new start can do it.
    pub async fn reload(&self, application: Arc<Application>) -> Result<Reloaded, SupervisorError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Reload { application, reply };
        self.commands.send(command).await.map_err(|_| SupervisorError::Closed)?;
        answer.await.map_err(|_| SupervisorError::Closed)?
    }

    /// Wants so many instances of a service.
    pub async fn scale(&self, service: &ServiceName, replicas: u32) -> Result<(), SupervisorError> {
        let service = service.clone();
        self.ask(|reply| Command::Scale { service, replicas, reply }).await
    }

    /// Stops every service and then the supervisor; returns when nothing runs any more.
    pub async fn shutdown(&self) {
        self.shutdown_within(None).await;
    }

    /// The same; `grace` as for [`Handle::stop_within`].
    pub async fn shutdown_within(&self, grace: Option<Duration>) {
        let _ = self.commands.send(Command::Shutdown { grace }).await;
        self.commands.closed().await;
    }

    /// Kills every process at once. For the operator's second Ctrl-C.
    pub async fn kill(&self) {
        let _ = self.commands.send(Command::Kill).await;
        self.commands.closed().await;
    }

    /// What there is now.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status.borrow())
    }

    /// What there is now, and a wake-up for each change.
    pub fn watch(&self) -> watch::Receiver<Arc<Status>> {
        self.status.clone()
    }

    /// What happens from now on. A slow reader loses the oldest and is told how many.
    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.subscribe()
    }

    /// These services and all that they depend on, however far; none for none, which means every service.
    pub fn with_dependencies(&self, services: &[ServiceName]) -> Vec<ServiceName> {
        let application = self.shared.current.get();
        let mut all = services.to_vec();
        let mut at = 0;
        while let Some(service) = all.get(at).and_then(|name| application.services.get(name)) {
            for name in service.depends_on.keys().filter(|name| application.services.contains_key(*name)) {
                if !all.contains(name) {
                    all.push(name.clone());
                }
            }
            at += 1;
        }
        all
    }

    /// Waits until each of these services is as wanted, or needs somebody to do something about it; none
    /// named: every service that is wanted.
    pub async fn settled(&self, services: &[ServiceName]) -> Settled {
        let mut watch = self.status.clone();
        loop {
            let settled = settled(&watch.borrow_and_update(), services);
            if let Some(settled) = settled {
                return settled;
            }
            if watch.changed().await.is_err() {
                return settled_now(&watch.borrow(), services);
            }
        }
    }

    /// Waits until nothing of these services runs; none named: every service.
    pub async fn stopped(&self, services: &[ServiceName]) {
        let mut watch = self.status.clone();
        let gone = |status: &Arc<Status>| {
            status.services.iter().filter(|s| services.is_empty() || services.contains(&s.name)).all(|s| {
                use ServiceState::{Completed, External, Failed, Skipped, Stopped};
                matches!(s.state, Stopped | Completed | Failed | Skipped | External)
                    && s.instances.iter().all(|instance| instance.pid.is_none())
            })
        };
        // An error means that the supervisor has ended, and with it every instance.
        let _ = watch.wait_for(gone).await;
    }

    /// Lines that were printed, oldest first.
    pub async fn logs(&self, query: LogQuery) -> Vec<LogLine> {
        self.shared.logs.query(query).await
    }

    /// Lines that were printed, and then each new one as it comes.
    pub async fn follow(&self, query: LogQuery) -> Follower {
        self.shared.logs.follow(query).await
    }

    /// What every instance used in the last samples, oldest first.
    pub fn samples(&self, id: &InstanceId) -> Vec<Sample> {
        self.shared.stats.ring(id)
    }

    /// Takes a fresh sample of every instance and returns the status with them.
    pub async fn top(&self) -> Result<Arc<Status>, SupervisorError> {
        self.ask(|reply| Command::Sample { reply }).await?;
        Ok(self.status())
    }

    /// The supervisor's metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Every address that was changed in environments and commands, by service and key.
    pub fn rewrites(&self) -> Vec<Rewrite> {
        self.shared.rewrites()
    }

    /// Runs commands beside instances and waits for their end.
    pub fn exec(&self) -> Arc<dyn Exec> {
        Arc::clone(&self.shared) as Arc<dyn Exec>
    }

    /// What a process beside an instance is given, for a caller that starts it itself.
    pub fn beside(&self, id: &InstanceId) -> Result<Place, SupervisorError> {
        self.shared.beside(id)
    }

    /// What one more process of a service would be given, for a caller that starts it itself.
    pub async fn once(&self, service: &ServiceName) -> Result<Place, SupervisorError> {
        self.shared.once(service).await
    }

    /// Runs a command beside an instance, with its streams.
    pub async fn exec_stream(&self, id: &InstanceId, spec: ExecSpec) -> Result<Running, SupervisorError> {
        self.shared.exec_stream(id, spec).await
    }

    /// Runs a service once more beside its instances, with another command if `spec.argv` is not empty. It is not
    /// registered in the catalog and gets no traffic.
    pub async fn run_once(&self, service: &ServiceName, spec: ExecSpec) -> Result<Running, SupervisorError> {
        self.shared.run_once(service, spec).await
    }

    async fn ask(
        &self,
        make: impl FnOnce(oneshot::Sender<Result<(), SupervisorError>>) -> Command,
    ) -> Result<(), SupervisorError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(make(reply)).await.map_err(|_| SupervisorError::Closed)?;
        answer.await.map_err(|_| SupervisorError::Closed)?
    }
}

fn settled(status: &Status, services: &[ServiceName]) -> Option<Settled> {
    let mut chosen = chosen(status, services);
    let settled = |s: &ServiceStatus| s.state.is_settled() && !matches!(s.rollout, Some(Rollout::Running));
    chosen.all(settled).then(|| settled_now(status, services))
}

fn settled_now(status: &Status, services: &[ServiceName]) -> Settled {
    let mut settled = Settled::default();
    for service in chosen(status, services) {
        if service.state.is_good() {
            settled.good.push(service.name.to_string());
        } else {
            let reason = match service.reason.as_str() {
                "" => service.state.as_str().to_owned(),
                reason => reason.to_owned(),
            };
            settled.bad.insert(service.name.to_string(), reason);
        }
    }
    settled
}

fn chosen<'a>(status: &'a Status, services: &'a [ServiceName]) -> impl Iterator<Item = &'a ServiceStatus> {
    status.services.iter().filter(move |s| match services {
        [] => !matches!(s.state, ServiceState::Stopped | ServiceState::Skipped | ServiceState::External),
        named => named.contains(&s.name),
    })
}
