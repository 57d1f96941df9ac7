//! From an error to the code that explains it and the number the process ends with.

use tutti_core::{Classify as _, Code, code};

use crate::cli::behind::Ended;
use crate::control::ControlError;
use crate::engine::last_good::LastGoodError;
use crate::exit;

/// The stable code of an error: the first one along its chain.
pub(crate) fn code_of(error: &anyhow::Error) -> Option<Code> {
    error.chain().find_map(|link| {
        let control = link.downcast_ref::<ControlError>().and_then(|error| error.code());
        let supervisor =
            || link.downcast_ref::<tutti_supervisor::SupervisorError>().and_then(|error| error.code());
        let data = || link.downcast_ref::<tutti_store::dir::DirError>().and_then(|error| error.code());
        let edge = || link.downcast_ref::<tutti_proxy::ApplyError>().and_then(|error| error.code());
        let trust = || link.downcast_ref::<tutti_trust::TrustError>().and_then(|error| error.code());
        let kept = || link.downcast_ref::<LastGoodError>().and_then(|error| error.code());
        control.or_else(supervisor).or_else(data).or_else(edge).or_else(trust).or_else(kept)
    })
}

/// The exit code for an error.
pub(crate) fn exit_of(error: &anyhow::Error) -> i32 {
    use tutti_proxy::ApplyError::{Route, Transport, Upstream};
    let files = |link: &(dyn std::error::Error + 'static)| {
        link.downcast_ref::<tutti_proxy::ApplyError>()
            .is_some_and(|error| matches!(error, Route { .. } | Transport { .. } | Upstream { .. }))
    };
    let behind = error.chain().find_map(|link| link.downcast_ref::<Ended>());
    match code_of(error) {
        Some(code::NOT_RUNNING) => exit::NOT_RUNNING,
        // It was asked for because the files have problems.
        Some(code::LAST_GOOD_UNUSABLE) => exit::BAD_FILES,
        _ if error.chain().any(files) => exit::BAD_FILES,
        // It has said what is wrong, and whose fault that is.
        _ => behind.and_then(|ended| ended.code).unwrap_or(exit::FAILED),
    }
}
