//! The processes that were upgraded away, as the one that has taken over sees them: they finish their connections, or stay for the shell that waits
//! for them.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tutti_host::Trigger;
use tutti_net::Link;

use super::{Word, hear, say};

/// How long they may take to end after us.
const LAST: Duration = Duration::from_secs(3);

/// One of them.
struct Predecessor {
    pid: u32,
    /// It stays: its end is asked to be ours.
    stays: bool,
    link: Arc<Link>,
}

/// Their ids and whether they stay.
type Known = Vec<(u32, bool)>;

/// All of them.
#[derive(Default)]
pub(crate) struct Predecessors {
    known: Mutex<Vec<Predecessor>>,
}

impl Predecessors {
    pub(super) fn add(&self, pid: u32, stays: bool, link: Arc<Link>) {
        self.lock().push(Predecessor { pid, stays, link });
    }

    /// How many of them are still there.
    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Their ids and whether they stay, and the links once more, for the next process.
    pub(super) fn duplicate(&self) -> std::io::Result<(Known, Vec<OwnedFd>)> {
        let known = self.lock();
        let links = known.iter().map(|one| one.link.duplicate()).collect::<Result<_, _>>()?;
        Ok((known.iter().map(|one| (one.pid, one.stays)).collect(), links))
    }

    /// The next process has the links.
    pub(super) fn let_go(&self) {
        self.lock().clear();
    }

    /// Hears what they say: who stays may ask for the end.
    pub(super) async fn watch(&self, trigger: &Trigger) {
        let (tell, mut heard) = mpsc::channel(8);
        let mut tasks = JoinSet::new();
        let known: Vec<(u32, bool, Arc<Link>)> =
            self.lock().iter().map(|one| (one.pid, one.stays, Arc::clone(&one.link))).collect();
        for (pid, stays, link) in known {
            let tell = tell.clone();
            tasks.spawn(async move {
                loop {
                    let word = hear(&link).await;
                    let gone = !matches!(word, Ok(Some(_)));
                    let heard = !(stays || gone) || tell.send((pid, stays, gone)).await.is_ok();
                    if gone || !heard {
                        return;
                    }
                }
            });
        }
        drop(tell);
        while let Some((pid, stays, gone)) = heard.recv().await {
            if gone {
                self.lock().retain(|one| one.pid != pid);
                tracing::info!(pid, "an old process has ended");
            }
            match (stays, gone) {
                // Whoever waits for it takes our end for its own.
                (true, true) => trigger.drain(),
                (true, false) => trigger.signal(),
                (false, _) => {}
            }
        }
        std::future::pending().await
    }

    /// Tells them that this process ends, and waits for their end.
    pub(crate) async fn farewell(&self, code: i32) {
        let known = std::mem::take(&mut *self.lock());
        for one in &known {
            // Who is gone need not be told.
            let _ = say(&one.link, &Word::Ended(code), &[]).await;
        }
        let gone = async {
            for one in &known {
                one.link.gone().await;
            }
        };
        let _ = tokio::time::timeout(LAST, gone).await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Predecessor>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
