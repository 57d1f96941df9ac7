//! The exit codes of `tutti`, each with one meaning. They are part of the interface: docs/cli.md lists them.

/// What was asked for failed.
pub(crate) const FAILED: i32 = 1;
/// The files of the user have problems; nothing was changed.
pub(crate) const BAD_FILES: i32 = 3;
/// Nothing runs here.
pub(crate) const NOT_RUNNING: i32 = 4;
/// `exec`, `run`: the command is there and cannot be started.
pub(crate) const CANNOT_EXECUTE: i32 = 126;
/// `exec`, `run`: there is no such command.
pub(crate) const NO_SUCH_PROGRAM: i32 = 127;
/// A second Ctrl-C killed everything (128 + SIGINT).
pub(crate) const INTERRUPTED: i32 = 130;
/// Whoever read our output has gone (128 + SIGPIPE).
pub(crate) const BROKEN_PIPE: i32 = 141;
