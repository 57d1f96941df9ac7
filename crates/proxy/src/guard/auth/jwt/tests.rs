//! Tokens that are good, and all the ways in which they are not.

use super::super::keyring::{discovered, parse};
use super::*;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;
use tutti_ports::routing::{KeySource, Place};

/// A key of an issuer, and how it shows it.
pub struct Signer {
    key: EncodingKey,
    pub jwk: Value,
}

pub fn signer(kid: Option<&str>) -> Signer {
    let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref()).unwrap();
    let point = pair.public_key().as_ref();
    let part = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
    let mut jwk = json!({"kty": "EC", "crv": "P-256", "use": "sig", "x": part(1..33), "y": part(33..65)});
    if let Some(kid) = kid {
        jwk["kid"] = kid.into();
    }
    Signer { key: EncodingKey::from_ec_der(made.as_ref()), jwk }
}

impl Signer {
    fn token(&self, kid: Option<&str>, claims: &Value) -> String {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::ES256) };
        encode(&header, claims, &self.key).unwrap()
    }
}

fn config() -> routing::Jwt {
    routing::Jwt {
        issuer: Some("https://id.test/".into()),
        keys: KeySource::File("/nowhere".into()),
        audiences: vec!["shop".into()],
        algorithms: vec!["ES256".into(), "RS256".into()],
        leeway: Duration::from_secs(10),
        from: vec![Place::Header("authorization".into())],
        headers: [("x-roles".to_owned(), "realm.roles".to_owned())].into(),
        scopes: vec![],
        claims: BTreeMap::new(),
    }
}

fn with_keys(config: routing::Jwt, keys: &[&Value]) -> Jwt {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("jwks.json");
    std::fs::write(&file, json!({"keys": keys}).to_string()).unwrap();
    let config = routing::Jwt { keys: KeySource::File(file), ..config };
    Jwt::compile(&config, &mut Keyrings::default()).unwrap()
}

fn claims() -> Value {
    json!({"iss": "https://id.test/", "aud": "shop", "sub": "ada", "exp": now() + 60, "realm": {"roles": ["a", "b"]}})
}

async fn verdict(jwt: &Jwt, token: &str) -> &'static str {
    match jwt.identify(token).await {
        Ok(_) => "good",
        Err(Denied::Unknown(_)) => "unknown",
        Err(Denied::Forbidden(_)) => "forbidden",
        Err(Denied::Unavailable(_) | Denied::Busy) => "unavailable",
    }
}

#[tokio::test]
async fn a_good_token_says_who_asks() {
    let signer = signer(Some("1"));
    let jwt = with_keys(config(), &[&signer.jwk]);
    let token = signer.token(Some("1"), &claims());
    for _ in 0..2 {
        let who = jwt.identify(&token).await.unwrap();
        let fields: Vec<_> = who.fields.iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect();
        assert_eq!(
            (&*who.name, fields),
            ("ada", vec!["x-tutti-consumer=ada".to_owned(), "x-roles=a,b".to_owned()])
        );
    }
    assert_eq!(jwt.verified.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_wrong_with_the_claims_is_found() {
    let signer = signer(Some("1"));
    let jwt = with_keys(config(), &[&signer.jwk]);
    for (name, value) in [
        ("iss", json!("https://evil.test/")),
        ("iss", json!("https://id.test")),
        ("iss", Value::Null),
        ("aud", json!("other")),
        ("aud", Value::Null),
        ("exp", json!(now() - 11)),
        ("exp", Value::Null),
        ("nbf", json!(now() + 60)),
    ] {
        let mut claims = claims();
        match &value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
        assert_eq!(verdict(&jwt, &signer.token(Some("1"), &claims)).await, "unknown", "{name} {value}");
    }
    let mut late = claims();
    late["exp"] = json!(now() - 5);
    assert_eq!(verdict(&jwt, &signer.token(Some("1"), &late)).await, "good", "within the leeway");
    late["aud"] = json!(["other", "shop"]);
    assert_eq!(verdict(&jwt, &signer.token(Some("1"), &late)).await, "good", "one of several audiences");
}

#[tokio::test]
async fn nobody_can_talk_us_into_another_algorithm_or_key() {
    let (one, two) = (signer(Some("1")), signer(Some("2")));
    let jwt = with_keys(config(), &[&one.jwk, &two.jwk]);
    let good = one.token(Some("1"), &claims());
    assert_eq!(verdict(&jwt, &good).await, "good");
    // Signed by one key and naming another, or none where there are two.
    for token in
        [one.token(Some("2"), &claims()), one.token(Some("3"), &claims()), one.token(None, &claims())]
    {
        assert_eq!(verdict(&jwt, &token).await, "unknown");
    }
    let body = good.split('.').nth(1).unwrap();
    let forged = |head: Value, signature: &str| {
        format!("{}.{body}.{signature}", URL_SAFE_NO_PAD.encode(head.to_string()))
    };
    let signature = good.rsplit('.').next().unwrap();
    for token in [
        forged(json!({"alg": "none", "kid": "1"}), ""),
        forged(json!({"alg": "None", "kid": "1"}), ""),
        forged(json!({"alg": "ES384", "kid": "1"}), signature),
        forged(json!({"alg": "ES256", "kid": 1}), signature),
        forged(json!({"alg": "ES256", "kid": "1", "crit": ["b64"], "b64": false}), signature),
        forged(json!({"kid": "1"}), signature),
        format!("{good}.x"),
        good.rsplit_once('.').unwrap().0.to_owned(),
        String::new(),
    ] {
        assert_eq!(verdict(&jwt, &token).await, "unknown", "{token}");
    }
    // The public key as a shared secret.
    let secret = EncodingKey::from_secret(one.jwk.to_string().as_bytes());
    let header = Header { kid: Some("1".into()), ..Header::new(Algorithm::HS256) };
    assert_eq!(verdict(&jwt, &encode(&header, &claims(), &secret).unwrap()).await, "unknown");
    let shared = routing::Jwt { algorithms: vec!["HS256".into()], ..config() };
    assert!(
        Jwt::compile(&shared, &mut Keyrings::default())
            .err()
            .unwrap()
            .contains("no algorithm with a public key")
    );
    // A single key needs no name.
    let nameless = signer(None);
    let jwt = with_keys(config(), &[&nameless.jwk]);
    assert_eq!(verdict(&jwt, &nameless.token(None, &claims())).await, "good");
}

#[tokio::test]
async fn scopes_and_claims_are_asked_for() {
    let signer = signer(Some("1"));
    let scopes = vec!["read".to_owned(), "write".to_owned()];
    let claim = ("realm.roles".to_owned(), vec!["b".to_owned(), "c".to_owned()]);
    let jwt = with_keys(routing::Jwt { scopes, claims: [claim].into(), ..config() }, &[&signer.jwk]);
    let ask = async |change: &dyn Fn(&mut Value)| {
        let mut claims = claims();
        claims["scope"] = json!("openid read write");
        change(&mut claims);
        verdict(&jwt, &signer.token(Some("1"), &claims)).await
    };
    assert_eq!(ask(&|_| {}).await, "good");
    assert_eq!(ask(&|claims| claims["scope"] = json!("read")).await, "forbidden");
    assert_eq!(
        ask(&|claims| {
            claims["scope"] = json!("");
            claims["scp"] = json!(["read", "write"])
        })
        .await,
        "good"
    );
    assert_eq!(ask(&|claims| claims["realm"]["roles"] = json!(["a"])).await, "forbidden");
    assert_eq!(ask(&|claims| claims["realm"] = json!("b")).await, "forbidden");
}

#[tokio::test]
async fn tokens_of_any_tenant_are_of_their_own_tenant() {
    let tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47";
    let issuer = "https://login.test/{tenantid}/v2.0";
    let signer = signer(Some("1"));
    let jwt = with_keys(routing::Jwt { issuer: Some(issuer.into()), ..config() }, &[&signer.jwk]);
    for (iss, tid, expected) in [
        (tenant, tenant, "good"),
        (tenant, "00000000-0000-0000-0000-000000000000", "unknown"),
        ("common", "common", "unknown"),
        ("{tenantid}", "{tenantid}", "unknown"),
        ("x/../y", "x/../y", "unknown"),
    ] {
        let mut claims = claims();
        claims["iss"] = issuer.replace("{tenantid}", iss).into();
        claims["tid"] = tid.into();
        assert_eq!(verdict(&jwt, &signer.token(Some("1"), &claims)).await, expected, "{iss} {tid}");
    }
}

#[test]
fn discovery_documents_of_the_known_providers_are_understood() {
    let document = |issuer: &str, keys: &str| {
        json!({"issuer": issuer, "jwks_uri": keys, "id_token_signing_alg_values_supported": ["RS256"]})
            .to_string()
    };
    for (asked, issuer, keys) in [
        // Keycloak: a realm.
        (
            "http://localhost:8180/realms/shop",
            "http://localhost:8180/realms/shop",
            "http://localhost:8180/realms/shop/protocol/openid-connect/certs",
        ),
        // Entra ID: one tenant, and any.
        (
            "https://login.test/72f988bf/v2.0",
            "https://login.test/72f988bf/v2.0",
            "https://login.test/72f988bf/discovery/v2.0/keys",
        ),
        (
            "https://login.test/common/v2.0",
            "https://login.test/{tenantid}/v2.0",
            "https://login.test/common/discovery/v2.0/keys",
        ),
        (
            "https://login.test/organizations/v2.0",
            "https://login.test/{tenantid}/v2.0",
            "https://login.test/organizations/discovery/v2.0/keys",
        ),
        // Okta: an authorization server.
        (
            "https://dev-1.okta.test/oauth2/default",
            "https://dev-1.okta.test/oauth2/default",
            "https://dev-1.okta.test/oauth2/default/v1/keys",
        ),
        // Auth0: a slash at the end.
        (
            "https://shop.auth0.test",
            "https://shop.auth0.test/",
            "https://shop.auth0.test/.well-known/jwks.json",
        ),
    ] {
        assert_eq!(
            discovered(asked, &document(issuer, keys)),
            Ok((issuer.to_owned(), keys.to_owned())),
            "{asked}"
        );
    }
    let other = document("https://evil.test/v2.0", "https://evil.test/keys");
    assert!(
        discovered("https://login.test/v2.0", &other)
            .unwrap_err()
            .contains("is of \"https://evil.test/v2.0\"")
    );
    let plain = document("https://login.test", "http://login.test/keys");
    assert!(discovered("https://login.test", &plain).unwrap_err().contains("from https to something else"));
    assert!(discovered("https://login.test", "<html>").is_err());
}

#[test]
fn only_public_keys_for_signatures_are_kept() {
    let good = signer(Some("1")).jwk;
    let change = |name: &str, value: Value| {
        let mut key = good.clone();
        key[name] = value;
        key
    };
    let secret = json!({"kty": "oct", "kid": "1", "k": "c2VjcmV0"});
    for bad in [
        secret,
        change("use", json!("enc")),
        change("key_ops", json!(["sign"])),
        change("alg", json!("ECDH-ES")),
        change("alg", json!("HS256")),
        change("crv", json!("P-521")),
        json!({"kty": "new", "kid": "1"}),
        json!(7),
    ] {
        let set = json!({"keys": [bad]}).to_string();
        if let Ok(keys) = parse(&set, None) {
            assert!(keys.find(Some("1"), Algorithm::ES256).is_err(), "{set}");
        }
        let both = json!({"keys": [bad, good]}).to_string();
        assert!(parse(&both, None).unwrap().find(Some("1"), Algorithm::ES256).is_ok(), "{both}");
    }
    let twice = json!({"keys": [good, signer(Some("1")).jwk]}).to_string();
    assert!(parse(&twice, None).unwrap().find(Some("1"), Algorithm::ES256).is_err());
}
