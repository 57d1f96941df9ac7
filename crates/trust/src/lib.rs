//! Trust: the certificates that listeners show, whoever issues them.
//!
//! Floor 2. Offers [`tutti_ports::certificates::Certificates`]; needs a [`tutti_ports::state::Store`] and a clock.
//!
//! | module | holds |
//! |---|---|
//! | [`service`] | [`Trust`]: made with its [`Handle`], run by the host |
//! | [`handle`] | [`Handle`]: what is in force, and what clients may bring up |
//! | [`dev`] | the development authority of this user, and how machines come to trust it |
//! | `acme` | certificates of an authority of the world's, by ACME (RFC 8555) |
//! | `model` | when to renew, what to admit, which name is for whom; without I/O and stepped by tests |
//! | [`seal`] | no private key is stored in the open |
//!
//! # Invariants
//! - A handshake is answered from memory; what is not there is asked for only if the operator's policy admits the name.
//! - What strangers can bring up is bounded in number and in rate, refusals included.
//! - No certificate is ordered while a stored one is good, nor by two processes at a time, nor sooner after a failure than the authority
//!   bears; a restart changes none of that.
//! - No private key is logged, in an error, or written unsealed. Keys of development certificates are never written.

mod acme;
pub mod dev;
pub mod error;
mod files;
pub mod handle;
pub mod metrics;
mod model;
pub mod seal;
pub mod service;
mod shelf;
mod x509;

pub use acme::keeper::Standing;
pub use error::TrustError;
pub use handle::Handle;
pub use metrics::Metrics;
pub use service::{Deps, Options, Trust};
