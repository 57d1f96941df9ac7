//! What is stored of an authority's: the account, the certificates with their sealed keys, what failed lately, and who is ordering.
//!
//! | key | value |
//! |---|---|
//! | `trust/acme/AUTHORITY/account/WHO` | the account, sealed |
//! | `trust/acme/AUTHORITY/certificate/ID` | a [`Record`]; its key is sealed |
//! | `trust/acme/AUTHORITY/setback/ID` | a [`Setbacks`]: a restart does not make us ask too often |
//! | `trust/acme/AUTHORITY/order/ID` | the mark of the process that orders; dies with its lease |
//!
//! AUTHORITY is a digest of the directory's URL, WHO one of the address and the external account, ID one of the names.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tutti_ports::certificates::Acme;
use tutti_ports::state::{Compare, LeaseId, Op, Range, Store, Txn};

use crate::error::TrustError;
use crate::model::renewal::Window;
use crate::seal::Seal;

/// How long the mark of a process that orders outlives it.
const LEASE: Duration = Duration::from_secs(30);

/// A certificate as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The names that were asked for, in the order of the configuration.
    pub(crate) names: Vec<String>,
    /// The chain in PEM.
    pub(crate) chain: String,
    /// The private key, sealed.
    pub(crate) key: String,
    /// See [`crate::model::renewal::Lifetime`].
    pub(crate) jitter: f64,
    /// When the authority suggests to renew it.
    pub(crate) window: Option<Window>,
    /// Whether a client brought it up.
    pub(crate) on_demand: bool,
}

/// Failures in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Setbacks {
    /// How many.
    pub(crate) count: u32,
    /// Not before, in seconds since 1970.
    pub(crate) until: u64,
}

/// What is stored of one authority's.
#[derive(Clone)]
pub(crate) struct Vault {
    store: Arc<dyn Store>,
    seal: Arc<Seal>,
    prefix: String,
    account: String,
}

/// The right to order a certificate, for as long as it is kept.
#[derive(Debug)]
pub(crate) struct Turn {
    lease: LeaseId,
}

impl Vault {
    pub(crate) fn new(store: Arc<dyn Store>, seal: Arc<Seal>, acme: &Acme) -> Self {
        let prefix = format!("trust/acme/{}", short(&acme.directory));
        let kid = acme.external_account.as_ref().map(|account| account.kid.as_str()).unwrap_or_default();
        let who = short(&format!("{}\n{kid}", acme.email.as_deref().unwrap_or_default()));
        let account = format!("{prefix}/account/{who}");
        Self { store, seal, prefix, account }
    }

    /// The name of a certificate in keys, by its names.
    pub(crate) fn id(names: &[String]) -> String {
        let mut sorted = names.to_vec();
        sorted.sort();
        short(&sorted.join("\n"))
    }

    /// The stored account.
    pub(crate) async fn account<T: DeserializeOwned>(&self) -> Result<Option<T>, TrustError> {
        let Some(sealed) = self.get::<String>(&self.account).await? else { return Ok(None) };
        let opened = self.seal.open_sealed(&self.account, &sealed)?;
        Ok(serde_json::from_slice(&opened).ok())
    }

    /// Stores the account.
    pub(crate) async fn put_account(&self, account: &impl Serialize) -> Result<(), TrustError> {
        let plain = json(account)?;
        let sealed = self.seal.seal(&self.account, &plain)?;
        self.put(&self.account, &sealed).await
    }

    /// Forgets the account: the authority does not know it.
    pub(crate) async fn forget_account(&self) -> Result<(), TrustError> {
        self.delete(&self.account).await
    }

    /// A stored certificate.
    pub(crate) async fn record(&self, id: &str) -> Result<Option<Record>, TrustError> {
        self.get(&self.key("certificate", id)).await
    }

    /// Every stored certificate, with its id.
    pub(crate) async fn records(&self) -> Result<Vec<(String, Record)>, TrustError> {
        let prefix = self.key("certificate", "");
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let range = Range { prefix: prefix.clone(), after: after.take(), limit: 0 };
            let page = self.store.range(range).await?;
            after = page.entries.last().map(|entry| entry.key.clone());
            for entry in page.entries {
                let id = entry.key.strip_prefix(&prefix).unwrap_or_default().to_owned();
                match serde_json::from_slice(&entry.value) {
                    Ok(record) => all.push((id, record)),
                    Err(error) => {
                        tracing::warn!(key = entry.key, %error, "a stored certificate is unreadable")
                    }
                }
            }
            if !page.more {
                return Ok(all);
            }
        }
    }

    /// Stores a certificate, and that nothing failed lately.
    pub(crate) async fn put_record(&self, id: &str, record: &Record) -> Result<(), TrustError> {
        let key = self.key("certificate", id);
        let put = Op::Put { key, value: Bytes::from(json(record)?), lease: None };
        let forget = Op::Delete { key: self.key("setback", id) };
        self.store.txn(Txn { then: vec![put, forget], ..Txn::default() }).await?;
        Ok(())
    }

    /// What failed lately.
    pub(crate) async fn setbacks(&self, id: &str) -> Result<Option<Setbacks>, TrustError> {
        self.get(&self.key("setback", id)).await
    }

    /// Stores what failed.
    pub(crate) async fn put_setbacks(&self, id: &str, setbacks: Setbacks) -> Result<(), TrustError> {
        self.put(&self.key("setback", id), &setbacks).await
    }

    /// Takes the right to order a certificate; [`TrustError::Elsewhere`] when another process has it.
    pub(crate) async fn take_turn(&self, id: &str) -> Result<Turn, TrustError> {
        let lease = self.store.grant(LEASE).await?;
        let key = self.key("order", id);
        let mark = Bytes::from(std::process::id().to_string());
        let put = Op::Put { key: key.clone(), value: mark, lease: Some(lease) };
        let txn = Txn { compares: vec![Compare::Absent(key)], then: vec![put], otherwise: Vec::new() };
        if self.store.txn(txn).await?.succeeded {
            return Ok(Turn { lease });
        }
        let _ = self.store.revoke(lease).await;
        Err(TrustError::Elsewhere)
    }

    /// Keeps the right while a future runs, and then gives it back.
    pub(crate) async fn while_mine<T>(&self, turn: Turn, work: impl Future<Output = T>) -> T {
        let keep = async {
            loop {
                tokio::time::sleep(LEASE / 3).await;
                if let Err(error) = self.store.keep_alive(turn.lease).await {
                    tracing::warn!(%error, "the mark of an order could not be kept");
                }
            }
        };
        let done = tokio::select! {
            done = work => done,
            never = keep => never,
        };
        // If that fails, the lease runs out.
        let _ = self.store.revoke(turn.lease).await;
        done
    }

    /// Seals a key for a certificate.
    pub(crate) fn seal(&self, id: &str, key: &[u8]) -> Result<String, TrustError> {
        self.seal.seal(&self.key("certificate", id), key)
    }

    /// The key of a stored certificate.
    pub(crate) fn open(&self, id: &str, record: &Record) -> Result<Vec<u8>, TrustError> {
        self.seal.open_sealed(&self.key("certificate", id), &record.key)
    }

    fn key(&self, kind: &str, id: &str) -> String {
        format!("{}/{kind}/{id}", self.prefix)
    }

    async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, TrustError> {
        let page = self.store.range(Range { prefix: key.to_owned(), after: None, limit: 1 }).await?;
        let entry = page.entries.into_iter().find(|entry| entry.key == key);
        // What is unreadable is as if it were not there: it can be had again.
        Ok(entry.and_then(|entry| serde_json::from_slice(&entry.value).ok()))
    }

    async fn put(&self, key: &str, value: &impl Serialize) -> Result<(), TrustError> {
        let put = Op::Put { key: key.to_owned(), value: Bytes::from(json(value)?), lease: None };
        self.store.txn(Txn { then: vec![put], ..Txn::default() }).await?;
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), TrustError> {
        let delete = Op::Delete { key: key.to_owned() };
        self.store.txn(Txn { then: vec![delete], ..Txn::default() }).await?;
        Ok(())
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, TrustError> {
    serde_json::to_vec(value).map_err(|error| TrustError::NotACertificate(error.to_string()))
}

/// Sixteen bytes of a SHA-256 in hexadecimal.
fn short(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
