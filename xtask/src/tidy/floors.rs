//! Who may depend on whom. The table is the one of ARCHITECTURE.md; a new edge needs an ADR and a change here.

use super::Finding;
use super::graph::{Graph, Member};

/// A crate, its floor, and the crates of the workspace that it may depend on.
struct Room {
    name: &'static str,
    floor: u8,
    may: &'static [&'static str],
}

const fn room(name: &'static str, floor: u8, may: &'static [&'static str]) -> Room {
    Room { name, floor, may }
}

const ROOMS: [Room; 13] = [
    room("tutti-core", 0, &[]),
    room("tutti-ports", 1, &["tutti-core"]),
    room("tutti-model", 1, &["tutti-core", "tutti-ports"]),
    room("tutti-net", 1, &["tutti-core"]),
    room("tutti-store", 1, &["tutti-core", "tutti-ports"]),
    room("tutti-host", 1, &["tutti-core", "tutti-ports", "tutti-net"]),
    room("tutti-proxy", 2, &["tutti-core", "tutti-ports", "tutti-net"]),
    room("tutti-supervisor", 2, &["tutti-core", "tutti-ports", "tutti-model"]),
    room("tutti-registry", 2, &["tutti-core", "tutti-ports", "tutti-net"]),
    room("tutti-trust", 2, &["tutti-core", "tutti-ports", "tutti-net"]),
    room("tutti", 3, &["*"]),
    room("tutti-testkit", 4, &["*"]),
    room("xtask", 4, &["*"]),
];

/// Crates for tests only: anybody may depend on them there, and nowhere else.
const FOR_TESTS: [&str; 1] = ["tutti-testkit"];

/// Crates that are sockets, HTTP or TLS. Only `net` depends on them.
const WIRE: [&str; 14] = [
    "hyper",
    "hyper-util",
    "h2",
    "h3",
    "h3-quinn",
    "quinn",
    "rustls",
    "rustls-pemfile",
    "tokio-rustls",
    "aws-lc-rs",
    "native-tls",
    "reqwest",
    "axum",
    "tonic",
];

/// A client of HTTP/3 by others, which the tests of the proxy speak with, and nothing else there.
const CLIENT_OF_TESTS: (&str, [&str; 3]) = ("tutti-proxy", ["h3", "h3-quinn", "quinn"]);

/// The crypto library below TLS also seals the private keys that the trust room stores, and hashes the API keys that the
/// proxy compares.
const SEALING: (&str, [&str; 2]) = ("aws-lc-rs", ["tutti-trust", "tutti-proxy"]);

/// Checks every edge out of every member.
pub fn check(graph: &Graph) -> Vec<Finding> {
    graph.members.iter().flat_map(check_member).collect()
}

fn check_member(member: &Member) -> Vec<Finding> {
    let finding = |what: String, todo: &str| Finding::new(&member.manifest, 1, what, todo);
    let Some(room) = ROOMS.iter().find(|room| room.name == member.name) else {
        let what = format!("{} has no floor", member.name);
        return vec![finding(what, "add it to ARCHITECTURE.md and to the table in xtask/src/tidy/floors.rs")];
    };
    let mut findings = Vec::new();
    for dependency in &member.dependencies {
        let (name, other) =
            (dependency.name.as_str(), ROOMS.iter().find(|other| other.name == dependency.name));
        let sealing = name == SEALING.0 && SEALING.1.contains(&room.name);
        let client = dependency.dev && room.name == CLIENT_OF_TESTS.0 && CLIENT_OF_TESTS.1.contains(&name);
        if WIRE.contains(&name) && room.name != "tutti-net" && !sealing && !client {
            let what = format!("{} depends on {name}", room.name);
            findings
                .push(finding(what, "go through tutti-net, the only crate that names sockets, HTTP and TLS"));
        }
        if !dependency.ours || (dependency.dev && FOR_TESTS.contains(&name)) {
            continue;
        }
        let Some(other) = other else {
            findings
                .push(finding(format!("{} depends on {name}, which has no floor", room.name), "give it one"));
            continue;
        };
        let all = room.may.contains(&"*") && !FOR_TESTS.contains(&name);
        if all || room.may.contains(&other.name) {
            continue;
        }
        let (what, todo) = if room.floor == 2 && other.floor == 2 {
            ("a room that names a room", "hold a port (Arc<dyn …> of tutti-ports) instead")
        } else if other.floor > room.floor {
            ("an edge upwards", "turn it round, or move what is shared down")
        } else {
            ("an edge that is not in the table", "do without it, or write an ADR and add it to the table")
        };
        findings.push(finding(format!("{} depends on {}: {what}", room.name, other.name), todo));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::graph::Dependency;
    use super::*;

    fn findings(name: &str, dependency: &str, dev: bool) -> Vec<String> {
        let ours = dependency.starts_with("tutti");
        let dependency = Dependency { name: dependency.to_owned(), dev, ours };
        let manifest = format!("crates/{name}/Cargo.toml");
        let member = Member { name: name.to_owned(), manifest, dependencies: vec![dependency] };
        check_member(&member).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn edges_go_down_and_rooms_do_not_name_rooms() {
        for (from, to) in [
            ("tutti-store", "tutti-ports"),
            ("tutti-host", "tutti-net"),
            ("tutti-proxy", "tutti-net"),
            ("tutti", "tutti-proxy"),
            ("tutti-testkit", "tutti-registry"),
        ] {
            assert_eq!(findings(from, to, false), [""; 0], "{from} → {to}");
        }
        for (from, to, why) in [
            ("tutti-proxy", "tutti-registry", "a room that names a room"),
            ("tutti-core", "tutti-ports", "an edge upwards"),
            ("tutti-registry", "tutti", "an edge upwards"),
            ("tutti-registry", "tutti-store", "not in the table"),
            ("tutti-net", "tutti-ports", "not in the table"),
            ("tutti-new", "tutti-core", "has no floor"),
            ("tutti-core", "tutti-new", "has no floor"),
            ("tutti", "tutti-testkit", "an edge upwards"),
        ] {
            let found = findings(from, to, false);
            assert!(found.len() == 1 && found[0].contains(why), "{from} → {to}: {found:?}");
        }
    }

    #[test]
    fn tests_may_use_the_testkit_and_no_other_room() {
        assert_eq!(findings("tutti-proxy", "tutti-testkit", true), [""; 0]);
        assert_eq!(findings("tutti-proxy", "tutti-registry", true).len(), 1);
    }

    #[test]
    fn only_net_depends_on_hyper_and_tls_also_for_tests() {
        assert_eq!(findings("tutti-net", "hyper", false), [""; 0]);
        assert_eq!(findings("tutti-trust", "aws-lc-rs", false), [""; 0]);
        assert_eq!(findings("tutti-store", "aws-lc-rs", false).len(), 1);
        for (dependency, dev) in [("hyper", false), ("rustls", true), ("reqwest", true)] {
            let found = findings("tutti-proxy", dependency, dev);
            assert!(found.len() == 1 && found[0].contains("go through tutti-net"), "{found:?}");
        }
    }
}
