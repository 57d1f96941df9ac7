//! What the data plane counts.

use std::io::Write as _;
use std::process::{Command, Stdio};

use http::{Request, Response, StatusCode};
use tutti_net::Body;
use tutti_ports::routing::{Fallback, FallbackOn, FallbackTo, Match, PathMatch, Resilience, Route};

use crate::harness::*;

fn below(route: &str, path: &str, service: &str) -> Route {
    let path = Some(PathMatch::Prefix(path.to_owned()));
    Route { name: route.into(), matches: vec![Match { path, ..Match::default() }], ..to(service) }
}

fn page(tutti: &Tutti) -> String {
    let mut page = tutti_core::metrics::Page::default();
    tutti.handle.metrics(&mut page);
    page.finish()
}

/// A data plane that was asked for what goes well, what fails, what nobody answers, what a fallback answers, and what there is no route
/// for; its page, when all are counted.
async fn used() -> String {
    let web = upstream(|request: Request<Body>| async move {
        let mut answer = Response::new(Body::from("well"));
        if request.uri().path() == "/a/fails" {
            *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        answer
    })
    .await;
    let instead =
        FallbackTo::Answer { status: 200, body: b"later".to_vec(), content_type: "text/plain".into() };
    let fallback = Some(Fallback { on: vec![FallbackOn::ConnectFailure], to: instead });
    let resilience = Resilience { fallback, ..Resilience::default() }.into();
    let hidden = Route { resilience, ..below("d", "/d", "lost") };
    let routes = vec![below("a", "/a", "web"), below("b", "/b", "gone"), hidden];
    let instances = vec![
        passing("web", 0, web.addr),
        passing("gone", 0, nobody().await),
        passing("lost", 0, nobody().await),
    ];
    let tutti = Tutti::start(options(), routes, instances).await;
    for (path, status) in [("/a", 200), ("/a/fails", 503), ("/b", 502), ("/c", 404), ("/d", 200)] {
        assert_eq!(get(tutti.edge, path).await.status().as_u16(), status, "{path}");
    }
    // A request is counted when its last byte is gone, which its client may know earlier.
    let counting = async {
        loop {
            if page(&tutti).contains("tutti_proxy_requests_in_flight 0\n") {
                // That one was written while the last was being counted, perhaps.
                return page(&tutti);
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMITS.timeout, counting).await.expect("all are counted")
}

#[tokio::test]
async fn rate_errors_and_duration_are_counted_by_route_and_service() {
    let page = used().await;
    for line in [
        r#"tutti_proxy_requests_total{listener="edge",route="a",class="2xx"} 1"#,
        r#"tutti_proxy_requests_total{listener="edge",route="a",class="5xx"} 1"#,
        r#"tutti_proxy_request_errors_total{listener="edge",route="a",origin="upstream"} 1"#,
        r#"tutti_proxy_request_errors_total{listener="edge",route="a",origin="client"} 0"#,
        r#"tutti_proxy_request_errors_total{listener="edge",route="b",origin="upstream"} 1"#,
        r#"tutti_proxy_request_errors_total{listener="edge",route="",origin="client"} 1"#,
        r#"tutti_proxy_request_duration_seconds_count{listener="edge",route="a"} 2"#,
        r#"tutti_proxy_request_duration_seconds_bucket{listener="edge",route="a",le="+Inf"} 2"#,
        r#"tutti_proxy_requests_total{listener="edge",route="d",class="2xx"} 1"#,
        r#"tutti_proxy_request_errors_total{listener="edge",route="d",origin="upstream"} 0"#,
        r#"tutti_proxy_upstream_requests_total{service="lost",class="2xx"} 0"#,
        r#"tutti_proxy_upstream_requests_total{service="lost",class="none"} 1"#,
        r#"tutti_proxy_upstream_requests_total{service="web",class="5xx"} 1"#,
        r#"tutti_proxy_upstream_errors_total{service="web"} 1"#,
        r#"tutti_proxy_upstream_errors_total{service="gone"} 1"#,
        r#"tutti_proxy_upstream_requests_total{service="gone",class="none"} 1"#,
        r#"tutti_proxy_upstream_duration_seconds_count{service="web"} 2"#,
        r#"tutti_proxy_upstream_duration_seconds_count{service="gone"} 1"#,
    ] {
        assert!(page.lines().any(|one| one == line), "{line}\n{page}");
    }
}

#[tokio::test]
async fn every_metric_is_in_the_table_and_of_its_type() {
    let table = include_str!("../../../../docs/metrics.md");
    let page = used().await;
    let types: Vec<_> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    for (name, kind) in &types {
        let row = format!("| `{name}` | {kind} |");
        assert!(table.contains(&row), "docs/metrics.md has no row that begins with: {row}");
    }
    for row in table.lines().filter(|line| line.starts_with("| `tutti_proxy_")) {
        let known = types.iter().any(|(name, _)| row.starts_with(&format!("| `{name}` |")));
        assert!(known, "there is no such metric: {row}");
    }
}

/// What promtool says of what it is given; `None` where it is not there.
fn promtool(args: &[&str], input: &str) -> Option<(bool, String)> {
    let mut command = Command::new("promtool");
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = match command.spawn() {
        Ok(promtool) => promtool,
        Err(error) => {
            println!("skipped: promtool cannot be run ({error}); it is in Debian's package prometheus");
            return None;
        }
    };
    promtool.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let said = promtool.wait_with_output().unwrap();
    let words = [said.stdout, said.stderr].map(|words| String::from_utf8_lossy(&words).into_owned()).concat();
    Some((said.status.success(), words))
}

#[tokio::test]
async fn promtool_finds_nothing_to_say() {
    let Some(said) = promtool(&["check", "metrics"], &used().await) else { return };
    assert_eq!(said, (true, String::new()));
}

/// Rate, errors and duration, as the documentation derives them, are what was done.
#[tokio::test]
async fn the_expressions_of_the_documentation_say_what_happened() {
    let table = include_str!("../../../../docs/metrics.md");
    let (_, block) = table.split_once("```promql\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let expressions: Vec<_> = block.lines().filter(|line| !line.starts_with('#')).collect();
    let of_routes = [r#"{route="a"}"#, r#"{route="b"}"#, r#"{route="d"}"#, "{}"];
    let of_services = [r#"{service="web"}"#, r#"{service="gone"}"#, r#"{service="lost"}"#];
    // A duration is not known, only that there is one.
    let expected = [
        ("round(", ", 0.001)", of_routes.iter().zip(&[2.0, 1.0, 1.0, 1.0][..])),
        ("round(", ", 0.001)", of_routes.iter().zip(&[0.5, 1.0, 0.0, 0.0][..])),
        ("(", ") > bool 0", of_routes.iter().zip(&[1.0; 4][..])),
        ("round(", ", 0.001)", of_services.iter().zip(&[2.0, 1.0, 1.0][..])),
        ("round(", ", 0.001)", of_services.iter().zip(&[0.5, 1.0, 1.0][..])),
        ("(", ") > bool 0", of_services.iter().zip(&[1.0; 3][..])),
    ];
    assert_eq!(expressions.len(), expected.len());
    // As if it happened again each second, for ten minutes.
    let mut rules = String::from("evaluation_interval: 1m\ntests:\n- interval: 1m\n  input_series:\n");
    for line in used().await.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let step = value.parse::<f64>().unwrap() * 60.0;
        rules += &format!("  - {{ series: '{series}', values: '0+{step}x10' }}\n");
    }
    rules += "  promql_expr_test:\n";
    for (expression, (before, behind, samples)) in expressions.iter().zip(expected) {
        rules += &format!("  - expr: '{before}{expression}{behind}'\n    eval_time: 10m\n    exp_samples:\n");
        for (labels, value) in samples {
            rules += &format!("    - {{ labels: '{labels}', value: {value} }}\n");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yaml");
    std::fs::write(&file, rules).unwrap();
    let Some((fine, words)) = promtool(&["test", "rules", file.to_str().unwrap()], "") else { return };
    assert!(fine, "{words}");
}
