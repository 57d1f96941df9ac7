//! What is told of requests: the access log, and explanations to those who ask for them.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cidr::Cidr;

/// What is told of requests, by all listeners together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observe {
    /// Who may ask why a request went where it went.
    pub explain: Explain,
    /// Where requests are recorded.
    pub access_log: AccessLog,
}

/// Who is told, by a field of the answer, why a request went where it went, if the request asks for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Explain {
    /// Nobody.
    Off,
    /// Clients on this machine, and services at their doors.
    #[default]
    Loopback,
    /// The same, and clients with these addresses.
    Ranges(Vec<Cidr>),
    /// Everybody; but instances, their addresses and other routes are told to clients on this machine and services alone.
    Everybody,
}

/// How requests are recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessLog {
    /// Where.
    pub to: LogTo,
    /// How a line looks.
    pub format: LogFormat,
    /// What is in it; empty: what is usual. The ids of request and trace are always there.
    pub fields: Vec<LogField>,
    /// So many percent of the requests that went well are recorded; `None`: all. Those that did not always are.
    pub sample: Option<u8>,
    /// Those that took longer always are, too.
    pub slower_than: Option<Duration>,
    /// The size at which a file is put aside and a new one begun; `None`: the engine's default.
    pub max_size: Option<u64>,
    /// How many files that were put aside are kept; `None`: the engine's default.
    pub keep: Option<u32>,
}

/// Where requests are recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogTo {
    /// Where the engine does when nothing is said.
    #[default]
    Default,
    /// Nowhere.
    Off,
    /// The process's standard output.
    Stdout,
    /// A file.
    File(PathBuf),
}

/// How a line of the access log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogFormat {
    /// One JSON object.
    #[default]
    Json,
    /// For people: fixed order, `-` for what is absent.
    Text,
}

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// Something that a line of the access log says.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum LogField { $($(#[$doc])* $name,)* }

        impl LogField {
            /// All of them, in their usual order.
            pub const ALL: &[LogField] = &[$(LogField::$name),*];

            /// Its name in a line and in configuration.
            pub const fn as_str(self) -> &'static str {
                match self { $(LogField::$name => $word),* }
            }
        }
    };
}

fields! {
    /// When the last byte was sent.
    Time = "time",
    /// The listener.
    Listener = "listener",
    /// The route.
    Route = "route",
    /// The client's address.
    Client = "client",
    /// The method.
    Method = "method",
    /// Host as it was asked for. Not usual.
    Host = "host",
    /// The path, without its query.
    Path = "path",
    /// `http/1.1`, `h2` or `tcp`.
    Protocol = "protocol",
    /// The status.
    Status = "status",
    /// Bytes of the request's body.
    BytesIn = "bytes_in",
    /// Bytes of the response's body.
    BytesOut = "bytes_out",
    /// From the request's head to the response's last byte.
    Duration = "duration_ms",
    /// From the request's head to the response's head. Not usual.
    FirstByte = "first_byte_ms",
    /// The service.
    Service = "service",
    /// The instance that was tried last.
    Instance = "instance",
    /// How many instances were tried.
    Attempts = "attempts",
    /// The request's id.
    RequestId = "request_id",
    /// The trace's id.
    TraceId = "trace_id",
    /// The fault's code, or `cut`.
    Fault = "fault",
}

impl LogField {
    /// Whether it is there when nothing is said.
    pub const fn is_usual(self) -> bool {
        !matches!(self, LogField::Host | LogField::FirstByte)
    }

    /// The field of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|field| field.as_str() == name).copied()
    }
}
