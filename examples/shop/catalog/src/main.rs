//! The catalog of the Piccolo shop: products, categories, search, pictures, stock and reservations.
//!
//! Configuration is by environment alone: `PORT` (8080), `DATABASE_PATH` (data/catalog.db, relative to the
//! working directory), `RESERVATION_TTL_SECONDS` (900).

mod api;
mod db;
mod error;
mod request;
mod reservations;
mod seed;
mod telemetry;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{signal, SignalKind};
use tokio::sync::watch;

use crate::db::Db;
use crate::telemetry::log;

/// In-flight requests get this long after SIGTERM; then the process ends whatever they do.
const DRAIN_LIMIT: Duration = Duration::from_secs(4);
const SWEEP_EVERY: Duration = Duration::from_secs(15);

struct Config {
    port: u16,
    database_path: String,
    reservation_ttl_seconds: i64,
}

impl Config {
    fn from_env() -> Result<Self, String> {
        Ok(Self {
            port: parsed("PORT", 8080)?,
            database_path: text("DATABASE_PATH", "data/catalog.db"),
            reservation_ttl_seconds: parsed("RESERVATION_TTL_SECONDS", 900)?,
        })
    }
}

fn text(name: &str, default: &str) -> String {
    std::env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
}

fn parsed<T: std::str::FromStr>(name: &str, default: T) -> Result<T, String> {
    match std::env::var(name) {
        Ok(value) if !value.is_empty() => {
            value.parse().map_err(|_| format!("{name}={value} is not a valid number"))
        }
        _ => Ok(default),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            log("error", "catalog stops", &json!({ "error": reason }));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), String> {
    let begun = Instant::now();
    let config = Config::from_env()?;
    let db = Arc::new(
        Db::open(&config.database_path, config.reservation_ttl_seconds)
            .map_err(|error| format!("cannot open {}: {error}", config.database_path))?,
    );
    let listener = TcpListener::bind(("0.0.0.0", config.port))
        .await
        .map_err(|error| format!("cannot listen on port {}: {error}", config.port))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;

    let (stop, stopping) = watch::channel(false);
    let sweeper = tokio::spawn(sweep(Arc::clone(&db), stopping.clone()));
    let mut drain = stopping.clone();
    let server =
        axum::serve(listener, api::router(Arc::clone(&db), stopping)).with_graceful_shutdown(async move {
            // An error here means that the sender is gone, which is a reason to stop as well.
            let _ = drain.wait_for(|stop| *stop).await;
        });
    let mut server = tokio::spawn(async move { server.await });
    let startup_ms = begun.elapsed().as_millis() as u64;
    log("info", "catalog is listening", &json!({ "port": config.port, "startup_ms": startup_ms }));

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        ended = &mut server => return Err(format!("the server ended by itself: {ended:?}")),
    }
    log("info", "draining", &json!({ "limit_ms": DRAIN_LIMIT.as_millis() as u64 }));
    stop.send_replace(true);
    if tokio::time::timeout(DRAIN_LIMIT, server).await.is_err() {
        log("warn", "requests were still running at the drain limit", &json!({}));
    }
    sweeper.abort();
    log("info", "stopped", &json!({}));
    Ok(())
}

/// Gives back the stock of reservations that nobody committed in time, so that a crash of the caller
/// between "reserve" and "commit" cannot lose stock for ever.
async fn sweep(db: Arc<Db>, mut stopping: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopping.changed() => return,
        }
        let swept = db.call(|connection, _| reservations::release_expired(connection)).await;
        match swept {
            Ok(0) => {}
            Ok(count) => log("info", "expired reservations released", &json!({ "count": count })),
            Err(error) => log("error", "sweep failed", &json!({ "error": error.to_string() })),
        }
    }
}
