//! The account at an authority: restored from the vault, or made and stored.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use instant_acme::{Account, AccountBuilder, AccountCredentials, ExternalAccountKey, NewAccount};
use tokio::sync::Mutex;
use tutti_core::limits;
use tutti_ports::certificates::Acme;

use super::vault::Vault;
use crate::error::TrustError;
use crate::files;

/// The account, once it is known.
pub(crate) struct AccountSlot {
    acme: Acme,
    vault: Vault,
    known: Mutex<Option<Account>>,
}

impl AccountSlot {
    pub(crate) fn new(acme: Acme, vault: Vault) -> Self {
        Self { acme, vault, known: Mutex::new(None) }
    }

    /// The account. One is made at most once at a time.
    pub(crate) async fn get(&self) -> Result<Account, TrustError> {
        let mut known = self.known.lock().await;
        if let Some(account) = &*known {
            return Ok(account.clone());
        }
        let account = match self.stored().await? {
            Some(credentials) => within(self.builder()?.from_credentials(credentials)).await?,
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
        let made = self.builder()?.create(&wanted, self.acme.directory.clone(), external.as_ref());
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

    fn builder(&self) -> Result<AccountBuilder, TrustError> {
        let builder = match &self.acme.trusted_root {
            Some(root) => Account::builder_with_root(root),
            None => Account::builder(),
        };
        builder.map_err(refusal)
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
                ("rateLimited", _) | (_, Some(429)) => TrustError::Wait { after: until(&said), why: said },
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

/// The moment in `… retry after 2026-01-02 03:04:05 UTC …`, as Let's Encrypt writes it.
fn until(said: &str) -> Option<Duration> {
    let (_, rest) = said.split_once("retry after ")?;
    let number = |range: std::ops::Range<usize>| rest.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    // Days of the civil calendar since 1970, counted in years that begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    let at = u64::try_from(((days * 24 + hour) * 60 + minute) * 60 + second).ok()?;
    let now = crate::x509::unix(std::time::SystemTime::now());
    Some(Duration::from_secs(at.saturating_sub(now)))
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
        let at = std::time::SystemTime::now() + Duration::from_secs(7_200);
        let text = at_text(crate::x509::unix(at));
        let told =
            problem("rateLimited", 429, &format!("too many certificates, retry after {text} UTC: see …"));
        let TrustError::Wait { after: Some(after), .. } = told else { panic!("{told:?}") };
        assert!((7_190..=7_200).contains(&after.as_secs()), "{after:?} of {text}");
        assert!(matches!(problem("rateLimited", 429, "slow down"), TrustError::Wait { after: None, .. }));
        assert!(matches!(
            problem("rateLimited", 429, "retry after lunch"),
            TrustError::Wait { after: None, .. }
        ));
        assert!(matches!(problem("serverInternal", 500, "oops"), TrustError::Unreachable(_)));
        assert!(matches!(problem("rejectedIdentifier", 400, "no"), TrustError::Refused(_)));
    }

    /// The other way round, by counting days.
    fn at_text(unix: u64) -> String {
        let (mut days, rest) = (unix / 86_400, unix % 86_400);
        let leap = |year: u64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        let mut year = 1970;
        while days >= 365 + u64::from(leap(year)) {
            days -= 365 + u64::from(leap(year));
            year += 1;
        }
        let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut month = 0;
        while days >= lengths[month] {
            days -= lengths[month];
            month += 1;
        }
        let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
        format!("{year:04}-{:02}-{:02} {hour:02}:{minute:02}:{second:02}", month + 1, days + 1)
    }
}
