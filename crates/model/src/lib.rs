//! From the team's own files to one validated application.
//!
//! Floor 1. Reads `compose.yaml` as it is, and beside it an optional `tutti.yaml` that adds only what Compose cannot
//! say; checks everything, and gives [`app::Application`], which the rooms work from. No room reads a file of the user.
//!
//! | module | holds |
//! |---|---|
//! | [`load`] | the way from files to the application |
//! | [`origin`] | what an application was read from: it can be read from that again |
//! | [`app`] | the result: services, how they are built, run, reached and checked; routes |
//! | [`diagnostic`] | problems with file, line, column, caret and hint; their rendering |
//! | [`overlay`] | `tutti.yaml`: its types, its JSON Schema, its routes |
//! | [`dockerfile`] | what a Dockerfile says of how its image runs |
//! | [`source`] | the texts that were read, and places in them |
//! | [`health`] | health checks that are commands, understood as native probes |
//! | [`interpolate`] | variables in values |
//! | `yaml` | a YAML tree in which every node knows its place |

pub mod app;
mod budget;
mod compose;
pub mod diagnostic;
pub mod dockerfile;
pub mod dotenv;
pub mod health;
pub mod interpolate;
mod listens;
mod load;
mod normal;
pub mod origin;
pub mod overlay;
mod routing;
pub mod source;
mod value;
mod yaml;

pub use load::{LoadOptions, Loaded, load, project_folder};
pub use origin::Origin;
pub use overlay::schema;
