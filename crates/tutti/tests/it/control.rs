//! The control socket, seen from outside: the status, and waiting for it to become what a test wants.

use std::path::Path;
use std::sync::Weak;
use std::time::Duration;

use http::Request;
use serde_json::Value;
use tutti_net::client::{self, Limits};
use tutti_net::{Addr, Body, Stream, h1};

use crate::app::PATIENCE;

pub struct Control {
    runtime: tokio::runtime::Runtime,
    addr: Addr,
}

impl Control {
    pub fn new(socket: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, addr: Addr::unix(socket) }
    }

    /// Everything that runs.
    #[track_caller]
    pub fn status(&self) -> Value {
        self.runtime.block_on(self.get("/v1/status")).unwrap_or_else(|error| panic!("no status: {error}"))
    }

    /// The data plane.
    #[track_caller]
    pub fn routes(&self) -> Value {
        self.runtime.block_on(self.get("/v1/routes")).unwrap_or_else(|error| panic!("no routes: {error}"))
    }

    async fn get(&self, path: &str) -> Result<Value, String> {
        let limits = Limits { timeout: PATIENCE, body_bytes: 64 << 20 };
        let answer =
            client::get(&self.addr, "tutti", path, limits).await.map_err(|error| error.to_string())?;
        serde_json::from_slice(answer.body()).map_err(|error| error.to_string())
    }

    /// Waits until the status is as wanted: it is read again with every event.
    #[track_caller]
    pub fn until(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = self.runtime.block_on(async {
            let mut last = Value::Null;
            let found = tokio::time::timeout(PATIENCE, self.watch(wanted, &mut last)).await;
            found.map_err(|_| format!("it did not become so: {last:#}")).and_then(|result| result)
        });
        found.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn watch(&self, wanted: impl Fn(&Value) -> bool, last: &mut Value) -> Result<Value, String> {
        let stream = Stream::connect(&self.addr, PATIENCE).await.map_err(|error| error.to_string())?;
        let home = Weak::<h1::client::Nowhere>::new();
        let connection = h1::client::Connection::new(stream, &h1::Settings::default(), home);
        let request = Request::get("/v1/events").header("host", "tutti").body(Body::empty()).unwrap();
        let mut events = connection.send(request).await.map_err(|error| error.to_string())?.into_body();
        loop {
            *last = self.get("/v1/status").await?;
            if wanted(last) {
                return Ok(last.take());
            }
            // Not everything in the status has an event of its own (usage, transitions of health), so it is also read without one.
            match tokio::time::timeout(Duration::from_millis(50), events.frame()).await {
                Ok(Some(Err(error))) => return Err(error.to_string()),
                Ok(None) => return Err(format!("Tutti ended before it became so: {last:#}")),
                Ok(Some(Ok(_))) | Err(_) => {}
            }
        }
    }
}
