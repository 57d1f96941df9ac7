//! One order: from names to a certificate (RFC 8555 section 7.4).

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    AuthorizationStatus, CertificateIdentifier, ChallengeType, Error, Identifier, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use tutti_core::limits;
use tutti_core::time::Clock;
use tutti_ports::certificates::{Acme, Challenge, DnsHook};

use super::account::{AccountSlot, refusal, within};
use super::board::{Board, Posted};
use super::hook::{self, Errand};
use super::http::Https;
use super::vault::Vault;
use crate::error::TrustError;
use crate::model::renewal::Window;

/// The first wait between two looks at an order.
const POLL: Duration = Duration::from_millis(250);

/// A certificate that was had.
#[derive(Debug)]
pub(crate) struct Issued {
    /// The chain in PEM.
    pub(crate) chain: String,
    /// The key: PKCS #8 in DER.
    pub(crate) key: Vec<u8>,
}

/// What is wanted of an authority.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// The names.
    pub(crate) names: Vec<String>,
    /// How they may be proved, the preferred way first.
    pub(crate) challenges: Vec<Challenge>,
    /// The certificate that it is to replace (RFC 9773 section 5).
    pub(crate) replaces: Option<String>,
}

/// An authority that gives certificates.
#[async_trait::async_trait]
pub(crate) trait Authority: Send + Sync + 'static {
    /// Orders a certificate and waits for it.
    async fn order(&self, wanted: Wanted) -> Result<Issued, TrustError>;

    /// When it suggests to renew a certificate, and when to ask again.
    async fn window(&self, ari_id: &str) -> Result<(Window, Duration), TrustError>;
}

/// An authority that speaks ACME.
pub(crate) struct AcmeAuthority {
    account: AccountSlot,
    https: Https,
    board: Board,
    hook: Option<DnsHook>,
    clock: Arc<dyn Clock>,
}

/// What was put up so that the authority finds it.
#[derive(Default)]
struct Scaffold {
    posted: Vec<Posted>,
    records: Vec<Errand>,
    /// Name and challenge, for what is said when it fails.
    proofs: Vec<(String, Challenge)>,
}

impl AcmeAuthority {
    pub(crate) fn new(
        acme: &Acme,
        vault: Vault,
        board: Board,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TrustError> {
        let https = Https::new(acme.trusted_root.as_deref())?;
        let account = AccountSlot::new(acme.clone(), vault, https.clone());
        Ok(Self { account, https, board, hook: acme.dns_hook.clone(), clock })
    }

    async fn begin(&self, wanted: &Wanted) -> Result<Order, TrustError> {
        let account = self.account.get().await?;
        let names: Vec<Identifier> = wanted.names.iter().map(|name| Identifier::Dns(name.clone())).collect();
        if let Some(replaced) = &wanted.replaces {
            let quoted = format!("\"{replaced}\"");
            if let Ok(replaced) = serde_json::from_str::<CertificateIdentifier<'_>>(&quoted) {
                let order = NewOrder::new(&names).replaces(replaced);
                match within(account.new_order(&order)).await {
                    // It was replaced already, is unknown to the authority, or cannot be: then without.
                    Err(TrustError::Refused(why)) => tracing::debug!(why, "the order replaces none"),
                    other => return other,
                }
            }
        }
        within(account.new_order(&NewOrder::new(&names))).await
    }

    async fn carry_out(&self, order: &mut Order, wanted: &Wanted) -> Result<Issued, TrustError> {
        let mut scaffold = Scaffold::default();
        let proved = self.prove(order, wanted, &mut scaffold).await;
        // Whatever came of it. What cannot be cleaned up is told and does no harm.
        if let Some(hook) = &self.hook {
            for record in scaffold.records.drain(..) {
                let errand = Errand { verb: "cleanup", ..record };
                if let Err(error) = hook::run(hook, errand).await {
                    tracing::warn!(error = tutti_core::error::chain(&error), "a DNS record is left behind");
                }
            }
        }
        proved?;
        finish(order, &wanted.names).await
    }

    /// Proves every name; returns when the order is ready.
    async fn prove(
        &self,
        order: &mut Order,
        wanted: &Wanted,
        scaffold: &mut Scaffold,
    ) -> Result<(), TrustError> {
        self.put_up(order, wanted, scaffold).await?;
        if let Some(hook) = self.hook.as_ref().filter(|_| !scaffold.records.is_empty()) {
            tokio::time::sleep(hook.propagation).await;
        }
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(refusal)?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            let name = authorization.identifier().to_string();
            let chosen = scaffold.proofs.iter().find(|(proved, _)| *proved == name).map(|(_, how)| *how);
            let Some(mut challenge) = chosen.and_then(|how| authorization.challenge(kind(how))) else {
                continue;
            };
            within(challenge.set_ready()).await?;
        }
        let patience = RetryPolicy::new().initial_delay(POLL).backoff(1.3).timeout(limits::ACME_ORDER);
        match order.poll_ready(&patience).await {
            Ok(OrderStatus::Ready) => Ok(()),
            Ok(_) => Err(why_not(order, scaffold).await),
            Err(Error::Api(problem)) => {
                let refused = TrustError::Refused(problem.to_string());
                let why = why_not(order, scaffold).await;
                Err(if matches!(why, TrustError::Unverified { .. }) { why } else { refused })
            }
            Err(error) => Err(refusal(error)),
        }
    }

    /// Puts up what the authority is to find for each name.
    async fn put_up(
        &self,
        order: &mut Order,
        wanted: &Wanted,
        scaffold: &mut Scaffold,
    ) -> Result<(), TrustError> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(refusal)?;
            let shown = authorization.identifier().to_string();
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                other => {
                    return Err(TrustError::Refused(format!("the authorization of {shown} is {other:?}")));
                }
            }
            let domain = shown.trim_start_matches("*.").to_owned();
            let offers = |how: &&Challenge| {
                let has = authorization.challenges.iter().any(|challenge| challenge.r#type == kind(**how));
                // RFC 8555 section 8.3 and RFC 8737 section 3: no wildcards.
                has && (**how == Challenge::Dns01 || !shown.starts_with("*."))
            };
            let Some(how) = wanted.challenges.iter().find(offers).copied() else {
                let offered: Vec<String> =
                    authorization.challenges.iter().map(|one| format!("{:?}", one.r#type)).collect();
                return Err(TrustError::NoChallenge { name: shown, offered: offered.join(", ") });
            };
            let Some(challenge) = authorization.challenge(kind(how)) else { continue };
            let answer = challenge.key_authorization();
            match how {
                Challenge::Http01 => {
                    scaffold.posted.push(self.board.post_http(&domain, &challenge.token, answer.as_str()));
                }
                Challenge::TlsAlpn01 => {
                    let posted =
                        self.board.post_alpn(&domain, answer.digest().as_ref(), self.clock.wall())?;
                    scaffold.posted.push(posted);
                }
                Challenge::Dns01 => {
                    let why = "no `dns_hook` is configured".to_owned();
                    let none = TrustError::Hook { command: String::new(), verb: "present", why };
                    let hook = self.hook.as_ref().ok_or(none)?;
                    let errand = Errand { verb: "present", domain, value: answer.dns_value() };
                    // Noted first: what failed half-way is cleaned up too.
                    scaffold.records.push(errand.clone());
                    hook::run(hook, errand).await?;
                }
            }
            scaffold.proofs.push((shown, how));
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Authority for AcmeAuthority {
    async fn order(&self, wanted: Wanted) -> Result<Issued, TrustError> {
        let whole = async {
            let mut order = self.begin(&wanted).await?;
            self.carry_out(&mut order, &wanted).await
        };
        let done = tokio::time::timeout(limits::ACME_ORDER, whole).await;
        let done = done.unwrap_or_else(|_| {
            Err(TrustError::Unreachable(format!("the order was not done within {:?}", limits::ACME_ORDER)))
        });
        if let Err(TrustError::Refused(why)) = &done
            && why.contains("accountDoesNotExist")
        {
            self.account.unknown().await?;
        }
        match done {
            // The library drops the header; the way to the authority has seen it.
            Err(TrustError::Wait { after, why }) => {
                Err(TrustError::Wait { after: self.https.told_to_wait().or(after), why })
            }
            other => other,
        }
    }

    async fn window(&self, ari_id: &str) -> Result<(Window, Duration), TrustError> {
        let account = self.account.get().await?;
        let quoted = format!("\"{ari_id}\"");
        let id: CertificateIdentifier<'_> =
            serde_json::from_str(&quoted).map_err(|error| TrustError::NotACertificate(error.to_string()))?;
        let (info, again) = within(account.renewal_info(&id)).await?;
        if let Some(page) = &info.explanation_url {
            tracing::info!(page, "the authority explains when it wants a certificate to be renewed");
        }
        let unix = |at: std::time::SystemTime| crate::x509::unix(at);
        let window = info.suggested_window;
        Ok((Window { start: unix(window.start.into()), end: unix(window.end.into()) }, again))
    }
}

/// Has the authority sign a new key, and fetches the chain.
async fn finish(order: &mut Order, names: &[String]) -> Result<Issued, TrustError> {
    let mut params = CertificateParams::new(names).map_err(TrustError::Make)?;
    params.distinguished_name = DistinguishedName::new();
    let pair = KeyPair::generate().map_err(TrustError::Make)?;
    let request = params.serialize_request(&pair).map_err(TrustError::Make)?;
    within(order.finalize_csr(request.der())).await?;
    let patience = RetryPolicy::new().initial_delay(POLL).backoff(1.3).timeout(limits::ACME_ORDER);
    let chain = order.poll_certificate(&patience).await.map_err(refusal)?;
    Ok(Issued { chain, key: pair.serialize_der() })
}

/// Which name could not be proved, and what the authority says of it.
async fn why_not(order: &mut Order, scaffold: &Scaffold) -> TrustError {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let Ok(mut authorization) = authorization else { break };
        let Ok(state) = within(authorization.refresh()).await else { break };
        let name = state.identifier().to_string();
        let failed = state.challenges.iter().find_map(|challenge| challenge.error.as_ref());
        if let Some(problem) = failed {
            let how = scaffold.proofs.iter().find(|(proved, _)| *proved == name);
            let challenge = how.map_or("a challenge", |(_, how)| how.as_str());
            return TrustError::Unverified { name, challenge, why: problem.to_string() };
        }
    }
    TrustError::Refused("the order is invalid and the authority does not say why".to_owned())
}

fn kind(challenge: Challenge) -> ChallengeType {
    match challenge {
        Challenge::Http01 => ChallengeType::Http01,
        Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        Challenge::Dns01 => ChallengeType::Dns01,
    }
}
