//! The process that has taken over, as the one before it sees it.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::{WaitOptions, wait};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tutti_net::Link;

use super::{Word, hear, say};
use crate::exit;

/// The process that has taken over. When this is dropped, it sees the end of this process.
#[derive(Debug)]
pub(crate) struct Heir {
    /// Its id.
    pub(crate) pid: u32,
    /// Its version.
    pub(crate) version: String,
    link: Arc<Link>,
    ended: watch::Receiver<Option<i32>>,
    listening: JoinHandle<()>,
}

impl Heir {
    pub(super) fn new(pid: u32, version: String, link: Link) -> Self {
        let link = Arc::new(link);
        let (tell, ended) = watch::channel(None);
        let heard = Arc::clone(&link);
        let listening = tokio::spawn(async move {
            let code = loop {
                match hear(&heard).await {
                    Ok(Some((Word::Ended(code), _))) => break code,
                    Ok(Some(_)) => {}
                    // Without a word it has crashed, and with it everything that it ran.
                    Ok(None) | Err(_) => break exit::FAILED,
                }
            };
            tell.send_replace(Some(code));
        });
        Self { pid, version, link, ended, listening }
    }

    /// Waits for the end of the last process that has taken over, be it this one or one that came after it. Gives its exit code.
    pub(crate) async fn ended(&self) -> i32 {
        let mut ended = self.ended.clone();
        let code = ended.wait_for(Option::is_some).await.ok().and_then(|code| *code);
        code.unwrap_or(exit::FAILED)
    }

    /// Asks whoever has taken over last for the end; the second time, at once.
    pub(crate) async fn stop(&self) {
        // Who is gone need not be asked.
        let _ = say(&self.link, &Word::Stop, &[]).await;
    }
}

/// The signals of a process that only stays.
pub(crate) struct Signals {
    term: Signal,
    int: Signal,
    child: Signal,
}

/// How long processes that have said their last may take to be gone.
const LAST: Duration = Duration::from_secs(2);

impl Signals {
    /// Listens for them.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            child: signal(SignalKind::child())?,
        })
    }

    /// Waits until the end is asked for. Collects children meanwhile, among them those of processes that have taken over and were upgraded away.
    pub(crate) async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.term.recv() => return,
                _ = self.int.recv() => return,
                _ = self.child.recv() => drop(collect()),
            }
        }
    }

    /// Waits until there is no child any more.
    pub(crate) async fn until_alone(&mut self) {
        let alone = async {
            while !collect() {
                self.child.recv().await;
            }
        };
        let _ = tokio::time::timeout(LAST, alone).await;
    }
}

/// Collects every child that has ended. Whether none is left.
fn collect() -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}

impl Drop for Heir {
    fn drop(&mut self) {
        self.listening.abort();
    }
}
