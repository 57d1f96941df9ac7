//! Certificates of a real ACME server: Pebble, which rejects a share of nonces on purpose and is strict where RFC 8555 is.
//!
//! `cargo xtask test --all` installs it with Go and runs these; without them each says that it was skipped. Pebble asks for names at a
//! DNS server of its own (pebble-challtestsrv), which answers 127.0.0.1 for every one; challenges are answered by listeners made with
//! `tutti-net` that know nothing but the room's port.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod lab;

use std::time::Duration;

use tutti_ports::certificates::{Certificates as _, Challenge, DnsHook, OnDemand};

use lab::{Lab, PATIENCE};

#[tokio::test]
#[ignore = "needs Pebble: cargo xtask test --all"]
async fn by_http_01_with_several_names_and_no_new_order_after_a_restart() {
    let Some(lab) = Lab::start().await else { return };
    let mut acme = lab.acme(&[Challenge::Http01]);
    acme.email = Some("ops@shop.test".to_owned());
    acme.certificates =
        vec![vec!["shop.test".to_owned(), "www.shop.test".to_owned()], vec!["api.test".to_owned()]];
    let room = lab.room(acme.clone()).await;
    let (shop, api) = (room.wait_for("shop.test").await, room.wait_for("api.test").await);
    assert_eq!(room.handle.current(Some("www.shop.test")).unwrap().serial, shop.serial);
    assert_ne!(shop.serial, api.serial);
    assert!(shop.chain.len() >= 2, "the intermediate comes with it");
    assert!(room.handle.current(Some("other.test")).is_none());
    let orders = lab.count("POST /order-plz");
    room.stop().await;

    let room = lab.room(acme).await;
    // At once, from the state.
    assert_eq!(room.handle.current(Some("shop.test")).unwrap().chain, shop.chain);
    assert_eq!(room.handle.current(Some("shop.test")).unwrap().key, shop.key);
    room.settle().await;
    assert_eq!(lab.count("POST /order-plz"), orders);
    room.stop().await;
}

#[tokio::test]
#[ignore = "needs Pebble: cargo xtask test --all"]
async fn by_tls_alpn_01() {
    let Some(lab) = Lab::start().await else { return };
    let mut acme = lab.acme(&[Challenge::TlsAlpn01]);
    acme.certificates = vec![vec!["alpn.test".to_owned()]];
    let room = lab.room(acme).await;
    assert_eq!(room.wait_for("alpn.test").await.names, ["alpn.test"]);
    assert!(room.handle.alpn_challenge("alpn.test").is_none(), "it is gone when it is over");
    room.stop().await;
}

#[tokio::test]
#[ignore = "needs Pebble: cargo xtask test --all"]
async fn by_dns_01_a_wildcard_and_what_the_hook_wrote_is_gone() {
    let Some(lab) = Lab::start().await else { return };
    let mut acme = lab.acme(&[Challenge::Http01, Challenge::Dns01]);
    acme.certificates = vec![vec!["*.wild.test".to_owned(), "wild.test".to_owned()]];
    let (hook, log) = lab.dns_hook();
    let timeout = Duration::from_secs(20);
    acme.dns_hook = Some(DnsHook { command: hook, timeout, propagation: Duration::from_millis(10) });
    let room = lab.room(acme).await;
    let wild = room.wait_for("any.wild.test").await;
    assert_eq!(wild.names.len(), 2);
    let log = std::fs::read_to_string(log).unwrap();
    let count = |verb: &str| log.lines().filter(|line| line.starts_with(verb)).count();
    assert!(count("present") >= 1, "{log}");
    assert_eq!(count("present"), count("cleanup"), "{log}");
    assert!(log.lines().all(|line| line.contains(" _acme-challenge.wild.test. ")), "{log}");
    room.stop().await;
}

#[tokio::test]
#[ignore = "needs Pebble: cargo xtask test --all"]
async fn it_is_renewed_when_the_authority_says_so_and_replaces_the_old_one() {
    let Some(lab) = Lab::start().await else { return };
    let mut acme = lab.acme(&[Challenge::Http01]);
    acme.certificates = vec![vec!["renewed.test".to_owned()]];
    let room = lab.room(acme.clone()).await;
    let first = room.wait_for("renewed.test").await;
    room.settle().await;
    assert_eq!(
        room.handle.current(Some("renewed.test")).unwrap().serial,
        first.serial,
        "ninety days are long"
    );
    room.stop().await;

    lab.wants_renewal(&first).await;
    let room = lab.room(acme).await;
    let second = room.wait_for_other("renewed.test", first.chain.clone()).await;
    assert!(second.key != first.key, "a new key each time");
    assert!(lab.count("replac") >= 1, "{}", lab.log());
    room.stop().await;
}

#[tokio::test]
#[ignore = "needs Pebble: cargo xtask test --all"]
async fn on_demand_for_who_is_allowed_or_admitted_and_for_nobody_else() {
    let Some(lab) = Lab::start().await else { return };
    let mut acme = lab.acme(&[Challenge::TlsAlpn01]);
    let ask = lab.asked_whether("tenant.test").await;
    acme.on_demand = Some(OnDemand { allow: vec!["*.allowed.test".to_owned()], ask: Some(ask) });
    let room = lab.room(acme.clone()).await;
    for name in ["evil.test", "allowed.test", "a.b.allowed.test"] {
        assert!(room.handle.obtain(name).await.is_none(), "{name}");
    }
    assert_eq!(lab.count("POST /order-plz"), 0);
    let both = tokio::join!(room.handle.obtain("One.allowed.test."), room.handle.obtain("one.allowed.test"));
    assert_eq!(both.0.unwrap().serial, both.1.unwrap().serial, "one order for both");
    assert_eq!(lab.count("POST /order-plz"), 1);
    assert_eq!(room.handle.obtain("tenant.test").await.unwrap().names, ["tenant.test"]);
    room.stop().await;
    // What was brought up is in force after a restart.
    let room = lab.room(acme).await;
    assert!(room.handle.current(Some("one.allowed.test")).is_some());
    room.stop().await;
}

#[tokio::test]
#[ignore = "needs Pebble: cargo xtask test --all"]
async fn a_name_that_cannot_be_proved_is_said_with_what_the_authority_saw() {
    let Some(lab) = Lab::start().await else { return };
    let mut acme = lab.acme(&[Challenge::Dns01]);
    acme.certificates = vec![vec!["unproved.test".to_owned()]];
    let timeout = Duration::from_secs(20);
    // It does nothing, and says that all is well.
    acme.dns_hook =
        Some(DnsHook { command: vec!["/bin/true".to_owned()], timeout, propagation: Duration::ZERO });
    let room = lab.room(acme).await;
    let trouble = tokio::time::timeout(PATIENCE, room.trouble()).await.unwrap();
    assert!(trouble.contains("unproved.test") && trouble.contains("dns-01"), "{trouble}");
    assert!(trouble.contains("TUT0705"), "{trouble}");
    room.stop().await;
}

#[tokio::test]
#[ignore = "needs Pebble: cargo xtask test --all"]
async fn an_account_needs_an_external_binding_where_the_authority_says_so() {
    let Some(lab) = Lab::start_with(true).await else { return };
    let mut acme = lab.acme(&[Challenge::Http01]);
    acme.certificates = vec![vec!["bound.test".to_owned()]];
    let room = lab.room(acme.clone()).await;
    let trouble = tokio::time::timeout(PATIENCE, room.trouble()).await.unwrap();
    assert!(trouble.contains("TUT0704"), "{trouble}");
    room.stop().await;
    acme.external_account = Some(lab.external_account());
    // Another account, so another attempt; the wait after the failure is over for what it could not know.
    acme.certificates = vec![vec!["bound-now.test".to_owned()]];
    let room = lab.room(acme).await;
    room.wait_for("bound-now.test").await;
    room.stop().await;
}
