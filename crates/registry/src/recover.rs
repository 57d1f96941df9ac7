//! The beginning of a run: what the former one has left behind.
//!
//! Processes die with Tutti, so whatever the former run had registered is gone. Its history stays.

use std::collections::HashMap;
use std::time::SystemTime;

use bytes::Bytes;
use tutti_core::{InstanceId, ServiceName};
use tutti_ports::catalog::{CatalogError, Transition};
use tutti_ports::state::{Compare, Entry, Op, Range, StateError, Store, Txn};

use crate::error::RegistryError;
use crate::journal::{Change, EPOCH_KEY, INSTANCES, Record, TRANSITIONS, parse_transition_key};
use crate::model::history::Kept;

/// Why an instance of the former run is gone.
pub(crate) const RESTARTED: &str = "Tutti was restarted";

/// What a run begins with.
pub(crate) struct Recovered {
    /// The number of this run, from 1.
    pub epoch: u64,
    /// The number that is stored, if this run's is not yet.
    pub before: Option<u64>,
    /// That the instances of the former run are gone: to be written.
    pub gone: Vec<Change>,
    /// The transitions that are kept.
    pub kept: HashMap<ServiceName, Kept>,
}

/// Notes that a new run begins, and reads what the former one has left. One that takes over notes nothing yet.
pub(crate) async fn recover(
    store: &dyn Store,
    now: SystemTime,
    take_over: bool,
) -> Result<Recovered, RegistryError> {
    let (epoch, before) = match take_over {
        false => (begin(store).await?, None),
        true => {
            let before = stored_epoch(store).await?.map_or(0, |(epoch, _)| epoch);
            (before.saturating_add(1), Some(before))
        }
    };
    let mut gone = Vec::new();
    each(store, INSTANCES, |entry| {
        if let Some(change) = leave(&entry, now) {
            gone.push(change);
        } else {
            tracing::warn!(key = entry.key, "a stored instance cannot be read");
        }
    })
    .await
    .map_err(RegistryError::Recover)?;
    let mut kept: HashMap<ServiceName, Kept> = HashMap::new();
    each(store, TRANSITIONS, |entry| {
        if let Some((service, number, id)) = parse_transition_key(&entry.key) {
            kept.entry(service).or_default().add(number, &id, usize::MAX, usize::MAX);
        }
    })
    .await
    .map_err(RegistryError::Recover)?;
    Ok(Recovered { epoch, before, gone, kept })
}

async fn stored_epoch(store: &dyn Store) -> Result<Option<(u64, Bytes)>, RegistryError> {
    let range = Range { prefix: EPOCH_KEY.to_owned(), after: None, limit: 1 };
    let entries = store.range(range).await.map_err(RegistryError::Recover)?.entries;
    let Some(entry) = entries.into_iter().find(|entry| entry.key == EPOCH_KEY) else { return Ok(None) };
    let epoch = std::str::from_utf8(&entry.value).ok().and_then(|text| text.parse().ok());
    let invalid = || RegistryError::Recover(StateError::Invalid(format!("{EPOCH_KEY} is not a number")));
    Ok(Some((epoch.ok_or_else(invalid)?, entry.value)))
}

async fn begin(store: &dyn Store) -> Result<u64, RegistryError> {
    let (epoch, compare) = match stored_epoch(store).await? {
        None => (1, Compare::Absent(EPOCH_KEY.to_owned())),
        Some((former, value)) => (former.saturating_add(1), Compare::ValueIs(EPOCH_KEY.to_owned(), value)),
    };
    let put = Op::Put { key: EPOCH_KEY.to_owned(), value: Bytes::from(epoch.to_string()), lease: None };
    let txn = Txn { compares: vec![compare], then: vec![put], otherwise: Vec::new() };
    let outcome = store.txn(txn).await.map_err(RegistryError::Recover)?;
    if outcome.succeeded { Ok(epoch) } else { Err(RegistryError::TwoWriters) }
}

fn leave(entry: &Entry, now: SystemTime) -> Option<Change> {
    let record: Record = serde_json::from_slice(&entry.value).ok()?;
    let transition =
        Transition { at: now, from: Some(record.health), to: None, reason: RESTARTED.to_owned() };
    let (id, service) = (record.spec.id.clone(), record.spec.service.clone());
    Some(Change { id, service, transition, record: None })
}

/// Reads every entry with a prefix, page by page.
async fn each(store: &dyn Store, prefix: &str, mut take: impl FnMut(Entry)) -> Result<(), StateError> {
    let mut after = None;
    loop {
        let range = Range { prefix: prefix.to_owned(), after, limit: 0 };
        let page = store.range(range).await?;
        after = page.entries.last().map(|entry| entry.key.clone());
        page.entries.into_iter().for_each(&mut take);
        if !page.more || after.is_none() {
            return Ok(());
        }
    }
}

/// The kept transitions of a service in the store, by number.
pub(crate) async fn stored_history(
    store: &dyn Store,
    service: &ServiceName,
) -> Result<Vec<(u64, InstanceId, Transition)>, CatalogError> {
    let mut found = Vec::new();
    each(store, &format!("{TRANSITIONS}{service}/"), |entry| {
        let parts = parse_transition_key(&entry.key);
        if let (Some((_, number, id)), Ok(transition)) = (parts, serde_json::from_slice(&entry.value)) {
            found.push((number, id, transition));
        }
    })
    .await?;
    Ok(found)
}
