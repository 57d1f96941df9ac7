//! What is remembered of a request: facts of a fixed size, noted as it goes by. Everything that can be found out later is left
//! to [`super::report`]. Of what the client sent, its query, header fields and body are never kept.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use tutti_core::{Code, Origin, limits};
use tutti_ports::rate::Verdict;

use crate::error::Fault;

/// A short text in place; what is longer is cut.
#[derive(Clone, Copy, Debug)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    used: u8,
    cut: bool,
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self { bytes: [0; N], used: 0, cut: false }
    }
}

impl<const N: usize> Text<N> {
    /// The beginning of a text.
    pub fn of(text: &[u8]) -> Self {
        let mut own = Self::default();
        let kept = text.len().min(N).min(usize::from(u8::MAX));
        if let (Some(to), Some(from)) = (own.bytes.get_mut(..kept), text.get(..kept)) {
            to.copy_from_slice(from);
        }
        own.used = u8::try_from(kept).unwrap_or(u8::MAX);
        own.cut = kept < text.len();
        own
    }

    /// What was kept.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.used)).unwrap_or_default()
    }

    /// Whether there was more.
    pub fn is_cut(&self) -> bool {
        self.cut
    }
}

/// How a try ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ended {
    /// With an answer of this status.
    Answered(u16),
    /// The instance did not accept a connection.
    Refused,
    /// A kept connection turned out to be closed.
    Stale,
    /// It took too long.
    Late,
    /// The connection broke, or what came was no answer.
    Broke,
    /// It was given up: its client left, or another try was faster.
    #[default]
    Abandoned,
}

/// For a connection that did not have to be made.
pub const KEPT: u32 = u32::MAX;

/// A try, for the record. Times are in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Try {
    /// The endpoint.
    pub endpoint: u64,
    /// When it began, since the request did.
    pub began_us: u32,
    /// How long the connection took to be made; [`KEPT`]: one was kept.
    pub connect_us: u32,
    /// Until the answer's head, or the failure, since the try began.
    pub took_us: u32,
    /// How it ended.
    pub ended: Ended,
}

/// What a try's clock has shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// When it began.
    pub began: Option<Instant>,
    /// How long making the connection took.
    pub connect: Option<Duration>,
}

/// The tries of a request, and what else happened on its way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trail {
    tries: [Try; limits::EXPLAIN_TRIES],
    count: usize,
    /// The number of the change of routes that decided.
    pub generation: u64,
    /// The slot of the service, and one; 0: none was chosen.
    pub slot: u32,
}

impl Trail {
    /// Adds a try.
    pub fn add(&mut self, one: Try) {
        let at = self.count.min(limits::EXPLAIN_TRIES - 1);
        if let Some(place) = self.tries.get_mut(at) {
            *place = one;
        }
        self.count += 1;
    }

    /// The tries that are remembered.
    pub fn tries(&self) -> &[Try] {
        self.tries.get(..self.count.min(limits::EXPLAIN_TRIES)).unwrap_or_default()
    }
}

/// Limits of rate whose verdicts are remembered.
const LIMITS: usize = 3;

/// What a limit of rate said: whether the request may pass, what is left, and the reset in milliseconds.
pub type Said = (bool, u32, u32);

/// A request. About half a kilobyte, without a pointer in it.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// When its head was complete, by the engine's clock.
    pub began: Duration,
    /// Until its last byte was gone.
    pub took: Duration,
    /// Until its answer's head was there; `None`: there was none.
    pub head: Option<Duration>,
    /// The name of its listener and route, as [`crate::metrics::Metrics`] knows it.
    pub route: u32,
    /// Its id.
    pub id: Text<40>,
    /// Its trace; 0: none.
    pub trace: u128,
    /// The client.
    pub client: Option<IpAddr>,
    /// The method.
    pub method: Text<8>,
    /// Host as it was asked for.
    pub host: Text<48>,
    /// The path as it was asked for.
    pub path: Text<128>,
    /// `http/1.1`, `h2` or `tcp`.
    pub protocol: &'static str,
    /// The status.
    pub status: u16,
    /// Bytes from the client and to it.
    pub bytes: (u64, u64),
    /// Whether the answer did not reach its end.
    pub cut: bool,
    /// Its fault.
    pub fault: Option<(Code, Origin)>,
    /// What the limits of rate said, in their order.
    pub limits: [Option<Said>; LIMITS],
    /// How many instances were tried, those included whose end was not seen.
    pub attempts: u32,
    /// The endpoint that was tried last; 0: none was.
    pub chosen: u64,
    /// Another try was wanted, and the budget of the service forbade it.
    pub denied: bool,
    /// Its tries.
    pub trail: Trail,
}

impl Record {
    /// The verdicts in the form in which they are kept.
    pub fn verdicts(verdicts: impl Iterator<Item = Verdict>) -> [Option<Said>; LIMITS] {
        let mut kept = [None; LIMITS];
        for (place, verdict) in kept.iter_mut().zip(verdicts) {
            let reset = u32::try_from(verdict.reset.as_millis()).unwrap_or(u32::MAX);
            *place = Some((verdict.allowed, verdict.remaining, reset));
        }
        kept
    }

    /// Which book it belongs in.
    pub fn shelf(&self) -> Shelf {
        let slow = self.head.unwrap_or(self.took) >= limits::EXPLAIN_SLOW && self.protocol != "tcp";
        match self.fault {
            Some((_, Origin::Us | Origin::Upstream)) => Shelf::Troubled,
            _ if self.status >= 500 || slow || self.attempts > 1 => Shelf::Troubled,
            Some((_, Origin::Client)) => Shelf::Refused,
            None if self.status >= 400 => Shelf::Refused,
            None => Shelf::Recent,
        }
    }
}

/// How long a request is remembered depends on what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shelf {
    /// It went well.
    Recent,
    /// It failed through us or a service, or was slow, or needed several tries.
    Troubled,
    /// It failed through its client.
    Refused,
}

/// What is remembered of a fault besides: only where something went wrong is there something to say.
#[derive(Debug)]
pub struct Trouble {
    /// The fault, as whoever runs this may hear it.
    pub fault: Fault,
    /// How the instances of the service stood at that moment.
    pub stood: Vec<Stood>,
}

/// An instance when a request failed.
#[derive(Clone, Copy, Debug)]
pub struct Stood {
    /// Its endpoint.
    pub endpoint: u64,
    /// Requests under way.
    pub in_flight: u64,
    /// Why it was passed over; empty if it was not.
    pub passed_over: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_small_and_what_is_long_is_cut() {
        assert!(size_of::<Record>() <= 640, "{}", size_of::<Record>());
        let text = Text::<4>::of(b"12345");
        assert_eq!((text.bytes(), text.is_cut()), (&b"1234"[..], true));
        assert!(!Text::<4>::of(b"1234").is_cut());
        let mut trail = Trail::default();
        (1..=9).for_each(|endpoint| trail.add(Try { endpoint, ..Try::default() }));
        let kept: Vec<u64> = trail.tries().iter().map(|one| one.endpoint).collect();
        assert_eq!(kept, [1, 2, 3, 4, 5, 9]);
    }
}
