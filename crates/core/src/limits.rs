//! Every bound that the configuration does not set, by name and with its reason.
//!
//! A number that stops a queue, a buffer, a parser or a retry from growing lives here, so that
//! the list of what Tutti refuses can be read in one place.

use std::time::Duration;

/// Longest name of a project or service: what fits into one DNS label (RFC 1035 section 2.3.4).
pub const NAME_BYTES: usize = 63;

/// Largest compose file, overlay or `.env` file. The largest of 234 public compose files has 61 kB.
pub const MODEL_FILE_BYTES: usize = 2 << 20;

/// Largest file in which what an application was read from is kept. Descriptions (OpenAPI) are most of it.
pub const LAST_GOOD_BYTES: u64 = 128 << 20;

/// Most YAML nodes of one application, after aliases, `extends` and ranges of ports are expanded; stops "billion
/// laughs". An application of 100 services has a few thousand.
pub const MODEL_NODES: usize = 100_000;

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

/// Largest message between the old and the new process of an upgrade. One of 1,000 instances has about 10 MB, for each has its
/// environment in it.
pub const LINK_MESSAGE_BYTES: usize = 256 << 20;

/// Most descriptors with such a message: a socket for each listener and worker, two pipes for each instance.
pub const LINK_DESCRIPTORS: usize = 1 << 16;

/// Most processes that were upgraded away and still finish their connections. Each has the memory of a whole Tutti.
pub const UPGRADES_DRAINING: usize = 8;

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

/// How long a peer may take no byte of what we send before it is given up.
pub const HTTP_WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest line of a chunk's size and extensions, which are read and ignored (RFC 9112 section 7.1.1).
pub const HTTP_CHUNK_LINE_BYTES: usize = 1 << 10;

/// Largest trailer section.
pub const HTTP_TRAILER_BYTES: usize = 16 << 10;

/// Most interim (1xx) responses before the final one.
pub const HTTP_INTERIM_RESPONSES: usize = 8;

/// How long, after an error answer, what the client still sends is read and thrown away, so that the answer
/// is not lost by a reset (RFC 9112 section 9.6).
pub const HTTP_LINGER_TIME: Duration = Duration::from_secs(2);

/// How much of it is read.
pub const HTTP_LINGER_BYTES: usize = 1 << 20;

/// How much of a request's body that its handler did not want is read in order to keep the connection.
pub const HTTP_DRAIN_BYTES: u64 = 64 << 10;

/// Most streams at a time on one HTTP/2 connection.
pub const HTTP2_STREAMS: u32 = 128;

/// Flow-control window of one HTTP/2 stream: how much a slow reader can make us hold.
pub const HTTP2_STREAM_WINDOW: u32 = 256 << 10;

/// Flow-control window of one HTTP/2 connection.
pub const HTTP2_CONNECTION_WINDOW: u32 = 1 << 20;

/// Streams that a peer opened and reset at once, still known, before the connection is closed (CVE-2023-44487).
pub const HTTP2_PENDING_RESETS: usize = 20;

/// Streams that we had to reset because of the peer's errors before the connection is closed.
pub const HTTP2_ERROR_RESETS: usize = 100;

/// Longest time of a TLS handshake: on a bad mobile network it takes seconds.
pub const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Most TLS handshakes under way at one listener, each with some kilobytes for a client that is not known yet. A
/// further one cuts the one that has taken the longest.
pub const TLS_HANDSHAKES: usize = 1_024;

/// Frames that carry nothing (PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA, unknown types) that a peer may send
/// at once on an HTTP/2 connection; what is useful allows more.
pub const HTTP2_CONTROL_FRAMES: u32 = 1_000;

/// Streams that a peer may open and cancel at once on an HTTP/2 connection before they are answered (CVE-2023-44487):
/// all that are open at a time, and some.
pub const HTTP2_CANCELLED: u32 = 200;

/// How fast the two allowances above grow again with time alone.
pub const HTTP2_CONTROL_PER_SECOND: u32 = 50;

/// What one HTTP/2 stream may hold that its connection cannot take yet.
pub const HTTP2_SEND_BUFFER: usize = 64 << 10;

/// QUIC handshakes under way at one listener with clients whose address is not validated. A further client first has to show
/// that it gets what is sent to it (RFC 9000 section 8.1.2), which costs a round trip, and nothing here.
pub const QUIC_UNVALIDATED_HANDSHAKES: usize = 100;

/// First packets of QUIC connections that wait to be looked at.
pub const QUIC_INCOMING: usize = 1 << 10;

/// What is held for one of them. The first message of a client with post-quantum keys has two packets.
pub const QUIC_INCOMING_BYTES: u64 = 16 << 10;

/// What is held for all of them.
pub const QUIC_INCOMING_BYTES_TOTAL: u64 = 4 << 20;

/// Streams of one direction that a client may have open on an HTTP/3 connection: three mean something (RFC 9114 section 6.2), and
/// others have to be allowed.
pub const QUIC_UNI_STREAMS: u32 = 8;

/// Buffers of a UDP socket, each way: a few milliseconds at a gigabit a second.
pub const QUIC_SOCKET_BUFFER: usize = 2 << 20;

/// How long, when a UDP socket is about to be closed, its clients may take to hear of it.
pub const QUIC_FAREWELL: Duration = Duration::from_millis(500);

/// Longest first message of a TLS client that is read without a handshake; with post-quantum keys it has 2 kB.
pub const TLS_HELLO_BYTES: usize = 16 << 10;

/// Longest header of the PROXY protocol; with all its extensions it has some hundred bytes.
pub const PROXY_HEADER_BYTES: usize = 4 << 10;

/// How long a proxy in front may take for the header that it must begin with.
pub const PROXY_HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// Certificates that a process keeps parsed; what is older is parsed again when it is asked for.
pub const TLS_KEYS: usize = 4_096;

/// Most connections of one listener.
pub const CONNECTIONS: usize = 16_384;

/// Most connections of one client to a listener of the edge: many people may share an address, and none of them should be able
/// to take all of [`CONNECTIONS`].
pub const CLIENT_CONNECTIONS: u32 = 1_024;

/// Bytes a second below which a client is too slow: a bad line has thousands, and an attacker wants to spend a few.
pub const CLIENT_MIN_RATE: u32 = 240;

/// How long a client is waited for before its rate counts: longer than a line hangs when it changes from one mast to the next.
pub const CLIENT_MIN_RATE_GRACE: Duration = Duration::from_secs(10);

/// Shortest time between two changes of the routes: what is asked for meanwhile becomes one change, so that any number of changes a
/// second costs as much as 200.
pub const CHANGES_APART: Duration = Duration::from_millis(5);

/// Changes of the routes that become one snapshot at most, and that wait: at 5 ms each they are 51,200 a second.
pub const CHANGES_AT_ONCE: usize = 256;

/// Longest time for which a service's `Keep-Alive: timeout=` is believed.
pub const POOL_KEEP_ALIVE: Duration = Duration::from_secs(60);

/// How much earlier than a service says its idle connection is given up.
pub const POOL_KEEP_ALIVE_MARGIN: Duration = Duration::from_secs(1);

/// Longest line of a service's output kept whole; what is longer is cut and marked.
pub const LOG_LINE_BYTES: usize = 64 << 10;

/// Transitions kept for each instance.
pub const TRANSITIONS_KEPT: usize = 64;

/// Longest key of the state. Keys name things; what is longer is a value.
pub const STATE_KEY_BYTES: usize = 1 << 10;

/// Largest value of the state. What is larger belongs into a file or a log.
pub const STATE_VALUE_BYTES: usize = 1 << 20;

/// Most compares, and most operations in either branch, of one state transaction.
pub const STATE_TXN_OPS: usize = 128;

/// Most bytes of keys and values that one state transaction carries.
pub const STATE_TXN_BYTES: usize = 8 << 20;

/// Entries in a page of the state when the reader names no limit.
pub const STATE_PAGE: usize = 1_000;

/// Most entries in a page of the state, whatever the reader asks for.
pub const STATE_PAGE_MAX: usize = 10_000;

/// A page of the state ends early once it holds so many bytes.
pub const STATE_PAGE_BYTES: usize = 8 << 20;

/// Requests that wait for the state's one writer. Further callers wait before they queue.
pub const STATE_QUEUE: usize = 1_024;

/// Shortest time of a lease: below it, a slow disk would end leases that are kept alive.
pub const STATE_LEASE_MIN: Duration = Duration::from_secs(1);

/// Longest time of a lease.
pub const STATE_LEASE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest host name that is routed (RFC 1035 section 2.3.4 allows 255 octets on the wire).
pub const HOST_BYTES: usize = 255;

/// Largest compiled regular expression of a route.
pub const ROUTE_REGEX_BYTES: usize = 1 << 20;

/// Most listeners and doors of one process; each costs a socket for each worker.
pub const LISTENERS: usize = 4_096;

/// Callers that one rate limit tells apart; the counts of one are 16 to 100 bytes. Who comes after shares a place with others.
pub const RATE_KEYS: usize = 65_536;

/// Places that callers beyond [`RATE_KEYS`] share, by the hash of their name.
pub const RATE_CROWD: usize = 1_024;

/// After so many requests a worker tells the budget of a service's retries, which all workers share. What is not told yet is missing there: at the
/// default of 15 %, two retries of each worker.
pub const RETRY_BATCH: u64 = 16;

/// Largest file of API keys, of users with their passwords, or of keys for tokens.
pub const CREDENTIALS_FILE_BYTES: u64 = 4 << 20;

/// Passwords that are hashed at once for one route: each takes a processor for tens of milliseconds and some 20 MiB.
pub const PASSWORDS_AT_ONCE: usize = 2;

/// Passwords of one route that wait to be hashed; who comes after is refused with 503.
pub const PASSWORDS_WAITING: usize = 64;

/// Passwords of one route that are known to be right without being hashed again.
pub const PASSWORDS_REMEMBERED: usize = 4_096;

/// Longest token. Header fields have less room in most servers.
pub const TOKEN_BYTES: usize = 16 << 10;

/// Tokens of one route whose signatures need not be verified again.
pub const TOKENS_REMEMBERED: usize = 8_192;

/// Largest discovery document or set of keys of an issuer.
pub const KEYS_BYTES: usize = 512 << 10;

/// Most keys of one issuer; Entra ID shows a dozen.
pub const KEYS: usize = 256;

/// Longest condition.
pub const CONDITION_BYTES: usize = 2 << 10;

/// Deepest nesting of a condition: each level takes stack where it is read and evaluated.
pub const CONDITION_DEPTH: usize = 8;

/// Most signs of arithmetic in one condition: a chain of them nests, too.
pub const CONDITION_SUMS: usize = 16;

/// Most signs of other operators in one condition, the dots among them.
pub const CONDITION_OPERATORS: usize = 64;

/// Most macros of one condition that walk over a list; each may be within the other.
pub const CONDITION_WALKS: usize = 2;

/// Most rules of one listener that have a condition (each path of a route with each method is one): a request may be held against all.
pub const ROUTE_CONDITIONS: usize = 1_024;

/// Largest answer of an authorization service: a page that tells somebody no.
pub const EXTERNAL_ANSWER_BYTES: usize = 256 << 10;

/// Most of a request's body that an authorization service is shown, whatever its route says.
pub const EXTERNAL_BODY_BYTES: usize = 1 << 20;

/// Questions to an authorization service under way for one route, over all workers: a service that in turn asks a
/// route which asks it must not go on for ever.
pub const EXTERNAL_QUESTIONS: usize = 4_096;

/// Permissions of an authorization service that one route remembers.
pub const EXTERNAL_REMEMBERED: usize = 8_192;

/// How long a request waits for counts of rate limits that are kept elsewhere.
pub const RATE_STORE_DEADLINE: Duration = Duration::from_millis(100);

/// Most requests that one worker has under way; what comes after is refused with 503.
pub const WORKER_REQUESTS: u64 = 65_536;

/// Most idle connections that one worker keeps to one endpoint.
pub const POOL_IDLE: usize = 256;

/// How long an idle connection to an endpoint is kept: shorter than the 5 s after which Node.js closes its end.
pub const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// A request that could not be repeated goes only on a connection that was used a moment ago, or on a new one: a server that
/// closes idle connections closes those that have been idle for long, and may be doing so just now.
pub const POOL_FRESH: Duration = Duration::from_secs(1);

/// Most HTTP/2 connections that one worker opens to one endpoint when the streams of the others are used up.
pub const POOL_H2: usize = 8;

/// Most tries of one request, the first included, when its route says nothing.
pub const TRIES: u32 = 3;

/// Most tries of one request, whatever its route says: what has failed ten times is not a matter of chance.
pub const TRIES_MAX: u32 = 10;

/// Most of a request's body that is kept for another try, whatever its route says.
pub const REPLAY_BYTES: usize = 16 << 20;

/// Most of a request's body that is kept for a second instance, where its route says nothing of retries.
pub const HEDGE_BYTES: usize = 64 << 10;

/// Most instances that are asked at the same time besides the first.
pub const HEDGES: u32 = 3;

/// Most requests of one worker that wait for an instance to become ready.
pub const READY_WAITERS: usize = 1_024;

/// Most services and ports that routes and doors of one process have ever named; their places are not used again.
pub const CLUSTERS: usize = 65_536;

/// Requests on one HTTP/2 connection to an endpoint before another connection is opened: what most servers allow.
pub const POOL_H2_STREAMS: usize = 100;

/// Size at which a worker hands its access log lines to the writer: each time costs two threads a system call and a switch.
pub const ACCESS_LOG_BUFFER: usize = 128 << 10;

/// Most such buffers that wait for the disk; what comes after is dropped and counted.
pub const ACCESS_LOG_BUFFERS: usize = 16;

/// Most such buffers that are kept to be filled again.
pub const ACCESS_LOG_SPARE: usize = 4;

/// Longest path or other text of a caller's in one access log line; what is longer is cut.
pub const ACCESS_LOG_FIELD: usize = 2 << 10;

/// A TLS handshake with a service: two ways there and back, also where it is far away.
pub const UPSTREAM_TLS_TIMEOUT: Duration = Duration::from_secs(5);

/// Clients for which one worker keeps connections of their own, to services that are told of the client at the beginning of a
/// connection. Further clients get a new connection for each request.
pub const PRIVATE_POOLS: usize = 4_096;

/// Proxies that a request has come by, as far as anybody looks: chains of ten are rare, and nobody has more in front.
pub const FORWARDED_HOPS: usize = 64;

/// Requests that went well and are remembered for `tutti explain request`, all workers together; each takes half a kilobyte.
pub const EXPLAIN_RECENT: usize = 2_048;

/// The same for requests that failed through us or a service, were tried again or were slow: what is asked for at night.
pub const EXPLAIN_TROUBLED: usize = 2_048;

/// The same for requests that failed through their client. Apart, so that who asks for what is not there pushes nothing else out.
pub const EXPLAIN_REFUSED: usize = 1_024;

/// Tries of one request that are remembered; of further ones the last.
pub const EXPLAIN_TRIES: usize = 6;

/// A request whose answer took longer to begin is remembered with the troubled ones.
pub const EXPLAIN_SLOW: Duration = Duration::from_secs(1);

/// Instances that are remembered of a service that failed, and routes that are named beside the one that was taken.
pub const EXPLAIN_OTHERS: usize = 8;

/// Endpoints that are gone and whose names are still known, for explanations.
pub const EXPLAIN_NAMES: usize = 4_096;

/// Callers whose `X-Forwarded-*` values one worker keeps ready.
pub const STAMPS: usize = 16;

/// Longest body of a request, and of its answer, that is carried for a mirror.
pub const MIRROR_BYTES: usize = 256 << 10;

/// Most mirrored requests that one worker has under way: with [`MIRROR_BYTES`] each, 64 MiB.
pub const MIRRORS: usize = 256;

/// Most mirrors of one route.
pub const ROUTE_MIRRORS: usize = 8;

/// Bodies that one worker compresses or decompresses at the same time, each with up to about 2 MiB of tables.
pub const CODINGS: usize = 256;

/// Transitions kept for each service, those of instances that are gone included.
pub const TRANSITIONS_KEPT_OF_SERVICE: usize = 4_096;

/// Changes of the catalog that wait to be written while the state fails; beyond it the oldest are given up.
pub const REGISTRY_WRITES_PENDING: usize = 65_536;

/// Instances under suspicion that wait to be looked at.
pub const REGISTRY_SUSPECTS: usize = 1_024;

/// Calls to the registry that wait to be carried out; further callers wait.
pub const REGISTRY_CALLS: usize = 1_024;

/// Certificates of the development authority that are kept for names that clients brought up.
pub const DEVELOPMENT_CERTIFICATES: usize = 512;

/// Names of one certificate: what Let's Encrypt allows.
pub const CERTIFICATE_NAMES: usize = 100;

/// ACME orders under way at a time: authorities limit how many are pending, and each holds a connection.
pub const ACME_ORDERS: usize = 4;

/// Names for which a client brought up a certificate that an authority was asked for.
pub const ON_DEMAND_NAMES: usize = 1_000;

/// Such names that are begun in a minute; what comes after is refused until the next.
pub const ON_DEMAND_PER_MINUTE: u32 = 10;

/// Handshakes that wait for a certificate which is being ordered.
pub const ON_DEMAND_WAITERS: usize = 256;

/// How long a handshake waits for a certificate which is being ordered.
pub const ON_DEMAND_WAIT: Duration = Duration::from_secs(30);

/// Names that were refused on demand and are refused again for a minute without asking.
pub const ON_DEMAND_REFUSED: usize = 1_024;

/// Longest time for one exchange with an ACME authority.
pub const ACME_EXCHANGE: Duration = Duration::from_secs(30);

/// Longest time for a whole ACME order, the check of its names included.
pub const ACME_ORDER: Duration = Duration::from_secs(300);

/// Largest answer of an ACME authority: a chain of certificates has some 10 kB.
pub const ACME_ANSWER_BYTES: usize = 1 << 20;

/// Most bytes of an OpenAPI description, with the files that it refers to; the largest public ones have some 10 MB.
pub const OPENAPI_BYTES: u64 = 16 << 20;

/// Most files of a description; that of one public cloud has 2,900.
pub const OPENAPI_FILES: usize = 4_000;

/// Most values in one file of a description, aliases unfolded.
pub const OPENAPI_NODES: usize = 2_000_000;

/// Most operations of a description.
pub const OPENAPI_OPERATIONS: usize = 5_000;

/// Deepest nesting of JSON that is held against a description: each level takes stack.
pub const OPENAPI_DEPTH: usize = 64;

/// Bytes of stack that holding a value against its schema may take; threads have 2 MiB.
pub const OPENAPI_STACK: usize = 1 << 20;

/// Longest body that is held against a description, whatever its route says.
pub const OPENAPI_BODY: u64 = 16 << 20;

/// Bytes of bodies that one worker holds while they are looked at; what comes after is refused with 503.
pub const OPENAPI_HELD_BYTES: usize = 64 << 20;

/// Bodies longer than this are looked at on another thread, so that they hold nobody else up.
pub const OPENAPI_INLINE_BYTES: usize = 16 << 10;

/// Bodies of one worker that are looked at on other threads at the same time; each takes a processor, and requests need those, too.
pub const OPENAPI_LOOKS: usize = 2;

/// Longest time in which a body is looked at, and for which one waits until somebody looks.
pub const OPENAPI_TIME: Duration = Duration::from_secs(2);
