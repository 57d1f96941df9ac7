//! What `gateway.tls.acme` may say, and what becomes of it.

use std::collections::BTreeMap;

use super::*;
use crate::{LoadOptions, Loaded, load};

fn run(acme: &str) -> Result<Loaded, String> {
    let folder = tempfile::tempdir().unwrap();
    let compose = "name: shop\nservices:\n  web: {build: ./web, ports: ['8080:3000']}\n";
    std::fs::write(folder.path().join("compose.yaml"), compose).unwrap();
    std::fs::write(folder.path().join("hmac"), "a2V5").unwrap();
    let overlay = format!(
        "gateway:\n  listen: ':8081'\n  https: '0.0.0.0:8443'\n  tls:\n    acme: {acme}\nroutes:\n  - {{host: shop.example.com, to: web}}\n  \
         - {{host: [WWW.example.com, api.localhost, '*.wild.example.com'], path: /x, to: web}}\n"
    );
    std::fs::write(folder.path().join("tutti.yaml"), overlay).unwrap();
    load(&LoadOptions { folder: folder.path().to_owned(), env: BTreeMap::new(), ..LoadOptions::default() })
        .map_err(|problems| problems.render(false))
}

fn acme(text: &str) -> Acme {
    let loaded = run(text).unwrap_or_else(|problems| panic!("{problems}"));
    let secure =
        loaded.application.routing.listeners.iter().find_map(|listener| listener.transport.tls.clone());
    secure.unwrap().acme.unwrap()
}

#[test]
fn without_more_it_is_lets_encrypt_for_the_hosts_of_the_routes() {
    let asked = acme("{email: ops@example.com}");
    assert_eq!(asked.directory, LETS_ENCRYPT);
    assert_eq!(asked.challenges, [Challenge::TlsAlpn01, Challenge::Http01]);
    // A wildcard cannot be proved so, and a name of this machine is nobody's.
    assert_eq!(asked.certificates, [["shop.example.com"], ["www.example.com"]]);
    let loaded = run("{}").unwrap();
    assert!(loaded.notices.render(false).contains("`*.wild.example.com`: a wildcard needs `dns-01`"));
}

#[test]
fn with_a_hook_wildcards_are_had_too() {
    let asked = acme("{dns_hook: {run: ./dns.sh --zone x, timeout: 5s}, directory: letsencrypt-staging}");
    assert_eq!(asked.certificates.len(), 3);
    assert_eq!(asked.challenges.last(), Some(&Challenge::Dns01));
    assert_eq!(asked.directory, STAGING);
    let hook = asked.dns_hook.unwrap();
    assert_eq!(hook.command, ["/bin/sh", "-c", "./dns.sh --zone x \"$@\"", "dns_hook"]);
    assert_eq!((hook.timeout, hook.propagation), (Duration::from_secs(5), PROPAGATION));
    let hook = acme("{dns_hook: {run: [./dns, x]}}").dns_hook.unwrap();
    assert_eq!(hook.command, ["./dns", "x"]);
}

#[test]
fn the_rest_is_as_it_is_said() {
    let asked = acme(
        "{directory: 'https://ca.example/dir', hosts: [a.example, [B.example., c.example]], challenges: [http-01], \
         on_demand: {allow: ['*.t.example'], ask: 'http://127.0.0.1:9000/may'}, eab: {kid: k, key_file: hmac}, ca_certificate: hmac}",
    );
    assert_eq!(asked.certificates, [vec!["a.example"], vec!["b.example", "c.example"]]);
    assert_eq!(asked.challenges, [Challenge::Http01]);
    let on_demand = asked.on_demand.unwrap();
    assert_eq!(on_demand.allow, ["*.t.example"]);
    assert_eq!(on_demand.ask.as_deref(), Some("http://127.0.0.1:9000/may"));
    assert!(asked.external_account.unwrap().key_file.is_absolute());
    assert!(asked.trusted_root.unwrap().is_absolute());
}

#[test]
fn mistakes_are_told_where_they_are() {
    for (text, told) in [
        ("{email: ops}", "is not an e-mail address"),
        ("{directory: 'http://ca.example'}", "neither an https:// URL"),
        ("{challenges: [dns-02]}", "dns-02"),
        ("{challenges: [dns-01]}", "`dns-01` needs `dns_hook`"),
        ("{hosts: ['*.a.example']}", "can only be proved by `dns-01`"),
        ("{hosts: [127.0.0.1]}", "is not a host name"),
        ("{hosts: [shop]}", "is not a host name"),
        ("{hosts: [a..b]}", "is not a host name"),
        ("{on_demand: {}}", "needs `allow` or `ask`"),
        ("{on_demand: {ask: 'https://x'}}", "is not an http:// URL"),
        ("{eab: {kid: k}}", "key_file"),
        ("{eab: {kid: k, key_file: none}}", "there is no file"),
        ("{ca_certificate: none.pem}", "there is no file"),
        ("{dns_hook: {}}", "run"),
        ("{dns_hook: {run: x, timeout: soon}}", "soon"),
        ("{mail: x}", "mail"),
    ] {
        let problems = run(text).err().unwrap_or_else(|| panic!("{text} is accepted"));
        assert!(problems.contains(told) && problems.contains("tutti.yaml:5"), "{text}: {problems}");
    }
}
