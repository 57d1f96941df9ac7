//! Who asks: credentials over real sockets, and what services are told of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, Response};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tutti_net::Body;
use tutti_ports::rate::{self, Policy};
use tutti_ports::routing::{
    ApiKeys, Auth, Basic, Guard, Jwt, KeyPart, KeySource, Place, RateLimit, Route, Unavailable,
};

use tutti_proxy::Options;

use crate::harness::*;

async fn with(edge: std::net::SocketAddr, path: &str, fields: &[(&str, &str)]) -> Response<Bytes> {
    let mut request = Request::get(path).header("host", "shop.test");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    send(edge, request.body(Body::empty()).unwrap()).await
}

fn code(response: &Response<Bytes>) -> (u16, String) {
    (response.status().as_u16(), fault(response)["code"].as_str().unwrap_or_default().to_owned())
}

fn guarded(auth: Auth) -> Route {
    Route { guard: Guard { auth: Some(auth), ..Guard::default() }.into(), ..to("web") }
}

fn api_key() -> ApiKeys {
    let hash = format!("blake3:{}", blake3::hash(b"secret").to_hex());
    let from = vec![Place::Header("x-api-key".into()), Place::Query("key".into())];
    ApiKeys { from, keys: BTreeMap::from([("mobile".to_owned(), hash)]), file: None }
}

#[tokio::test]
async fn an_api_key_names_its_consumer_and_nobody_else_can() {
    let web = echo().await;
    let mut route = guarded(Auth { api_key: Some(api_key()), ..Auth::default() });
    let policy = Policy {
        name: "n".into(),
        algorithm: rate::Algorithm::Gcra,
        requests: 2,
        window: Duration::from_secs(3_600),
        burst: 2,
    };
    let unavailable = Unavailable::Open;
    route.guard.rate_limits =
        vec![RateLimit { label: "k".into(), policy, key: vec![KeyPart::ApiKey], unavailable }];
    let open = Route { name: "open".into(), hosts: vec!["open.test".into()], ..to("web") };
    let tutti = Tutti::start(options(), vec![route, open], vec![passing("web", 0, web.addr)]).await;
    let forged = [("x-api-key", "secret"), ("x-tutti-consumer", "admin"), ("x_tutti_consumer", "admin")];
    let good = with(tutti.edge, "/", &forged).await;
    assert!(
        text(&good).contains("x-tutti-consumer: mobile") && !text(&good).contains("admin"),
        "{}",
        text(&good)
    );
    for (path, fields) in [("/", &[("x-api-key", "wrong")][..]), ("/", &[]), ("/?key=x", &[])] {
        let refused = with(tutti.edge, path, fields).await;
        assert_eq!(code(&refused), (401, "TUT0543".into()));
        assert_eq!(refused.headers()["www-authenticate"], "ApiKey");
    }
    assert_eq!(with(tutti.edge, "/?key=secret", &[]).await.status(), 200);
    // The limit is the key's, and the strangers above had no part in it.
    assert_eq!(code(&with(tutti.edge, "/?key=secret", &[]).await), (429, "TUT0540".into()));
    // On a route that asks nobody, strangers cannot name themselves either.
    let request = Request::get("/").header("host", "open.test").header("x-tutti-consumer", "admin");
    let answer = send(tutti.edge, request.body(Body::empty()).unwrap()).await;
    assert!(!text(&answer).contains("admin"), "{}", text(&answer));
    let grpc = with(tutti.edge, "/", &[("content-type", "application/grpc")]).await;
    assert_eq!(grpc.headers()["grpc-status"], "16");
}

#[tokio::test]
async fn a_password_is_asked_for_as_browsers_expect() {
    use argon2::password_hash::PasswordHasher as _;
    let params = argon2::Params::new(64, 1, 1, None).unwrap();
    let argon = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let hash = argon.hash_password_with_salt(b"pass:word", b"0123456789abcdef").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users");
    std::fs::write(&file, format!("ada:{hash}\n")).unwrap();
    let web = echo().await;
    let route = guarded(Auth { basic: Some(Basic { file, realm: "The shop".into() }), ..Auth::default() });
    let tutti = Tutti::start(options(), vec![route], vec![passing("web", 0, web.addr)]).await;
    let ask = async |pair: &str| {
        let value = format!("Basic {}", STANDARD.encode(pair));
        with(tutti.edge, "/", &[("authorization", &value)]).await
    };
    for _ in 0..2 {
        assert!(text(&ask("ada:pass:word").await).contains("x-tutti-consumer: ada"));
    }
    for wrong in ["ada:pass", "eve:pass:word", "ada"] {
        let refused = ask(wrong).await;
        assert_eq!(code(&refused), (401, "TUT0543".into()), "{wrong}");
        assert_eq!(refused.headers()["www-authenticate"], "Basic realm=\"The shop\", charset=\"UTF-8\"");
    }
}

/// An identity provider, whose keys can be changed and which can be away.
struct Provider {
    issuer: String,
    keys: Arc<Mutex<Vec<Value>>>,
    away: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    _server: Upstream,
}

impl Provider {
    async fn start() -> Self {
        let addr = free();
        let issuer = format!("http://{addr}/realms/shop");
        let keys = Arc::new(Mutex::new(Vec::<Value>::new()));
        let (away, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let state = (issuer.clone(), Arc::clone(&keys), Arc::clone(&away), Arc::clone(&asked));
        let server = upstream_at(addr, move |request| {
            let (issuer, keys, away, asked) = state.clone();
            async move {
                asked.fetch_add(1, Ordering::SeqCst);
                let certs = "/realms/shop/protocol/openid-connect/certs";
                let body = match request.uri().path() {
                    "/realms/shop/.well-known/openid-configuration" => {
                        json!({"issuer": issuer, "jwks_uri": issuer.replace("/realms/shop", certs)})
                    }
                    path if path == certs => json!({"keys": *keys.lock().unwrap()}),
                    _ => Value::Null,
                };
                let mut response = Response::new(Body::from(body.to_string()));
                if away.load(Ordering::SeqCst) {
                    *response.status_mut() = http::StatusCode::BAD_GATEWAY;
                }
                response
            }
        })
        .await;
        Self { issuer, keys, away, asked, _server: server }
    }

    /// Makes a key and shows it.
    fn key(&self, kid: &str) -> EncodingKey {
        let rng = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref()).unwrap();
        let point = pair.public_key().as_ref();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..65]));
        self.keys
            .lock()
            .unwrap()
            .push(json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": kid, "x": x, "y": y}));
        EncodingKey::from_ec_der(made.as_ref())
    }

    fn token(&self, kid: &str, key: &EncodingKey, roles: &[&str]) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let claims = json!({"iss": self.issuer, "aud": "shop", "sub": "ada", "exp": now + 600,
            "realm_access": {"roles": roles}});
        let header = Header { kid: Some(kid.into()), ..Header::new(Algorithm::ES256) };
        format!("Bearer {}", encode(&header, &claims, key).unwrap())
    }

    fn jwt(&self) -> Jwt {
        Jwt {
            issuer: Some(self.issuer.clone()),
            keys: KeySource::Issuer(self.issuer.clone()),
            audiences: vec!["shop".into()],
            algorithms: vec!["ES256".into()],
            leeway: Duration::from_secs(30),
            from: vec![Place::Header("authorization".into())],
            headers: BTreeMap::from([("x-roles".to_owned(), "realm_access.roles".to_owned())]),
            scopes: vec![],
            claims: BTreeMap::new(),
        }
    }
}

#[tokio::test]
async fn tokens_are_verified_by_what_the_issuer_publishes_and_outlive_its_absence() {
    let provider = Provider::start().await;
    let key = provider.key("one");
    let web = echo().await;
    let mut route = guarded(Auth { jwt: Some(provider.jwt()), ..Auth::default() });
    route.guard.authorize =
        Some("'admin' in auth.claims.realm_access.roles || request.method == 'PUT'".into());
    let tutti = Tutti::start(options(), vec![route.clone()], vec![passing("web", 0, web.addr)]).await;
    let ask =
        async |token: &str| with(tutti.edge, "/", &[("authorization", token), ("x-roles", "root")]).await;
    let good = provider.token("one", &key, &["admin", "dev"]);
    let answer = ask(&good).await;
    assert_eq!(answer.status(), 200, "{}", text(&answer));
    assert!(text(&answer).contains("x-roles: admin,dev") && !text(&answer).contains("root"));
    assert_eq!(code(&ask(&provider.token("one", &key, &["dev"])).await), (403, "TUT0544".into()));
    assert_eq!(code(&ask("Bearer a.b.c").await), (401, "TUT0543".into()));
    // A key that is not shown is asked for at most once in a while.
    let asked = provider.asked.load(Ordering::SeqCst);
    provider.away.store(true, Ordering::SeqCst);
    for _ in 0..5 {
        assert_eq!(code(&ask(&provider.token("two", &key, &["admin"])).await), (401, "TUT0543".into()));
    }
    assert_eq!(provider.asked.load(Ordering::SeqCst), asked);
    // The keys outlive a reload and the issuer's absence.
    tutti.handle.apply(routing(tutti_ports::routing::Serve::http(vec![route]))).await.unwrap();
    assert_eq!(ask(&provider.token("one", &key, &["admin"])).await.status(), 200);
}

#[tokio::test]
async fn without_keys_nobody_is_let_in() {
    let provider = Provider::start().await;
    let key = provider.key("one");
    provider.away.store(true, Ordering::SeqCst);
    let web = echo().await;
    let route = guarded(Auth { jwt: Some(provider.jwt()), optional: true, ..Auth::default() });
    let tutti = Tutti::start(options(), vec![route], vec![passing("web", 0, web.addr)]).await;
    let token = provider.token("one", &key, &[]);
    let refused = with(tutti.edge, "/", &[("authorization", &token)]).await;
    assert_eq!(code(&refused), (503, "TUT0550".into()));
    // Who brings nothing passes where that is allowed, as nobody.
    assert_eq!(with(tutti.edge, "/", &[]).await.status(), 200);
}

#[tokio::test]
async fn what_cannot_be_read_does_not_pass_as_nothing() {
    let web = echo().await;
    let hash = format!("blake3:{}", blake3::hash(b"secret").to_hex());
    let from = vec![Place::Cookie("session".into()), Place::Query("key".into())];
    let keys = ApiKeys { from, keys: BTreeMap::from([("mobile".to_owned(), hash)]), file: None };
    let route = guarded(Auth { optional: true, api_key: Some(keys), ..Auth::default() });
    let tutti = Tutti::start(options(), vec![route], vec![passing("web", 0, web.addr)]).await;
    assert_eq!(with(tutti.edge, "/", &[]).await.status(), 200);
    assert_eq!(with(tutti.edge, "/?key=secret", &[]).await.status(), 200);
    for path in ["/?key=a&key=b", "/?%6bey=forged"] {
        assert_eq!(code(&with(tutti.edge, path, &[]).await), (401, "TUT0543".into()), "{path}");
    }
    // Bytes that are no text hide the rest of the field from us, and not from every service.
    for cookie in [&b"x=\xff; session=forged"[..], b"session=a; session=b"] {
        let request = Request::get("/").header("host", "shop.test").header("cookie", cookie);
        let answer = send(tutti.edge, request.body(Body::empty()).unwrap()).await;
        assert_eq!(code(&answer), (401, "TUT0543".into()));
    }
}

#[tokio::test]
async fn files_of_credentials_are_read_again_when_they_change() {
    use argon2::password_hash::PasswordHasher as _;
    let dir = tempfile::tempdir().unwrap();
    let (keys, users) = (dir.path().join("keys"), dir.path().join("users"));
    let key = |name: &str, key: &str| format!("{name} blake3:{}\n", blake3::hash(key.as_bytes()).to_hex());
    let user = |name: &str, password: &str| {
        let params = argon2::Params::new(64, 1, 1, None).unwrap();
        let argon = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let hash = argon.hash_password_with_salt(password.as_bytes(), b"0123456789abcdef").unwrap();
        format!("{name}:{hash}\n")
    };
    let replace = crate::tls::replace;
    replace(&keys, key("mobile", "one").as_bytes());
    replace(&users, user("ada", "one").as_bytes());
    let web = echo().await;
    let api_key = ApiKeys { keys: BTreeMap::new(), file: Some(keys.clone()), ..api_key() };
    let basic = Basic { file: users.clone(), realm: "r".into() };
    let auth = Auth { api_key: Some(api_key), basic: Some(basic), ..Auth::default() };
    let hasty = Options { certificate_look: Duration::from_millis(10), ..options() };
    // Two routes that differ: both hear of it.
    let other = Route { name: "other".into(), hosts: vec!["other.test".into()], ..guarded(auth.clone()) };
    let tutti = Tutti::start(hasty, vec![guarded(auth), other], vec![passing("web", 0, web.addr)]).await;
    let by_key = async |key: &str| with(tutti.edge, "/", &[("x-api-key", key)]).await.status().as_u16();
    let by_password = async |password: &str| {
        let value = format!("Basic {}", STANDARD.encode(format!("ada:{password}")));
        with(tutti.edge, "/", &[("authorization", &value)]).await.status().as_u16()
    };
    assert_eq!((by_key("one").await, by_key("two").await), (200, 401));
    assert_eq!((by_password("one").await, by_password("two").await), (200, 401));
    // What is malformed, empty, no file or not there: nobody is turned away.
    let reloads = |kind: &str, result: &str| {
        format!("tutti_proxy_file_reloads_total{{kind=\"{kind}\",result=\"{result}\"}}")
    };
    for (count, text) in ["mobile one\n", "", "# none\n"].iter().enumerate() {
        replace(&keys, text.as_bytes());
        tutti.counted(&format!("{} {}", reloads("api_keys", "failed"), count + 1)).await;
        assert_eq!((by_key("one").await, by_key("two").await), (200, 401), "{text}");
    }
    std::fs::remove_file(&users).unwrap();
    std::fs::create_dir(&users).unwrap();
    tutti.counted(&reloads("passwords", "failed")).await;
    assert_eq!((by_password("one").await, by_password("two").await), (200, 401));
    std::fs::remove_dir(&users).unwrap();
    // Others are let in at once, and those who are not named any more are not, though their password was just right.
    replace(&keys, key("mobile", "two").as_bytes());
    replace(&users, user("ada", "two").as_bytes());
    tutti.counted(&reloads("api_keys", "ok")).await;
    tutti.counted(&reloads("passwords", "ok")).await;
    assert_eq!((by_key("one").await, by_key("two").await), (401, 200));
    assert_eq!((by_password("one").await, by_password("two").await), (401, 200));
    let request = Request::get("/").header("host", "other.test").header("x-api-key", "two");
    assert_eq!(send(tutti.edge, request.body(Body::empty()).unwrap()).await.status(), 200);
}
