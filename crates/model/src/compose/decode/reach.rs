//! By which names a service reaches which others.

use std::collections::{BTreeMap, HashSet};

use tutti_core::ServiceName;

use crate::app::Peer;
use crate::yaml::Node;

/// The names of a service that others may use, by network; `None`: on every network.
struct Names<'a> {
    service: &'a ServiceName,
    names: Vec<(Option<&'a str>, &'a str)>,
    networks: Vec<&'a str>,
}

/// For each service: the services on a network of its own, what it depends on, and what it links to. `uses` are the
/// peers that the overlay adds.
pub(crate) fn peers(
    root: &Node,
    services: &[ServiceName],
    uses: &BTreeMap<ServiceName, Vec<ServiceName>>,
) -> BTreeMap<ServiceName, Vec<Peer>> {
    let nodes = root.get("services");
    let all: Vec<Names<'_>> =
        services.iter().filter_map(|service| Some(names(service, nodes?.get(service.as_str())?))).collect();
    let mut out = BTreeMap::new();
    for own in &all {
        let node = nodes.and_then(|nodes| nodes.get(own.service.as_str()));
        let mut list = List::default();
        for other in all.iter().filter(|other| other.service != own.service) {
            let shared =
                |network: &Option<&str>| network.is_none_or(|network| own.networks.contains(&network));
            let near = other.networks.iter().any(|network| own.networks.contains(network));
            let declared = node.is_some_and(|node| depends(node, other.service))
                || uses.get(own.service).is_some_and(|uses| uses.contains(other.service));
            if near || declared {
                let names =
                    other.names.iter().filter(|(network, _)| near && shared(network) || network.is_none());
                for (_, host) in names {
                    list.add(host, other.service);
                }
            }
        }
        for link in node.and_then(|node| node.get("links")).map(Node::items).unwrap_or_default() {
            let Some(text) = link.as_str() else { continue };
            let (service, alias) = text.split_once(':').unwrap_or((text, text));
            if let Some(service) = services.iter().find(|name| name.as_str() == service) {
                list.add(service.as_str(), service);
                list.add(alias, service);
            }
        }
        out.insert(own.service.clone(), list.peers);
    }
    out
}

/// Peers by host name; the first that has a name keeps it.
#[derive(Default)]
struct List<'a> {
    peers: Vec<Peer>,
    hosts: HashSet<&'a str>,
}

impl<'a> List<'a> {
    fn add(&mut self, host: &'a str, service: &ServiceName) {
        if self.hosts.insert(host) {
            self.peers.push(Peer { host: host.to_owned(), service: service.clone() });
        }
    }
}

fn depends(node: &Node, other: &ServiceName) -> bool {
    node.get("depends_on").is_some_and(|depends| depends.get(other.as_str()).is_some())
}

fn names<'a>(service: &'a ServiceName, node: &'a Node) -> Names<'a> {
    let mut names = vec![(None, service.as_str())];
    names.extend(["container_name", "hostname"].iter().filter_map(|key| Some((None, node.str(key)?))));
    let mut networks = Vec::new();
    for (network, entry) in node.get("networks").into_iter().flat_map(Node::entries) {
        networks.push(network);
        let aliases = entry.node.get("aliases").map(Node::items).unwrap_or_default();
        names.extend(aliases.iter().filter_map(|alias| Some((Some(network), alias.as_str()?))));
    }
    Names { service, names, networks }
}
