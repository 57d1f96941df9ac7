//! The calling side.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Weak;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tutti_core::{Classify, Code, Kind, code, error};
use tutti_net::client::{self, ClientError, Limits};
use tutti_net::error::ConnectCause;
use tutti_net::{Addr, Body, Stream, h1};

use super::wire::{Problem, ProblemBody};

/// Why Tutti did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    /// Nothing listens at the control socket.
    #[error("nothing runs here (no answer at {socket}); `tutti up` starts it")]
    NotRunning {
        /// The socket.
        socket: String,
    },
    /// The socket may not be opened.
    #[error("{socket} may only be opened by the user who started Tutti")]
    Denied {
        /// The socket.
        socket: String,
    },
    /// It answered that it cannot.
    #[error("{}", .0.message)]
    Refused(ProblemBody),
    /// The conversation broke.
    #[error("the running Tutti stopped answering: {0}")]
    Broken(String),
}

impl Classify for ControlError {
    fn kind(&self) -> Kind {
        match self {
            ControlError::NotRunning { .. } | ControlError::Broken(_) => Kind::Unavailable,
            ControlError::Denied { .. } => Kind::Denied,
            ControlError::Refused(_) => Kind::Invalid,
        }
    }

    fn code(&self) -> Option<Code> {
        match self {
            ControlError::NotRunning { .. } => Some(code::NOT_RUNNING),
            ControlError::Refused(problem) => problem.code.as_deref()?.parse().ok(),
            _ => None,
        }
    }
}

/// Longest wait for an answer that is not a stream: rolling restarts and slow builds take their time.
const PATIENCE: Duration = Duration::from_secs(6 * 3600);
/// Longest wait for a sign of life.
const LOOK: Duration = Duration::from_secs(2);
/// Longest wait for the process that has taken over to be the one that answers, and between two tries.
const SUCCESSION: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(50);
/// Largest answer.
const ANSWER_BYTES: usize = 64 << 20;

/// Calls the control API of a running Tutti.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    addr: Addr,
}

impl Client {
    /// A client for the socket. Nothing is connected yet.
    pub(crate) fn new(socket: &Path) -> Self {
        Self { addr: Addr::unix(socket) }
    }

    /// Whether somebody answers. A connection alone says little: the system makes it for a process that is just dying, too.
    pub(crate) async fn is_running(&self) -> bool {
        if Stream::connect(&self.addr, LOOK).await.is_err() {
            return false;
        }
        let answer = tokio::time::timeout(LOOK, self.bytes(Method::GET, "/v1/status", Bytes::new())).await;
        // Who is too busy to answer in time is there.
        !matches!(answer, Ok(Err(ControlError::NotRunning { .. } | ControlError::Broken(_))))
    }

    /// Reads something.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ControlError> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// Has something done.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ControlError> {
        let body = serde_json::to_vec(body).map_err(|error| ControlError::Broken(error.to_string()))?;
        self.call(Method::POST, path, body.into()).await
    }

    /// A stream of JSON values, a line each.
    pub(crate) async fn stream(&self, path: &str) -> Result<Lines, ControlError> {
        let stream = Stream::connect(&self.addr, Duration::from_secs(2)).await;
        let stream = stream.map_err(|error| self.unreachable(&error.into()))?;
        let home = Weak::<h1::client::Nowhere>::new();
        let connection = h1::client::Connection::new(stream, &h1::Settings::default(), home);
        let response = connection.send(request(Method::GET, path, Body::empty())?).await;
        let response = response.map_err(|error| self.unreachable(&error.into()))?;
        if !response.status().is_success() {
            let (bytes, _) = response.into_body().collect(ANSWER_BYTES).await.map_err(broken)?;
            return Err(refused(&bytes));
        }
        Ok(Lines { body: response.into_body(), buffer: BytesMut::new(), ready: VecDeque::new() })
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ControlError> {
        let bytes = self.bytes(method, path, body).await?;
        serde_json::from_slice(&bytes).map_err(|error| ControlError::Broken(error.to_string()))
    }

    /// Whoever is being upgraded away says so, and then the one that has taken over is asked.
    async fn bytes(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, ControlError> {
        let until = Instant::now() + SUCCESSION;
        loop {
            let answer = self.once(method.clone(), path, Body::full(body.clone())).await;
            match &answer {
                Err(error) if error.code() == Some(code::UPGRADED_AWAY) && Instant::now() < until => {
                    tokio::time::sleep(AGAIN).await;
                }
                _ => return answer,
            }
        }
    }

    async fn once(&self, method: Method, path: &str, body: Body) -> Result<Bytes, ControlError> {
        let limits = Limits { timeout: PATIENCE, body_bytes: ANSWER_BYTES };
        let response: Response<Bytes> = client::request(&self.addr, request(method, path, body)?, limits)
            .await
            .map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() { Ok(response.into_body()) } else { Err(refused(response.body())) }
    }

    fn unreachable(&self, error: &ClientError) -> ControlError {
        let socket = self.addr.to_string().trim_start_matches("unix:").to_owned();
        match error {
            ClientError::Connect(connect) if is_denied(&connect.cause) => ControlError::Denied { socket },
            ClientError::Connect(_) => ControlError::NotRunning { socket },
            other => ControlError::Broken(error::chain(other)),
        }
    }
}

fn is_denied(cause: &ConnectCause) -> bool {
    matches!(cause, ConnectCause::Io(error) if error.kind() == std::io::ErrorKind::PermissionDenied)
}

fn request(method: Method, path: &str, body: Body) -> Result<Request<Body>, ControlError> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "tutti")
        .header(header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(broken)
}

fn broken(error: impl std::fmt::Display) -> ControlError {
    ControlError::Broken(error.to_string())
}

fn refused(bytes: &[u8]) -> ControlError {
    match serde_json::from_slice::<Problem>(bytes) {
        Ok(problem) => ControlError::Refused(problem.error),
        Err(error) => broken(error),
    }
}

/// The lines of a stream.
#[derive(Debug)]
pub(crate) struct Lines {
    body: Body,
    buffer: BytesMut,
    ready: VecDeque<Bytes>,
}

impl Lines {
    /// The next value; `None` at the end.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Option<Result<T, ControlError>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(serde_json::from_slice(&line).map_err(broken));
            }
            match self.body.frame().await? {
                Ok(frame) => self.take(frame.data_ref().map_or(&[][..], |data| data)),
                Err(error) => return Some(Err(broken(error))),
            }
        }
    }

    fn take(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line = self.buffer.split_to(end + 1).freeze();
            self.ready.push_back(line);
        }
    }
}
