//! Who listens at a TCP port of this machine, from `/proc` (Linux; proc(5)). Elsewhere nobody is found.

use std::fs;
use std::path::Path;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Its id.
    pub(crate) pid: u32,
    /// Its command line, cut to 80 characters.
    pub(crate) command: String,
}

/// The process that listens at `port`; `None` if nobody does, or if its owner may not be seen.
pub(crate) fn owner_of(port: u16) -> Option<Owner> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, port))
        .collect();
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        holds_any(&entry.path(), &inodes).then(|| Owner { pid, command: command_line(&entry.path()) })
    })
}

/// The TCP ports at which the processes of a group listen, in order.
pub(crate) fn ports_of_group(group: u32) -> Vec<u16> {
    let tables: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .collect();
    let sockets: Vec<(String, u16)> = tables.iter().flat_map(|table| listening(table)).collect();
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut ports: Vec<u16> = processes
        .flatten()
        .filter(|entry| group_of(&entry.path()) == Some(group))
        .flat_map(|entry| {
            let holds = |(inode, _): &&(String, u16)| holds_any(&entry.path(), std::slice::from_ref(inode));
            sockets.iter().filter(holds).map(|(_, port)| *port).collect::<Vec<_>>()
        })
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// The process group: the third field after the command's closing parenthesis in `/proc/PID/stat` (proc_pid_stat(5)).
fn group_of(process: &Path) -> Option<u32> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(2)?.parse().ok()
}

/// Inodes of the sockets that listen at a port.
fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    listening(table).into_iter().filter(|(_, at)| *at == port).map(|(inode, _)| inode).collect()
}

/// Inode and port of each socket in state LISTEN (0A): fields `local_address` (hex address `:` hex port), `st` and
/// `inode` of proc_net_tcp(5).
fn listening(table: &str) -> Vec<(String, u16)> {
    let socket = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let port = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
        (*state == "0A").then(|| ((*inode).to_owned(), port))
    };
    table.lines().skip(1).filter_map(socket).collect()
}

fn holds_any(process: &Path, inodes: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    descriptors.flatten().filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| {
        let target = target.to_string_lossy();
        target
            .strip_prefix("socket:[")
            .and_then(|rest| rest.strip_suffix(']'))
            .is_some_and(|inode| inodes.iter().any(|known| known == inode))
    })
}

fn command_line(process: &Path) -> String {
    let raw = fs::read(process.join("cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&raw).replace('\0', " ");
    crate::term::safe(text.trim(), false).chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_this_very_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(owner_of(port).unwrap().pid, std::process::id());
        drop(listener);
        assert_eq!(owner_of(port), None);
    }

    #[test]
    fn only_listeners_at_the_port_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1\n\
             1: 0100007F:1F90 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 222 1\n\
             2: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 333 1\n";
        assert_eq!(listening_inodes(table, 8080), ["111"]);
    }
}
