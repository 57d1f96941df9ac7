//! Heads as they stand on the wire.

use super::*;

fn head(response: Response<Body>, method: Method, version: Version, keep_alive: bool) -> String {
    let plan = plan_response(&method, version, keep_alive, &response);
    let mut out = BytesMut::new();
    response_head(&response, &method, version, plan, &mut out);
    let text = String::from_utf8(out.to_vec()).unwrap();
    // The date is the clock's.
    text.lines().filter(|line| !line.starts_with("date: ")).collect::<Vec<_>>().join("\n")
}

fn response(status: u16, fields: &[(&'static str, &'static str)], body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in fields {
        response.headers_mut().append(*name, HeaderValue::from_static(value));
    }
    response
}

fn endless() -> Body {
    Body::channel(1).1
}

#[test]
fn framing_is_made_from_the_body() {
    let get = |response| head(response, Method::GET, Version::HTTP_11, true);
    assert_eq!(get(response(200, &[], "hey".into())), "HTTP/1.1 200 OK\ncontent-length: 3\n");
    assert_eq!(
        get(response(200, &[("content-length", "9")], "hey".into())),
        "HTTP/1.1 200 OK\ncontent-length: 3\n"
    );
    assert_eq!(get(response(200, &[], Body::empty())), "HTTP/1.1 200 OK\ncontent-length: 0\n");
    assert_eq!(get(response(200, &[], endless())), "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n");
    assert_eq!(
        get(response(200, &[("content-length", "9")], endless())),
        "HTTP/1.1 200 OK\ncontent-length: 9\n"
    );
    assert_eq!(get(response(204, &[("content-length", "9")], "hey".into())), "HTTP/1.1 204 No Content\n");
    assert_eq!(
        get(response(304, &[("content-length", "9")], Body::empty())),
        "HTTP/1.1 304 Not Modified\ncontent-length: 9\n"
    );
    assert_eq!(get(response(418, &[], Body::empty())), "HTTP/1.1 418 I'm a teapot\ncontent-length: 0\n");
    assert_eq!(get(response(599, &[], Body::empty())), "HTTP/1.1 599 \ncontent-length: 0\n");
}

#[test]
fn head_is_told_the_length_and_sent_nothing() {
    let to_head = |response| head(response, Method::HEAD, Version::HTTP_11, true);
    assert_eq!(to_head(response(200, &[], "hey".into())), "HTTP/1.1 200 OK\ncontent-length: 3\n");
    assert_eq!(
        to_head(response(200, &[("content-length", "9")], Body::empty())),
        "HTTP/1.1 200 OK\ncontent-length: 9\n"
    );
    assert_eq!(to_head(response(200, &[], endless())), "HTTP/1.1 200 OK\n");
}

#[test]
fn the_callers_connection_fields_are_not_sent() {
    let fields = [
        ("connection", "x-a, upgrade"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "gzip"),
        ("upgrade", "h2c"),
        ("x-a", "b"),
    ];
    let text = head(response(200, &fields, "hey".into()), Method::GET, Version::HTTP_11, true);
    assert_eq!(text, "HTTP/1.1 200 OK\nx-a: b\ncontent-length: 3\n");
}

#[test]
fn connections_end_or_stay_by_version_and_wish() {
    let close = "HTTP/1.1 200 OK\ncontent-length: 0\nconnection: close\n";
    let empty = || response(200, &[], Body::empty());
    assert_eq!(head(empty(), Method::GET, Version::HTTP_11, false), close);
    assert_eq!(
        head(
            response(200, &[("connection", "a, Close")], Body::empty()),
            Method::GET,
            Version::HTTP_11,
            true
        ),
        close
    );
    assert_eq!(head(empty(), Method::GET, Version::HTTP_10, false), close);
    let keep = "HTTP/1.1 200 OK\ncontent-length: 0\nconnection: keep-alive\n";
    assert_eq!(head(empty(), Method::GET, Version::HTTP_10, true), keep);
    // HTTP/1.0 has no chunks: the end of the connection is the end of the body.
    let text = head(response(200, &[], endless()), Method::GET, Version::HTTP_10, true);
    assert_eq!(text, "HTTP/1.1 200 OK\nconnection: close\n");
}

#[test]
fn there_is_one_date() {
    let mut out = BytesMut::new();
    let made = response(200, &[("date", "x")], Body::empty());
    let plan = plan_response(&Method::GET, Version::HTTP_11, true, &made);
    response_head(&made, &Method::GET, Version::HTTP_11, plan, &mut out);
    assert_eq!(String::from_utf8_lossy(&out).matches("date: ").count(), 1);
    let mut out = BytesMut::new();
    date(&mut out);
    let text = std::str::from_utf8(&out[6..]).unwrap().trim_end();
    let age = SystemTime::now().duration_since(httpdate::parse_http_date(text).unwrap()).unwrap();
    assert!(age.as_secs() <= 1, "{text}");
}

#[test]
fn requests_name_their_host_first_and_frame_their_body() {
    let write = |request: Request<Body>| {
        let mut out = BytesMut::new();
        request_head(&request, plan_request(&request), &mut out)
            .map(|()| String::from_utf8(out.to_vec()).unwrap())
    };
    let base =
        |method: &str| Request::builder().method(method).uri("/a?b").header("x", "y").header("host", "h");
    assert_eq!(
        write(base("GET").body(Body::empty()).unwrap()).unwrap(),
        "GET /a?b HTTP/1.1\r\nhost: h\r\nx: y\r\n\r\n"
    );
    assert!(write(base("POST").body(Body::empty()).unwrap()).unwrap().contains("content-length: 0\r\n"));
    assert!(write(base("PUT").body(endless()).unwrap()).unwrap().contains("transfer-encoding: chunked\r\n"));
    let upgrade =
        base("GET").header("upgrade", "websocket").header("connection", "upgrade, x").body(Body::empty());
    assert!(write(upgrade.unwrap()).unwrap().ends_with("upgrade: websocket\r\nconnection: upgrade\r\n\r\n"));
    let connect = Request::builder().method("CONNECT").uri("a:1").header("host", "a:1").body(Body::empty());
    assert!(write(connect.unwrap()).unwrap().starts_with("CONNECT a:1 HTTP/1.1\r\n"));
    assert!(write(Request::new(Body::empty())).is_err());
    assert!(write(base("GET").header("host", "i").body(Body::empty()).unwrap()).is_err());
    assert!(write(Request::builder().uri("/a\\b").header("host", "h").body(Body::empty()).unwrap()).is_err());
}
