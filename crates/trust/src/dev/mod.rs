//! Development: an authority of this user's own, and how machines come to trust it.

pub mod authority;
pub(crate) mod desk;
pub mod stores;

pub use authority::{Authority, default_folder};
