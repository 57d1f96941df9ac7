//! The control API: how `tutti ps`, `logs`, `scale` … talk to the Tutti that runs.
//!
//! HTTP/1.1 with JSON over a Unix socket in the data directory, mode 0600: whoever may open it may command. Streams (logs, events) are
//! one JSON value a line. The paths begin with `/v1/`; a field is only ever added.

mod client;
mod requests;
mod server;
mod streams;
pub(crate) mod wire;

use std::path::{Path, PathBuf};

pub(crate) use client::{Client, ControlError};
pub(crate) use server::{Api, bind, serve};

/// Longest path of a Unix socket that every system takes (`sun_path` has 104 bytes on macOS, 108 on Linux).
const SOCKET_PATH_BYTES: usize = 100;

/// Where the control socket of a data directory is: inside, or, when that path is too long for a socket, below the
/// user's runtime directory under a name made of the path.
pub(crate) fn socket_path(data_dir: &Path) -> PathBuf {
    let inside = data_dir.join("run/control.sock");
    if inside.as_os_str().len() <= SOCKET_PATH_BYTES {
        return inside;
    }
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    runtime.join(format!("tutti-{:016x}.sock", fnv1a(data_dir.as_os_str().as_encoded_bytes())))
}

/// FNV-1a, 64 bits: stable over versions, which the standard library's hashers do not promise.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deep_folder_still_has_a_socket() {
        assert_eq!(
            socket_path(Path::new("/srv/shop/.tutti")),
            Path::new("/srv/shop/.tutti/run/control.sock")
        );
        let deep = PathBuf::from(format!("/{}", "long/".repeat(40)));
        let socket = socket_path(&deep);
        assert!(socket.as_os_str().len() <= SOCKET_PATH_BYTES, "{socket:?}");
        assert_eq!(socket, socket_path(&deep));
        assert_ne!(socket, socket_path(&deep.join("x")));
    }
}
