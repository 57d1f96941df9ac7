//! Every bound that the configuration does not set, by name and with its reason.
//!
//! A number that stops a queue, a buffer, a parser or a retry from growing lives here, so that
//! the list of what Tutti refuses can be read in one place.

use std::time::Duration;

/// Longest name of a project or service: what fits into one DNS label (RFC 1035 section 2.3.4).
pub const NAME_BYTES: usize = 63;

/// Largest compose file, overlay or `.env` file. The largest of 234 public compose files has 61 kB.
pub const MODEL_FILE_BYTES: usize = 2 << 20;

/// Most YAML nodes after aliases are expanded; stops "billion laughs".
pub const MODEL_NODES: usize = 200_000;

/// Deepest nesting of a YAML document.
pub const MODEL_DEPTH: usize = 64;

/// Most bytes of text in a model after variables, aliases and `extends` are expanded.
pub const MODEL_TEXT_BYTES: usize = 8 << 20;

/// Most files read for one application: compose files, includes, bases of `extends`, environment files.
pub const MODEL_FILES: usize = 256;

/// Most services of one application: each may name every other one.
pub const MODEL_SERVICES: usize = 500;

/// Deepest nesting of variables inside the defaults of variables.
pub const MODEL_VARIABLE_DEPTH: usize = 32;

/// Most problems shown for one load of a model; the rest are counted.
pub const MODEL_PROBLEMS: usize = 100;

/// Largest head of an HTTP/1.1 message: request or status line and all fields.
pub const HTTP_HEAD_BYTES: usize = 64 << 10;

/// Most fields in one HTTP message; also bounds trailers.
pub const HTTP_FIELDS: usize = 100;

/// Longest request target (RFC 9110 section 4.1 recommends that at least 8000 octets be accepted).
pub const HTTP_TARGET_BYTES: usize = 16 << 10;

/// How long a client may take to send a whole request head.
pub const HTTP_HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// How long an idle kept-alive connection from a client stays open.
pub const HTTP_IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// Longest line of a service's output kept whole; what is longer is cut and marked.
pub const LOG_LINE_BYTES: usize = 64 << 10;

/// Transitions kept for each instance.
pub const TRANSITIONS_KEPT: usize = 64;
