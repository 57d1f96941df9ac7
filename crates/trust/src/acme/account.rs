//! The account at an authority: restored from the vault, or made and stored.

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use instant_acme::{Account, AccountBuilder, AccountCredentials, ExternalAccountKey, NewAccount};
use tokio::sync::Mutex;
use tutti_core::limits;
use tutti_ports::certificates::Acme;

use super::http::Https;
use super::vault::Vault;
use crate::error::TrustError;
use crate::files;

/// The account, once it is known.
pub(crate) struct AccountSlot {
    acme: Acme,
    vault: Vault,
    https: Https,
    known: Mutex<Option<Account>>,
}

impl AccountSlot {
    pub(crate) fn new(acme: Acme, vault: Vault, https: Https) -> Self {
        Self { acme, vault, https, known: Mutex::new(None) }
    }

    /// The account. One is made at most once at a time.
    pub(crate) async fn get(&self) -> Result<Account, TrustError> {
        let mut known = self.known.lock().await;
        if let Some(account) = &*known {
            return Ok(account.clone());
        }
        let account = match self.stored().await? {
            Some(credentials) => within(self.builder().from_credentials(credentials)).await?,
            None => self.make().await?,
        };
        *known = Some(account.clone());
        Ok(account)
    }

    /// Forgets the account if the authority says that it knows no such account; the next call makes another one.
    pub(crate) async fn unknown(&self) -> Result<(), TrustError> {
        *self.known.lock().await = None;
        self.vault.forget_account().await
    }

    async fn stored(&self) -> Result<Option<AccountCredentials>, TrustError> {
        match self.vault.account().await {
            // Another key sealed it: the account is lost to us, and another one costs nothing.
            Err(error @ TrustError::Sealed(_)) => {
                tracing::warn!(%error, "the ACME account is made anew");
                Ok(None)
            }
            other => other,
        }
    }

    async fn make(&self) -> Result<Account, TrustError> {
        let contact = self.acme.email.as_ref().map(|email| format!("mailto:{email}"));
        let contacts: Vec<&str> = contact.as_deref().into_iter().collect();
        let wanted =
            NewAccount { contact: &contacts, terms_of_service_agreed: true, only_return_existing: false };
        let external = self.external()?;
        let made = self.builder().create(&wanted, self.acme.directory.clone(), external.as_ref());
        let (account, credentials) = within(made).await?;
        self.vault.put_account(&credentials).await?;
        tracing::info!(directory = self.acme.directory, account = account.id(), "an ACME account was made");
        Ok(account)
    }

    fn external(&self) -> Result<Option<ExternalAccountKey>, TrustError> {
        let Some(external) = &self.acme.external_account else { return Ok(None) };
        let path = &external.key_file;
        let damaged = |what: &str| TrustError::Damaged { path: path.clone(), what: what.to_owned() };
        let text = files::read(path)?.ok_or_else(|| damaged("there is no such file"))?;
        let text = text.trim_ascii();
        let key = URL_SAFE_NO_PAD.decode(text).or_else(|_| URL_SAFE.decode(text));
        let key = key.map_err(|_| damaged("it holds no key in base64url"))?;
        Ok(Some(ExternalAccountKey::new(external.kid.clone(), &key)))
    }

    fn builder(&self) -> AccountBuilder {
        Account::builder_with_http(Box::new(self.https.clone()))
    }
}

/// One exchange with an authority, bounded in time.
pub(crate) async fn within<T>(
    exchange: impl Future<Output = Result<T, instant_acme::Error>>,
) -> Result<T, TrustError> {
    match tokio::time::timeout(limits::ACME_EXCHANGE, exchange).await {
        Ok(done) => done.map_err(refusal),
        Err(_) => Err(TrustError::Unreachable(format!("no answer within {:?}", limits::ACME_EXCHANGE))),
    }
}

/// What an error of the protocol means for us (RFC 8555 section 6.7).
pub(crate) fn refusal(error: instant_acme::Error) -> TrustError {
    use instant_acme::Error;
    let said = tutti_core::error::chain(&error);
    match error {
        Error::Api(problem) => {
            let kind = problem.r#type.as_deref().and_then(|kind| kind.rsplit(':').next()).unwrap_or_default();
            match (kind, problem.status) {
                ("rateLimited", _) | (_, Some(429)) => TrustError::Wait { after: None, why: said },
                ("serverInternal", _) | (_, Some(500..)) => TrustError::Unreachable(said),
                _ => TrustError::Refused(said),
            }
        }
        Error::Timeout(at) => {
            let after = at.map(|at| at.saturating_duration_since(std::time::Instant::now()));
            TrustError::Wait { after, why: said }
        }
        Error::Unsupported(_) | Error::KeyRejected | Error::Crypto => TrustError::Refused(said),
        _ => TrustError::Unreachable(said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str, status: u16, detail: &str) -> TrustError {
        let problem = instant_acme::Problem {
            r#type: Some(format!("urn:ietf:params:acme:error:{kind}")),
            detail: Some(detail.to_owned()),
            status: Some(status),
            subproblems: Vec::new(),
        };
        refusal(instant_acme::Error::Api(problem))
    }

    #[test]
    fn what_the_authority_says_decides_when_it_is_asked_again() {
        assert!(matches!(problem("rateLimited", 429, "slow down"), TrustError::Wait { after: None, .. }));
        assert!(matches!(
            problem("rateLimited", 429, "retry after lunch"),
            TrustError::Wait { after: None, .. }
        ));
        assert!(matches!(problem("serverInternal", 500, "oops"), TrustError::Unreachable(_)));
        assert!(matches!(problem("rejectedIdentifier", 400, "no"), TrustError::Refused(_)));
    }
}
