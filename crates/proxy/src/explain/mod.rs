//! Why a request went where it went, and what became of it.
//!
//! While it goes by, facts of a fixed size are noted ([`note`], [`record`]) and kept in its worker's [`diary`]: no allocation, one lock that
//! nobody else wants, half a kilobyte to copy. Everything else (which rules were looked at and why they lost, how the instances
//! stand) is found out from the snapshot when somebody asks ([`report`], [`why`]), or with the answer if its client has asked ([`live`]).

pub mod diary;
pub mod live;
pub mod names;
pub mod note;
pub mod record;
pub mod report;
pub mod told;
pub mod why;

pub use told::{Explanation, Summary};
