//! Which certificates the listeners want, and where those of this user and this project lie.

use std::path::Path;

use tutti_ports::certificates::Policy;
use tutti_ports::routing::{Listener, Routing, Serve, Tls};
use tutti_trust::Options;

/// Where things lie. Without a home, the development authority is the project's own.
pub(super) fn options(data: &Path) -> Options {
    let folder = data.join("trust");
    let authority = tutti_trust::dev::default_folder(|name| std::env::var(name).ok());
    Options { authority: authority.unwrap_or_else(|| folder.join("authority")), folder }
}

/// What the listeners want: the development authority where nothing else was said, or where an authority of the world's is asked and only
/// this machine is served.
pub(super) fn policy(routing: &Routing) -> Policy {
    let secure = |listener: &'_ Listener| listener.transport.tls.clone().map(|tls| (listener.clone(), tls));
    let secure: Vec<(Listener, Tls)> = routing.listeners.iter().filter_map(secure).collect();
    let ours = |(listener, tls): &(Listener, Tls)| {
        tls.files.is_empty() && (tls.acme.is_none() || listener.bind.ip().is_loopback())
    };
    let mut hosts: Vec<String> = secure
        .iter()
        .filter_map(|(listener, _)| match &listener.serve {
            Serve::Http(routes) => Some(routes),
            Serve::Tcp(_) | Serve::Stream(_) => None,
        })
        .flatten()
        .flat_map(|route| route.hosts.clone())
        .collect();
    hosts.sort();
    hosts.dedup();
    let development = secure.iter().any(ours);
    Policy { development, hosts, acme: secure.into_iter().find_map(|(_, tls)| tls.acme) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tutti_ports::routing::{Route, Transport};

    fn listening(bind: &str, tls: Option<Tls>) -> Routing {
        let route = Route { hosts: vec!["b.test".to_owned(), "a.test".to_owned()], ..Route::named("r") };
        let bind = bind.parse().unwrap();
        let transport = Transport { tls, ..Transport::default() };
        let listener = Listener { name: "l".to_owned(), bind, transport, serve: Serve::http(vec![route]) };
        Routing { listeners: vec![listener], ..Routing::default() }
    }

    #[test]
    fn certificates_are_wanted_for_tls_alone_and_of_the_development_authority_where_nothing_else_is_said() {
        assert_eq!(policy(&listening("127.0.0.1:1", None)), Policy::default());
        let wanted = policy(&listening("0.0.0.0:1", Some(Tls::default())));
        assert!(wanted.development && wanted.acme.is_none());
        assert_eq!(wanted.hosts, ["a.test", "b.test"]);
        let files =
            vec![tutti_ports::routing::CertificateFiles { cert: "c".into(), key: "k".into(), ocsp: None }];
        assert!(!policy(&listening("127.0.0.1:1", Some(Tls { files, ..Tls::default() }))).development);
    }
}
