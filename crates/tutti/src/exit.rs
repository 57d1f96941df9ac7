//! The exit codes of `tutti`, each with one meaning. They are part of the interface: docs/cli.md lists them.

/// What was asked for failed.
pub(crate) const FAILED: i32 = 1;
/// The files of the user have problems; nothing was changed.
pub(crate) const BAD_FILES: i32 = 3;
/// Nothing runs here.
pub(crate) const NOT_RUNNING: i32 = 4;
/// Whoever read our output has gone (128 + SIGPIPE).
pub(crate) const BROKEN_PIPE: i32 = 141;
