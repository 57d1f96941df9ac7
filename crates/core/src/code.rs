//! Stable codes of the errors that an operator may meet.
//!
//! A code never changes its meaning and is never used again. Each has a page, `docs/errors/TUTnnnn.md`
//! with cause and remedy, that `tutti explain` prints; `cargo xtask tidy` proves that none is missing.
//!
//! Blocks: 01xx model · 02xx supervisor · 03xx store · 04xx registry · 05xx proxy and net · 06xx command line ·
//! 07xx trust.

use std::fmt;
use std::str::FromStr;

/// A stable error code, shown as `TUT0123`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(u16);

impl Code {
    /// The number alone.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The short title of the code's page.
    pub fn title(self) -> &'static str {
        ALL.iter().find(|(code, _)| *code == self).map_or("", |(_, title)| title)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TUT{:04}", self.0)
    }
}

impl FromStr for Code {
    type Err = UnknownCode;

    /// Accepts `TUT0123`, `tut0123`, `0123` and `123`.
    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        let digits = text.strip_prefix("TUT").or_else(|| text.strip_prefix("tut")).unwrap_or(text);
        let code = digits.parse().map(Code).map_err(|_| UnknownCode(text.to_owned()))?;
        ALL.iter()
            .find(|(known, _)| *known == code)
            .map(|(known, _)| *known)
            .ok_or(UnknownCode(text.to_owned()))
    }
}

/// No such code.
#[derive(Debug, thiserror::Error)]
#[error("there is no error code {0:?}")]
pub struct UnknownCode(pub String);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $title:literal;)*) => {
        $($(#[$doc])* #[doc = $title] pub const $name: Code = Code($number);)*
        /// Every code with the title of its page, in order.
        pub const ALL: &[(Code, &str)] = &[$(($name, $title)),*];
    };
}

codes! {
    // 01xx: model
    BAD_YAML = 101, "The file is not valid YAML";
    BAD_MODEL = 102, "The compose file or overlay has problems";
    NO_COMPOSE_FILE = 103, "No compose file was found";
    UNREADABLE_FILE = 104, "A file of the application cannot be read";
    UNKNOWN_KEY = 105, "A key is not known";
    WRONG_TYPE = 106, "A value has the wrong type";
    BAD_VALUE = 107, "A value is not one that its key accepts";
    BAD_VARIABLE = 108, "A variable cannot be filled in";
    UNDEFINED = 109, "Something is named that is not defined";
    CYCLE = 110, "Definitions go round in a circle";
    CONFLICT = 111, "Two definitions contradict each other";
    MISSING_KEY = 112, "A key that must be there is missing";
    NOT_HONOURED = 113, "A key is accepted and has no effect";
    MODEL_LIMIT = 114, "The files describe more than Tutti reads";
    NOT_YET = 115, "A key belongs to a later version";
    UNSET_VARIABLE = 116, "A variable is not set";
    BAD_ENV_FILE = 117, "A file of environment variables has an error";
    DEPRECATED_KEY = 118, "A key is obsolete";
    // 02xx: supervisor
    PORT_TAKEN = 201, "A port that the application publishes is taken";
    SETUP_FAILED = 202, "A build step of a service failed";
    PROGRAM_NOT_FOUND = 203, "A service's program was not found";
    NOT_EXECUTABLE = 204, "A service's program may not be executed";
    FOLDER_MISSING = 205, "A service's folder does not exist";
    EXITED_DURING_START = 206, "A service exited while it started";
    NEVER_HEALTHY = 207, "A service did not become healthy";
    CRASH_LOOP = 208, "A service exits again and again";
    NO_COMMAND = 209, "It is not known how to run a service";
    FIXED_PORT_REPLICAS = 210, "A service with a fixed port cannot have several replicas";
    KEEPER_FAILED = 211, "The keeper of the processes cannot be started";
    UNKNOWN_SERVICE = 212, "There is no such service";
    DEPENDENCY_FAILED = 213, "A service that another one depends on has failed";
    FIXED_PORT_TAKEN = 214, "The fixed port of a service is taken";
    LEFTOVERS = 215, "Processes of an earlier run could not be ended";
    LOGS_DROPPED = 216, "Lines of a service's log were dropped";
    // 03xx: store
    DATA_DIR_LOCKED = 301, "Another process holds the data directory";
    DATA_FORMAT = 302, "The data directory has a format this version cannot read";
    DISK_FULL = 303, "No space is left for the state";
    STATE_DAMAGED = 304, "The state database is damaged";
    DATA_DIR_UNSAFE = 305, "The data directory is not safe to use";
    DATA_DIR_IO = 306, "The data directory cannot be read or written";
    // 04xx: registry
    REGISTRY_STATE = 401, "The registry's state cannot be read or written";
    // 05xx: proxy and net
    NO_ROUTE = 501, "No route matches the request";
    NO_INSTANCE = 502, "No instance of the service is ready";
    UPSTREAM_REFUSED = 503, "No connection to the service could be made";
    UPSTREAM_BROKE = 504, "The connection to the service broke before it answered";
    UPSTREAM_TIMEOUT = 505, "The service did not answer in time";
    UPSTREAM_MALFORMED = 506, "The service's answer is malformed";
    BAD_REQUEST = 507, "The request is malformed or ambiguous";
    OVERLOADED = 508, "A limit of the proxy was reached";
    NO_BACKEND = 509, "The route has no backend";
    LISTEN = 510, "A listener's address cannot be bound";
    BAD_ROUTING = 511, "The routes do not compile";
    NOT_SERVED = 512, "The method is not served";
    CLIENT_GONE = 513, "The client went away or sent no body in time";
    MISDIRECTED = 520, "The certificate of the connection is not for the host that was asked for";
    TLS_FILES = 521, "TLS cannot be set up with these certificates";
    FLOOD = 525, "A connection was closed because its client flooded it";
    BREAKER_OPEN = 530, "The service's circuit breaker is open";
    DEADLINE_PASSED = 535, "The caller's deadline passed";
    SHED = 536, "There is no room for more requests at a time";
    FAULT_INJECTED = 537, "A fault was made on purpose";
    FAULTS_IN_PRODUCTION = 538, "A fault on purpose is declared in production";
    RATE_LIMITED = 540, "A caller asks too often";
    ADDRESS_DENIED = 541, "The route is not for the caller's address";
    RATES_UNKNOWN = 542, "The counts of a rate limit cannot be had";
    UNAUTHENTICATED = 543, "The route needs a credential that is good";
    NOT_ALLOWED = 544, "The route is not for whoever asks";
    EXTERNAL_DENIED = 545, "The authorization service refused the request";
    EXTERNAL_UNKNOWN = 546, "The authorization service gave no decision";
    EXTERNAL_LOOP = 547, "The authorization service is asked about a question of its own";
    KEYS_UNKNOWN = 550, "The keys of an issuer of tokens cannot be had";
    BODY_TOO_LARGE = 555, "The request's body is too large";
    URI_TOO_LONG = 556, "The request's path or query is too long";
    HEADER_TOO_LARGE = 557, "The request's header is too large";
    METHOD_NOT_ALLOWED = 558, "The method is not allowed on this route";
    UNSUPPORTED_TYPE = 559, "The type or coding of the request's body is not taken";
    ANSWER_TOO_LARGE = 560, "The service's answer is too large";
    NOT_AS_DESCRIBED = 561, "The request is not as the service's description says";
    ANSWER_NOT_AS_DESCRIBED = 562, "The service's answer is not as its description says";
    OPENAPI_FILE = 563, "A description of a service cannot be used";
    NOT_DESCRIBED = 564, "The service's description has no such operation";
    CLIENT_SLOW = 565, "The client sends its request too slowly";
    REQUEST_FORGOTTEN = 570, "The request is not remembered";
    ACCESS_LOG = 571, "The access log cannot be written";
    PROXY_HEADER = 573, "A proxy in front did not say for whom it connects";
    UPSTREAM_TLS = 574, "No secure connection to the service could be made";
    UPSTREAM_TLS_FILES = 575, "TLS to a service cannot be set up with these files";
    NO_STREAM_ROUTE = 576, "No route is for the name that a client of TLS asks for";
    CREDENTIAL_FILES = 577, "A changed file of credentials cannot be used";
    HTTP3_LISTEN = 578, "The UDP port of HTTP/3 cannot be bound";
    // 06xx: command line
    NOT_RUNNING = 601, "Nothing runs here";
    // 602 is spent.
    // 07xx: trust
    AUTHORITY = 701, "The development authority cannot be read or made";
    TRUST_STORE = 702, "A list of trusted authorities could not be changed";
    SEAL = 703, "A sealed secret cannot be opened";
    ACME_REFUSED = 704, "The certificate authority refused";
    ACME_CHALLENGE = 705, "The certificate authority could not find out that a name is ours";
    ACME_WAIT = 706, "The certificate authority asks to wait";
    ACME_UNREACHABLE = 707, "The certificate authority cannot be reached";
    DNS_HOOK = 708, "The program that writes DNS records failed";
    CERTIFICATE_ENDS = 709, "A certificate ends soon and could not be renewed";
    CERTIFICATE_OF_DEVELOPMENT = 710, "Clients elsewhere do not trust the certificate";
    // 08xx: the process
    UPGRADE_REFUSED = 801, "An upgrade in place is not possible now";
    UPGRADE_FAILED = 802, "The new version did not take over";
    UPGRADED_AWAY = 803, "Another version has taken over meanwhile";
    LAST_GOOD_RUNS = 804, "The last good configuration runs, not the files";
    LAST_GOOD_UNUSABLE = 805, "There is no last good configuration to start from";
    LAST_GOOD_NOT_KEPT = 806, "The configuration in force could not be kept";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_ascending() {
        assert!(ALL.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn a_code_reads_back_in_every_spelling() {
        for spelling in ["TUT0301", "tut0301", "0301", "301"] {
            assert_eq!(spelling.parse::<Code>().unwrap(), DATA_DIR_LOCKED);
        }
        assert!("TUT9999".parse::<Code>().is_err());
        assert!("".parse::<Code>().is_err());
    }
}
