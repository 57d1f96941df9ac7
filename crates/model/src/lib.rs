//! From the team's own files to one validated application.
//!
//! Floor 1. Reads `compose.yaml` as it is, and beside it an optional `tutti.yaml` that adds only what Compose cannot
//! say; checks everything, and gives [`app::Application`], which the rooms work from. No room reads a file of the user.
//!
//! | module | holds |
//! |---|---|
//! | [`app`] | the result: services, how they are built, run, reached and checked; routes |

pub mod app;
pub mod health;
