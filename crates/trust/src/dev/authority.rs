//! The development authority: made on first use, one for each user of a machine, for all projects.
//!
//! Its root is constrained (RFC 5280 section 4.2.1.10) to names that are nobody's on the Internet ([`RESERVED`]) and to loopback
//! addresses: whoever steals its key from a machine that trusts it can impersonate what is developed there, and no bank.
//! Certificates for other names can be made, and clients that check will refuse them.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
};
use tutti_ports::certificates::Identity;

use crate::error::TrustError;
use crate::seal::Seal;
use crate::{files, x509};

/// Names, and all below them, for which the root may speak: reserved by RFC 2606, RFC 6761, RFC 6762, RFC 8375, and ICANN
/// (`internal`).
pub const RESERVED: [&str; 6] = ["localhost", "test", "example", "local", "internal", "home.arpa"];

/// How long the root is valid.
const ROOT_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);

/// How long what it issues is valid: browsers refuse much longer ones, and a new one costs nothing.
pub(crate) const LEAF_LIFE: Duration = Duration::from_secs(7 * 86_400);

/// Clocks of the machines of one developer differ by less.
const SKEW: Duration = Duration::from_secs(3_600);

/// The name under which the root's key is sealed.
const KEY_NAME: &str = "authority/root";

/// The development authority.
pub struct Authority {
    pem: String,
    der: Vec<u8>,
    facts: x509::Facts,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("name", &self.facts.common_name).finish_non_exhaustive()
    }
}

/// Where the authority of this user lies: `$XDG_DATA_HOME/tutti/authority`, or `~/.local/share/tutti/authority`; `None` without
/// a home.
pub fn default_folder(env: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let absolute = |name: &str| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")))?;
    Some(data.join("tutti/authority"))
}

impl Authority {
    /// The authority in a folder; made if there is none, or if its root has ended. Processes that open the same folder at the
    /// same time get the same one.
    pub fn open(folder: &Path, now: SystemTime) -> Result<Self, TrustError> {
        files::make_folder(folder)?;
        let seal = Seal::open(folder)?;
        let _held = files::lock(folder)?;
        match Self::read(folder, &seal)? {
            Some(authority) if authority.not_after() > now => Ok(authority),
            _ => Self::make(folder, &seal, now),
        }
    }

    /// The authority in a folder, if there is one.
    pub fn load(folder: &Path) -> Result<Option<Self>, TrustError> {
        if !folder.join("root.pem").exists() {
            return Ok(None);
        }
        Self::read(folder, &Seal::open(folder)?)
    }

    fn read(folder: &Path, seal: &Seal) -> Result<Option<Self>, TrustError> {
        let (root, key) = (folder.join("root.pem"), folder.join("root.key.sealed"));
        let (Some(pem), Some(sealed)) = (files::read(&root)?, files::read(&key)?) else { return Ok(None) };
        files::refuse_open(&key)?;
        let damaged =
            |path: &Path, what: &str| TrustError::Damaged { path: path.to_owned(), what: what.to_owned() };
        let pem = String::from_utf8(pem).map_err(|_| damaged(&root, "it is not text"))?;
        let sealed = String::from_utf8(sealed).map_err(|_| damaged(&key, "it is not text"))?;
        let opened = seal.open_sealed(KEY_NAME, sealed.trim())?;
        let pair = KeyPair::try_from(opened.as_slice()).map_err(|_| damaged(&key, "it holds no key"))?;
        Self::of(pem, pair).map(Some)
    }

    fn make(folder: &Path, seal: &Seal, now: SystemTime) -> Result<Self, TrustError> {
        let pair = KeyPair::generate().map_err(TrustError::Make)?;
        let fingerprint = hex(digest(&SHA256, pair.public_key_raw()).as_ref());
        let short: String = fingerprint.chars().take(8).collect();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, format!("Tutti development authority {short}"));
        params.not_before = now.checked_sub(SKEW).unwrap_or(now).into();
        params.not_after = (now + ROOT_LIFE).into();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let names = RESERVED.iter().map(|name| GeneralSubtree::DnsName((*name).to_owned()));
        let addresses =
            [CidrSubnet::from_v4_prefix([127, 0, 0, 0], 8), CidrSubnet::from_v6_prefix(LOOPBACK_6, 128)];
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: names.chain(addresses.map(GeneralSubtree::IpAddress)).collect(),
            excluded_subtrees: Vec::new(),
        });
        let pem = params.self_signed(&pair).map_err(TrustError::Make)?.pem();
        let sealed = seal.seal(KEY_NAME, pair.serialized_der())?;
        // The key first: a root without a key is no authority, and both are made again.
        files::write(&folder.join("root.key.sealed"), sealed.as_bytes(), 0o600)?;
        files::write(&folder.join("root.pem"), pem.as_bytes(), 0o644)?;
        Self::of(pem, pair)
    }

    fn of(pem: String, pair: KeyPair) -> Result<Self, TrustError> {
        let der = x509::chain_of(pem.as_bytes())?.swap_remove(0);
        let facts = x509::facts(&der)?;
        let issuer = Issuer::from_ca_cert_pem(&pem, pair).map_err(TrustError::Make)?;
        Ok(Self { pem, der, facts, issuer })
    }

    /// A new certificate with a new key (ECDSA P-256) for names and addresses.
    pub fn issue(&self, names: &[String], now: SystemTime) -> Result<Identity, TrustError> {
        let mut params = CertificateParams::new(names).map_err(TrustError::Make)?;
        params.distinguished_name = DistinguishedName::new();
        params.not_before = now.checked_sub(SKEW).unwrap_or(now).into();
        params.not_after = (now + LEAF_LIFE).min(self.not_after()).into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let pair = KeyPair::generate().map_err(TrustError::Make)?;
        let leaf = params.signed_by(&pair, &self.issuer).map_err(TrustError::Make)?;
        x509::identity(vec![leaf.der().to_vec()], pair.serialize_der())
    }

    /// The root in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The root's name, with eight hexadecimal digits of its key, so that no two have the same.
    pub fn name(&self) -> &str {
        &self.facts.common_name
    }

    /// When the root ends.
    pub fn not_after(&self) -> SystemTime {
        x509::moment(self.facts.not_after)
    }

    /// SHA-256 of the root, as browsers show it.
    pub fn fingerprint(&self) -> String {
        let pairs: Vec<String> =
            digest(&SHA256, &self.der).as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        pairs.join(":")
    }
}

/// Whether clients that trust the root accept what it issues for a name.
pub fn may_speak_for(name: &str) -> bool {
    if let Ok(address) = name.parse::<std::net::IpAddr>() {
        return address.is_loopback();
    }
    let under = |reserved: &&str| {
        name.strip_suffix(*reserved).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    RESERVED.iter().any(under)
}

const LOOPBACK_6: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
