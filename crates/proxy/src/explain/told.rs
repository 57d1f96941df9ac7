//! What is told of a request, for people and the API.

use serde::{Deserialize, Serialize};

/// A request in a line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Its id: what `X-Request-Id` said.
    pub id: String,
    /// Its trace, as 32 hexadecimal digits; empty: none.
    pub trace: String,
    /// When it came: milliseconds since 1970.
    pub at_ms: u64,
    /// Whose request it was.
    pub client: String,
    /// Where it came in.
    pub listener: String,
    /// Its route; empty: none took it.
    pub route: String,
    /// `http/1.1`, `h2` or `tcp`.
    pub protocol: String,
    /// The method.
    pub method: String,
    /// Host as it was asked for.
    pub host: String,
    /// The path as it was asked for, without its query.
    pub path: String,
    /// The status; 499: the client left before there was one.
    pub status: u16,
    /// Until its last byte was gone.
    pub duration_ms: f64,
    /// Until the answer began; null: it did not.
    pub first_byte_ms: Option<f64>,
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Bytes to the client.
    pub bytes_out: u64,
    /// Whether the answer did not reach its end.
    pub cut: bool,
    /// How many instances were tried.
    pub attempts: u32,
    /// The instance that was tried last; empty: none was.
    pub instance: String,
    /// The fault's code; null: there was none.
    pub code: Option<String>,
    /// Who failed: `client`, `tutti` or `upstream`; null: nobody.
    pub failed: Option<String>,
}

/// What became of a request, and why.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Explanation {
    /// The request.
    pub request: Summary,
    /// What went wrong; null: nothing.
    pub failure: Option<Failure>,
    /// Which route it took and why.
    pub routing: Routing,
    /// What it had to pass, in order.
    pub guards: Vec<Passed>,
    /// The limits of rate.
    pub limits: Vec<Limit>,
    /// Where it was sent; null: nowhere.
    pub upstream: Option<Upstream>,
    /// Its tries, in order.
    pub attempts: Vec<Attempt>,
    /// Another try was wanted, and the retry budget of the service forbade it.
    pub retry_denied: bool,
}

/// What went wrong.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Failure {
    /// Who failed: `client`, `tutti` or `upstream`.
    pub who: String,
    /// The code.
    pub code: String,
    /// Its title.
    pub title: String,
    /// What happened, in words; empty: nothing more is known.
    pub message: String,
    /// The hop that failed.
    pub hop: Option<String>,
}

/// Which route a request took, and why.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Routing {
    /// The rule that matched, in words; empty: none did.
    pub matched: String,
    /// What to know about this: that the routes have changed since, for one.
    pub notes: Vec<String>,
    /// Other routes that were near, and why they lost.
    pub others: Vec<Other>,
}

/// A route that a request did not take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Other {
    /// Its name.
    pub route: String,
    /// Why.
    pub why: String,
}

/// Something that a request had to pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed {
    /// What: `addresses`, `rate limits`, `credentials`, `condition`, `external authorization`, `content`, `room`.
    pub guard: String,
    /// `passed`, `refused` or `not reached`.
    pub verdict: String,
}

/// A limit of rate.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Limit {
    /// What callers are told it is called.
    pub name: String,
    /// How many in each window; 0: the limit is not there any more.
    pub requests: u32,
    /// The window.
    pub window_ms: u64,
    /// Whether it let the request pass.
    pub allowed: bool,
    /// How many more could pass then.
    pub remaining: u32,
    /// If it let it pass: when all was forgotten. If not: when the next one could pass.
    pub reset_ms: u64,
}

/// A service, as it stands now.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Upstream {
    /// The service.
    pub service: String,
    /// The port.
    pub port: u16,
    /// Which of its instances; null: all.
    pub subset: Option<String>,
    /// How an instance is chosen.
    pub balance: String,
    /// Whether so few instances are well that health is not looked at.
    pub panic: bool,
    /// Where its circuit breaker is: `closed`, `half-open` or `open`; null: it has none.
    pub breaker: Option<String>,
    /// Retries for each 100 requests that its budget allows.
    pub retry_percent: u32,
    /// How many requests it may take at a time; null: as many as come.
    pub room: Option<Room>,
    /// Its instances now.
    pub instances: Vec<Standing>,
    /// The instances as they stood when the request failed.
    pub then: Vec<Then>,
}

/// How many requests there may be at a time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Room {
    /// That many.
    pub limit: u32,
    /// So many there are.
    pub inside: u32,
    /// So many wait.
    pub waiting: u32,
}

/// An instance, as it stands now.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Standing {
    /// The instance.
    pub instance: String,
    /// Where it listens; empty: it does not offer the port.
    pub address: String,
    /// What its health checks say.
    pub health: String,
    /// Why.
    pub reason: String,
    /// Its failure domain.
    pub zone: Option<String>,
    /// Its share.
    pub weight: u32,
    /// Its level: 0 is asked first; null: it takes no traffic.
    pub level: Option<usize>,
    /// Requests under way.
    pub in_flight: u64,
    /// Why it is passed over though its checks pass; empty: it is not.
    pub passed_over: String,
    /// For how much longer; null: it is not, or until it accepts a connection.
    pub passed_over_ms: Option<u64>,
}

/// An instance, as it stood when the request failed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Then {
    /// The instance.
    pub instance: String,
    /// Requests under way.
    pub in_flight: u64,
    /// Why it was passed over; empty: it was not.
    pub passed_over: String,
}

/// A try.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Attempt {
    /// The instance; empty: it is not known any more.
    pub instance: String,
    /// Where it listened.
    pub address: String,
    /// When it began, since the request did.
    pub began_ms: f64,
    /// How long the connection took to be made; null: one was kept.
    pub connect_ms: Option<f64>,
    /// Until the answer's head, or the failure; null: its end was not seen.
    pub took_ms: Option<f64>,
    /// The status; null: there was no answer.
    pub status: Option<u16>,
    /// How it ended: `answered`, `refused`, `stale`, `late`, `broke` or `abandoned`.
    pub ended: String,
}
