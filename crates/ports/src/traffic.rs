//! What the proxy knows of the requests under way, for those who stop instances.

use std::time::Duration;

use tutti_core::InstanceId;

/// Tells when an instance is idle.
#[async_trait::async_trait]
pub trait Traffic: Send + Sync + 'static {
    /// Waits until every worker has stopped choosing the instance (it must be draining or gone in the catalog)
    /// and its last request or connection is done, at most `patience`. Answers how many are still under way:
    /// 0 means it may be stopped without anybody noticing.
    async fn drained(&self, id: &InstanceId, patience: Duration) -> u64;
}
