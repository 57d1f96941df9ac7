//! How many files the process may have open. Every connection is one, and what shells allow by default (1,024) is
//! soon used up; services keep what they would have without us.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one, and says what it was: for the keeper, whose services get it back. `None` when there is
/// nothing to raise.
pub(super) fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let soft = current?;
    if maximum.is_some_and(|hard| hard <= soft) {
        return None;
    }
    let raised = Rlimit { current: maximum, maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => Some(soft),
        Err(error) => {
            tracing::warn!(%error, soft, "the limit of open files cannot be raised");
            None
        }
    }
}

/// Takes the soft limit back to what it was. In the keeper, before it starts anything.
pub(crate) fn lower(soft: u64) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Lowering one's own soft limit is always allowed; and if it were not, services would only have more.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum });
}
