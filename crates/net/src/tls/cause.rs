//! Why a handshake with a server failed, in words that say what to do.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// A handshake with a server failed.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct ServerHandshakeError {
    /// What was wrong.
    pub cause: Cause,
    /// What the library says.
    #[source]
    pub source: io::Error,
}

/// What was wrong in a handshake with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// Nobody whom we believe has issued its certificate.
    #[error("its certificate is of an authority that is not trusted here")]
    UnknownAuthority,
    /// Its certificate has ended.
    #[error("its certificate has expired")]
    Expired,
    /// Its certificate has not begun.
    #[error("its certificate is not valid yet")]
    NotYetValid,
    /// Its certificate is for other names.
    #[error("its certificate is not for the name that was asked for")]
    WrongName,
    /// Its certificate was revoked.
    #[error("its certificate was revoked")]
    Revoked,
    /// There is something else about its certificate.
    #[error("its certificate cannot be accepted")]
    BadCertificate,
    /// It wants a certificate of ours, or another one.
    #[error("it does not accept the certificate that we show, or wants one")]
    OurCertificate,
    /// It speaks none of our versions and suites.
    #[error("it speaks no version of TLS that we do")]
    NoVersion,
    /// It does not speak the protocol that the connection is for.
    #[error("it does not speak the protocol that the connection is for (ALPN)")]
    NoProtocol,
    /// It knows nothing of the name.
    #[error("it does not know the name that was asked for")]
    UnknownName,
    /// It does not speak TLS.
    #[error("it does not speak TLS")]
    NotTls,
    /// It took too long.
    #[error("the handshake took too long")]
    Timeout,
    /// It closed the connection.
    #[error("it closed the connection during the handshake")]
    Closed,
    /// Anything else.
    #[error("the handshake failed")]
    Other,
}

impl Cause {
    /// One word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::UnknownAuthority => "unknown_authority",
            Cause::Expired => "expired",
            Cause::NotYetValid => "not_yet_valid",
            Cause::WrongName => "wrong_name",
            Cause::Revoked => "revoked",
            Cause::BadCertificate => "bad_certificate",
            Cause::OurCertificate => "our_certificate",
            Cause::NoVersion => "no_version",
            Cause::NoProtocol => "no_protocol",
            Cause::UnknownName => "unknown_name",
            Cause::NotTls => "not_tls",
            Cause::Timeout => "timeout",
            Cause::Closed => "closed",
            Cause::Other => "other",
        }
    }

    /// What an error of the library's means.
    pub(super) fn of(error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        match inner {
            Some(Error::InvalidCertificate(error)) => Self::of_certificate(error),
            Some(Error::NoCertificatesPresented) => Cause::BadCertificate,
            Some(Error::AlertReceived(alert)) => Self::of_alert(*alert),
            Some(Error::PeerIncompatible(_)) => Cause::NoVersion,
            Some(Error::NoApplicationProtocol) => Cause::NoProtocol,
            Some(Error::InvalidMessage(_) | Error::InappropriateMessage { .. }) => Cause::NotTls,
            Some(_) => Cause::Other,
            None => match error.kind() {
                io::ErrorKind::TimedOut => Cause::Timeout,
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe => Cause::Closed,
                _ => Cause::Other,
            },
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Cause::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Cause::NotYetValid,
            // The other one: an authority that only has the name of one that is trusted.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Cause::UnknownAuthority,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Cause::WrongName
            }
            CertificateError::Revoked => Cause::Revoked,
            _ => Cause::BadCertificate,
        }
    }

    fn of_alert(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied => Cause::OurCertificate,
            AlertDescription::ProtocolVersion | AlertDescription::InsufficientSecurity => Cause::NoVersion,
            AlertDescription::NoApplicationProtocol => Cause::NoProtocol,
            AlertDescription::UnrecognisedName => Cause::UnknownName,
            _ => Cause::Other,
        }
    }
}
