//! Reads `/proc`: who is whose child, who carries a marker, who uses how much. Elsewhere than on Linux it sees nothing.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::{IpAddr, SocketAddr};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// A process at the moment it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) session: i32,
    pub(crate) zombie: bool,
    /// CPU time in clock ticks.
    pub(crate) cpu_ticks: u64,
    pub(crate) threads: u64,
    /// Start time in clock ticks since the machine's start; with the pid it names a process for good.
    pub(crate) started: u64,
    pub(crate) rss_pages: u64,
}

/// Every process that may be seen.
pub(crate) fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(one)
        .collect()
}

/// One process; `None` if it is gone.
pub(crate) fn one(pid: i32) -> Option<Process> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// See proc_pid_stat(5). The program's name stands in parentheses and may hold anything.
fn parse_stat(stat: &str) -> Option<Process> {
    let (head, tail) = stat.rsplit_once(')')?;
    let pid = head.split_once(' ')?.0.parse().ok()?;
    let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok());
    Some(Process {
        pid,
        zombie: matches!(fields.first(), Some(&("Z" | "X"))),
        parent: i32::try_from(number(1)?).ok()?,
        session: fields.get(3)?.parse().ok()?,
        cpu_ticks: number(11)?.saturating_add(number(12)?),
        threads: number(17)?,
        started: number(19)?,
        rss_pages: number(21).unwrap_or(0),
    })
}

/// Whether the process was started with a variable that begins so: `NAME=value…`.
pub(crate) fn has_variable(pid: i32, begins: &[u8], whole: bool) -> bool {
    let Ok(environ) = fs::read(format!("/proc/{pid}/environ")) else { return false };
    environ.split(|byte| *byte == 0).any(|variable| match whole {
        true => variable == begins,
        false => variable.starts_with(begins),
    })
}

/// The processes in `roots` and all that descend from them.
pub(crate) fn trees(processes: &[Process], roots: impl IntoIterator<Item = i32>) -> HashSet<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for process in processes {
        children.entry(process.parent).or_default().push(process.pid);
    }
    let mut found = HashSet::new();
    let mut todo: Vec<i32> = roots.into_iter().collect();
    while let Some(pid) = todo.pop() {
        if found.insert(pid) {
            todo.extend(children.get(&pid).into_iter().flatten());
        }
    }
    found
}

/// Direct children of this single-threaded process: by the kernel's own list where there is one.
pub(crate) fn own_children() -> Vec<i32> {
    let me = std::process::id();
    match fs::read_to_string(format!("/proc/self/task/{me}/children")) {
        Ok(list) => list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect(),
        Err(_) => {
            let me = i32::try_from(me).unwrap_or(0);
            all().iter().filter(|process| process.parent == me).map(|process| process.pid).collect()
        }
    }
}

/// Open files of a process; 0 if it may not be looked at.
pub(crate) fn open_files(pid: i32) -> u64 {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |entries| entries.count() as u64)
}

/// Sends a signal to one process. A process that is gone is no error; 0 and below are refused.
pub(crate) fn signal(pid: i32, signal: i32) {
    if let (Some(pid), Some(signal)) = (own_pid(pid), Signal::from_named_raw(signal)) {
        let _ = kill_process(pid, signal);
    }
}

/// Sends a signal to a process group.
pub(crate) fn signal_group(group: i32, signal: i32) {
    if let (Some(group), Some(signal)) = (own_pid(group), Signal::from_named_raw(signal)) {
        let _ = kill_process_group(group, signal);
    }
}

/// 0, 1 and negative numbers would mean everybody.
fn own_pid(pid: i32) -> Option<Pid> {
    if pid > 1 { Pid::from_raw(pid) } else { None }
}

/// A TCP socket that listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    pub(crate) addr: SocketAddr,
    pub(crate) inode: u64,
}

/// Every TCP socket of this network namespace that listens: see proc_net_tcp(5).
pub(crate) fn listeners() -> Vec<Listener> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines().skip(1)).filter_map(parse_listener).collect()
}

fn parse_listener(line: &str) -> Option<Listener> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    if fields.get(3) != Some(&LISTEN) {
        return None;
    }
    let (address, port) = fields.get(1)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Four bytes at a time, each group in the machine's own order.
    let mut bytes = Vec::with_capacity(16);
    for at in (0..address.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    }
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(v4) => IpAddr::from(v4),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?),
    };
    Some(Listener { addr: SocketAddr::new(ip, port), inode: fields.get(9)?.parse().ok()? })
}

/// The sockets that a process has open, by inode.
pub(crate) fn sockets(pid: i32) -> HashSet<u64> {
    open_inodes(pid, "socket:[")
}

/// Whether a process has one of these pipes open.
pub(crate) fn holds_pipe(pid: i32, inodes: &HashSet<u64>) -> bool {
    !inodes.is_empty() && !open_inodes(pid, "pipe:[").is_disjoint(inodes)
}

fn open_inodes(pid: i32, kind: &str) -> HashSet<u64> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return HashSet::new() };
    entries
        .filter_map(|entry| {
            let target = fs::read_link(entry.ok()?.path()).ok()?;
            target.to_str()?.strip_prefix(kind)?.strip_suffix(']')?.parse().ok()
        })
        .collect()
}

/// A process that has one of these sockets open.
pub(crate) fn owner_of(inodes: &HashSet<u64>) -> Option<i32> {
    if inodes.is_empty() {
        return None;
    }
    all().iter().map(|process| process.pid).find(|pid| !sockets(*pid).is_disjoint(inodes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let line = "42 (a) b (c)) S 7 42 41 0 -1 4194560 1 2 3 4 50 60 0 0 20 0 9 0 777 1000 33 18446744073709551615";
        let process = parse_stat(line).unwrap();
        assert_eq!((process.pid, process.parent, process.session), (42, 7, 41));
        assert_eq!((process.cpu_ticks, process.threads, process.started), (110, 9, 777));
        assert_eq!(process.rss_pages, 33);
        assert!(!process.zombie);
    }

    #[test]
    fn listeners_of_both_families_are_read() {
        let v4 = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 777 1";
        let listener = parse_listener(v4).unwrap();
        assert_eq!((listener.addr.to_string().as_str(), listener.inode), ("127.0.0.1:8080", 777));
        let v6 = "   0: 00000000000000000000000001000000:0050 0:0 0A 0:0 00:0 0 1000 0 5 1";
        assert_eq!(parse_listener(v6).unwrap().addr.to_string(), "[::1]:80");
        assert!(parse_listener(&v4.replace(" 0A ", " 01 ")).is_none());
    }

    #[test]
    fn a_tree_holds_its_root_and_all_below() {
        let process = |pid, parent| Process {
            pid,
            parent,
            session: 0,
            zombie: false,
            cpu_ticks: 0,
            threads: 1,
            started: 0,
            rss_pages: 0,
        };
        let all = [process(2, 1), process(3, 2), process(4, 3), process(5, 1)];
        assert_eq!(trees(&all, [2]), HashSet::from([2, 3, 4]));
    }

    #[test]
    fn nobody_is_signalled_by_accident() {
        assert!(own_pid(0).is_none() && own_pid(1).is_none() && own_pid(-1).is_none());
    }
}
