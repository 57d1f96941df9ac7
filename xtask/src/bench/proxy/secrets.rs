//! A certificate and a token for one run, made by openssl.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::shell;

/// The files of a run.
pub struct Secrets {
    /// An ECDSA P-256 certificate for 127.0.0.1.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The public RSA key that tokens are checked with.
    pub jwt_public: PathBuf,
    /// The same as a JWK Set (RFC 7517).
    pub jwks: PathBuf,
    /// A token (RFC 7519) signed with RS256.
    pub token: String,
}

impl Secrets {
    /// Makes them in a folder.
    pub fn make(folder: &Path) -> Result<Self> {
        let openssl = |args: &str| {
            let mut command = Command::new("openssl");
            shell::output(command.args(args.split(' ')).current_dir(folder))
        };
        openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=bench \
                 -addext subjectAltName=IP:127.0.0.1,DNS:localhost -keyout key.pem -out cert.pem"
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .as_str(),
        )?;
        openssl("genrsa -out jwt.pem 2048")?;
        openssl("rsa -in jwt.pem -pubout -out jwt-public.pem")?;
        let modulus = openssl("rsa -in jwt.pem -noout -modulus")?;
        let modulus = hex(modulus.trim().trim_start_matches("Modulus=")).context("no modulus")?;
        let jwks = serde_json::json!({"keys": [{
            "kty": "RSA", "kid": "bench", "alg": "RS256", "use": "sig", "e": "AQAB", "n": base64url(&modulus),
        }]});
        fs::write(folder.join("jwks.json"), jwks.to_string())?;
        let header = base64url(br#"{"alg":"RS256","typ":"JWT","kid":"bench"}"#);
        let claims = base64url(br#"{"iss":"https://bench.test","sub":"wrk","aud":"bench","exp":4102444800}"#);
        let signed = format!("{header}.{claims}");
        fs::write(folder.join("signed"), &signed)?;
        openssl("dgst -sha256 -sign jwt.pem -out signature signed")?;
        let token = format!("{signed}.{}", base64url(&fs::read(folder.join("signature"))?));
        let file = |name: &str| folder.join(name);
        Ok(Self {
            cert: file("cert.pem"),
            key: file("key.pem"),
            jwt_public: file("jwt-public.pem"),
            jwks: file("jwks.json"),
            token,
        })
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// RFC 4648 section 5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let word =
            group.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for at in 0..=group.len() {
            let six = (word >> (18 - 6 * at) & 63) as usize;
            out.push(ALPHABET.get(six).copied().map_or('?', char::from));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_the_rfc_has_them() {
        for (bytes, text) in [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64url(bytes.as_bytes()), text);
        }
        assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
        assert_eq!(hex("00fF"), Some(vec![0, 255]));
        assert_eq!(hex("0g"), None);
    }
}
