//! The access log, as the routes say it.

use std::path::Path;
use std::time::Duration;

use http::Request;
use tutti_net::Body;
use tutti_ports::routing::{AccessLog, LogField, LogFormat, LogTo, Route, Routing, Serve};
use tutti_proxy::AccessLogOptions;
use tutti_proxy::error::ApplyError;

use crate::harness::*;

fn to_file(path: &Path) -> AccessLog {
    AccessLog { to: LogTo::File(path.to_owned()), ..AccessLog::default() }
}

fn logging(log: AccessLog) -> Routing {
    let path = |path: &str| {
        vec![tutti_ports::routing::Match {
            path: Some(tutti_ports::routing::PathMatch::Prefix(path.to_owned())),
            ..tutti_ports::routing::Match::default()
        }]
    };
    let quiet = Route { name: "quiet".into(), matches: path("/quiet"), unlogged: true, ..to("web") };
    let loud = Route { name: "loud".into(), matches: path("/"), ..to("web") };
    let mut routing = routing(Serve::Http(vec![quiet.into(), loud.into()]));
    routing.observe.access_log = log;
    routing
}

async fn ask(edge: std::net::SocketAddr, path: &str, id: &str) {
    let request = Request::get(path).header("host", "shop.test").header("x-request-id", id);
    send(edge, request.body(Body::empty()).unwrap()).await;
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

async fn until(path: &Path, what: impl Fn(&[String]) -> bool) -> Vec<String> {
    let waiting = async {
        loop {
            let lines = lines(path);
            if what(&lines) {
                return lines;
            }
            // A file says nothing when it grows.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("the lines come")
}

#[tokio::test]
async fn what_was_chosen_is_written_and_quiet_routes_are_not() {
    let web = named("web").await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/access.log");
    let fields = vec![LogField::Path, LogField::Status, LogField::Host];
    let log = AccessLog { fields, format: LogFormat::Text, ..to_file(&path) };
    let tutti = Tutti::applying(options(), logging(log), vec![passing("web", 0, web.addr)], None).await;
    ask(tutti.edge, "/a?secret=1", "one").await;
    ask(tutti.edge, "/quiet", "two").await;
    ask(tutti.edge, "/b", "three").await;
    tutti.proxy.shutdown().await;
    let mut lines = lines(&path);
    lines.sort();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("path=/a status=200 host=shop.test request_id=one trace_id="), "{lines:?}");
    assert!(
        lines[1].starts_with("path=/b status=200 host=shop.test request_id=three trace_id="),
        "{lines:?}"
    );
}

#[tokio::test]
async fn a_reload_changes_the_log_and_loses_no_line() {
    let web = named("web").await;
    let folder = tempfile::tempdir().unwrap();
    let (default, other) = (folder.path().join("default"), folder.path().join("other"));
    let options =
        tutti_proxy::Options { access_log: Some(AccessLogOptions::json(default.clone())), ..options() };
    let tutti =
        Tutti::applying(options, logging(AccessLog::default()), vec![passing("web", 0, web.addr)], None)
            .await;
    let again = |log: AccessLog| tutti.handle.apply(logging(log));
    ask(tutti.edge, "/one", "1").await;
    // An entry is recorded when its last byte is gone, a moment after the client has it.
    until(&default, |lines| lines.len() == 1).await;
    again(to_file(&other)).await.unwrap();
    ask(tutti.edge, "/two", "2").await;
    until(&other, |lines| lines.len() == 1).await;
    again(AccessLog { to: LogTo::Off, ..AccessLog::default() }).await.unwrap();
    ask(tutti.edge, "/three", "3").await;
    let refused = again(to_file(folder.path())).await.unwrap_err();
    assert!(matches!(refused, ApplyError::AccessLog { .. }), "{refused}");
    again(AccessLog { sample: Some(0), ..to_file(&other) }).await.unwrap();
    ask(tutti.edge, "/four", "4").await;
    send(tutti.edge, Request::get("/../five").header("host", "shop.test").body(Body::empty()).unwrap()).await;
    tutti.proxy.shutdown().await;
    let (default, other) = (lines(&default), lines(&other));
    assert!(default.len() == 1 && default[0].contains("/one"), "{default:?}");
    assert!(other.len() == 2 && other[0].contains("/two") && other[1].contains("TUT0507"), "{other:?}");
}

#[tokio::test]
async fn a_file_that_is_moved_away_under_load_is_begun_anew() {
    let web = named("web").await;
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
    let tutti =
        Tutti::applying(options(), logging(to_file(&path)), vec![passing("web", 0, web.addr)], None).await;
    ask(tutti.edge, "/first", "first").await;
    until(&path, |lines| lines.len() == 1).await;
    std::fs::rename(&path, &moved).unwrap();
    let mut asked = 1;
    while lines(&path).is_empty() {
        ask(tutti.edge, "/next", "next").await;
        asked += 1;
    }
    tutti.proxy.shutdown().await;
    assert_eq!(lines(&moved).len() + lines(&path).len(), asked);
}

#[tokio::test]
async fn a_full_disk_stops_no_request_and_is_counted() {
    let web = named("web").await;
    let log = to_file(Path::new("/dev/full"));
    let tutti = Tutti::applying(options(), logging(log), vec![passing("web", 0, web.addr)], None).await;
    for _ in 0..10 {
        assert_eq!(get(tutti.edge, "/x").await.status(), 200);
    }
    let counted = async {
        loop {
            let mut page = tutti_core::metrics::Page::default();
            tutti.handle.metrics(&mut page);
            if page.finish().contains("tutti_proxy_access_log_dropped_total 10\n") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), counted).await.expect("all are counted");
}
