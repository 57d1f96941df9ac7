//! The upgrade in place: a new process, of another binary, goes on where this one is ([ADR 6](../../../../../docs/adr/0006-upgrade-in-place.md)).
//!
//! | | the old process ([`old`]) | the new process ([`new`]) |
//! |---|---|---|
//! | 1 | starts the new one, with one end of a [`Link`] as its standard input, and says what it runs | reads the files, and says what it is |
//! | 2 | closes the store; gives the lock, the control socket, the sockets of the edge | opens the store, makes the data plane, and is *ready* |
//! | 3 | keeps the services still; gives all that is known of them, the keeper, the pipes, the doors | takes them over, and has *taken* |
//! | 4 | says that all of it is the new one's, finishes its connections, and ends | opens its gates |
//!
//! Until it says so, the old process can go back: it has ended nothing, and the new one has touched nothing. So at every moment one of the two has
//! the services, whoever is killed or stopped when. Both ways of the link stay open for as long as both live: each learns of the other's end.

mod candidate;
mod heir;
mod new;
mod old;
mod predecessors;

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tutti_core::{Classify, Code, Kind, code};
use tutti_model::LoadOptions;
use tutti_net::Link;
use tutti_proxy::handover::{Front, OpenDoor};
use tutti_supervisor::Estate;

use crate::control::wire::LastGood;

pub(crate) use heir::{Heir, Signals};
pub(crate) use new::{Inherited, take_over};
pub(crate) use old::Ask;
pub(super) use old::{Parts, Upgrader};
pub(crate) use predecessors::Predecessors;

/// The form of what the two processes say. It grows with every change that the other side would not understand.
const FORM: u32 = 2;

/// Why there was no upgrade. What ran before runs as before.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpgradeError {
    /// It cannot be done now.
    #[error("{0}")]
    Refused(String),
    /// It was tried.
    #[error("{0}; the old version goes on as before")]
    Failed(String),
}

impl UpgradeError {
    /// Somebody else was first.
    pub(crate) fn late() -> Self {
        UpgradeError::Refused("another version has just taken over; ask that one".to_owned())
    }
}

impl Classify for UpgradeError {
    fn kind(&self) -> Kind {
        match self {
            UpgradeError::Refused(_) => Kind::Conflict,
            UpgradeError::Failed(_) => Kind::Unavailable,
        }
    }

    fn code(&self) -> Option<Code> {
        Some(match self {
            UpgradeError::Refused(_) => code::UPGRADE_REFUSED,
            UpgradeError::Failed(_) => code::UPGRADE_FAILED,
        })
    }
}

/// What the old process says first.
#[derive(Serialize, Deserialize)]
struct Offer {
    form: u32,
    /// The old process.
    pid: u32,
    /// Its version.
    version: String,
    data_dir: PathBuf,
    /// How the files were read that are in force.
    options: LoadOptions,
    /// What is shown to whoever finds the data directory taken.
    command: String,
    rebuild: bool,
    /// The soft limit of open files that services are to have.
    soft_files: Option<u64>,
    /// The old process stays, for a shell or a service manager that waits for it: its end is to be ours.
    stays: bool,
    /// What was kept is in force, and not what the files say. Who does not know of this reads the files, and says that they cannot be used.
    #[serde(default)]
    kept: Option<LastGood>,
}

/// What the new process answers.
#[derive(Serialize, Deserialize)]
struct Hello {
    form: u32,
    version: String,
    /// The formats of the data directory and of the state: others than the old process's could not be given back.
    layout: u32,
    state: u64,
}

/// Descriptors: the lock of the data directory, the control socket, those of the front.
#[derive(Serialize, Deserialize)]
struct FrontGiven {
    front: Front,
}

/// Descriptors: those of the doors, then the links, then those of the estate.
#[derive(Serialize, Deserialize)]
struct ServicesGiven {
    doors: Vec<OpenDoor>,
    door_sockets: usize,
    /// Processes that were upgraded away before and still finish their connections, or stay: their ids, and whether they stay.
    predecessors: Vec<(u32, bool)>,
    estate: Estate,
}

/// What is said over the link.
#[derive(Serialize, Deserialize)]
enum Word {
    /// Old: what it is about.
    Offer(Box<Offer>),
    /// New: who it is.
    Hello(Hello),
    /// New: it cannot, and why.
    Cannot(String),
    /// Old: the edge.
    Front(Box<FrontGiven>),
    /// New: everything that can fail for reasons of the configuration or the machine has been done.
    Ready,
    /// Old: the services.
    Services(Box<ServicesGiven>),
    /// New: it has everything.
    Taken,
    /// Old: it does not come back.
    Yours,
    /// Old, when it stays: somebody asks for the end.
    Stop,
    /// New: it ends, with this exit code.
    Ended(i32),
}

/// Says something.
async fn say(link: &Link, word: &Word, descriptors: &[OwnedFd]) -> io::Result<()> {
    let bytes = serde_json::to_vec(word)?;
    let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(|fd| fd.as_fd()).collect();
    link.send(&bytes, &borrowed).await
}

/// Hears the next word; `None`: the other process is gone.
async fn hear(link: &Link) -> io::Result<Option<(Word, Vec<OwnedFd>)>> {
    let Some((bytes, descriptors)) = link.receive().await? else { return Ok(None) };
    Ok(Some((read(&bytes)?, descriptors)))
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    serde_json::from_slice(bytes).map_err(io::Error::other)
}
