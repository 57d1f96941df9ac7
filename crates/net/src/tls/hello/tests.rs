//! What a real client sends, and what nobody should.

use proptest::prelude::*;
use rustls::pki_types::ServerName;

use super::*;

/// What rustls says first.
fn real(name: &str, alpn: &[&str]) -> Vec<u8> {
    let mut config = rustls::ClientConfig::builder_with_provider(crate::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let mut out = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut out).unwrap();
    }
    out
}

/// The message of [`real`] in records of so many bytes.
fn in_records(whole: &[u8], size: usize) -> Vec<u8> {
    let parts = whole[5..].chunks(size.max(1));
    parts
        .flat_map(|part| [&[22, 3, 1, (part.len() >> 8) as u8, part.len() as u8][..], part].concat())
        .collect()
}

/// A message with these extensions.
fn made(extensions: &[(u16, &[u8])]) -> Vec<u8> {
    let mut all = Vec::new();
    for (kind, content) in extensions {
        all.extend_from_slice(&kind.to_be_bytes());
        all.extend_from_slice(&(content.len() as u16).to_be_bytes());
        all.extend_from_slice(content);
    }
    let mut body = vec![3, 3];
    body.extend_from_slice(&[7; 32]);
    body.extend_from_slice(&[0, 0, 2, 0x13, 1, 1, 0]);
    body.extend_from_slice(&(all.len() as u16).to_be_bytes());
    body.extend_from_slice(&all);
    let mut message = vec![22, 3, 1];
    message.extend_from_slice(&(body.len() as u16 + 4).to_be_bytes());
    message.extend_from_slice(&[1, 0, (body.len() >> 8) as u8, body.len() as u8]);
    message.extend_from_slice(&body);
    message
}

/// The extension for a name.
fn name(text: &[u8]) -> Vec<u8> {
    let length = text.len() as u16;
    let list = length + 3;
    [&list.to_be_bytes()[..], &[0], &length.to_be_bytes(), text].concat()
}

#[test]
fn a_real_client_is_understood_however_its_bytes_come() {
    let whole = real("Shop.test", &["h2", "http/1.1"]);
    let hello = read(&whole).unwrap().unwrap();
    assert_eq!(hello.sni.as_deref(), Some("shop.test"));
    assert_eq!(hello.alpn, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    for cut in 0..whole.len() {
        assert_eq!(read(&whole[..cut]), Ok(None), "{cut}");
    }
    for size in [1, 3, 4, 5, 100, 1000] {
        assert_eq!(read(&in_records(&whole, size)), Ok(Some(hello.clone())), "{size}");
    }
    assert_eq!(read(&real("127.0.0.1", &[])).unwrap().unwrap(), Hello::default());
}

#[test]
fn what_is_not_exact_is_refused() {
    let good = |text: &[u8]| read(&made(&[(0, &name(text))])).map(|hello| hello.unwrap().sni.unwrap());
    assert_eq!(good(b"a-b_c.TEST."), Ok("a-b_c.test".to_owned()));
    for bad in [
        &b""[..],
        b".",
        b"a..b",
        b"a b",
        b"a\0b",
        b"1.2.3.4",
        b"[::1]",
        b"a:1",
        "caf\u{e9}".as_bytes(),
        &[b'a'; 64],
    ] {
        assert!(good(bad).is_err(), "{bad:?}");
    }
    let one = name(b"a.test");
    let mut longer = one.clone();
    longer.push(0);
    let two = [&[0, 18][..], &one[2..], &one[2..]].concat();
    let other = [&[0, 9, 1][..], &one[3..]].concat();
    for (bad, why) in [
        (made(&[(0, &longer)]), "something follows the list"),
        (made(&[(0, &two)]), "two names"),
        (made(&[(0, &other)]), "another kind"),
        (made(&[(0, &one), (0, &one)]), "the extension twice"),
        (made(&[(16, &[])]), "no list of protocols"),
        (made(&[(16, &[0, 1, 0])]), "an empty protocol"),
        (made(&[(16, &[0, 3, 2, b'h'])]), "a protocol that ends too early"),
        (b"GET / HTTP/1.1\r\n".to_vec(), "HTTP"),
        (vec![22, 2, 0, 0, 5], "SSL 2"),
        (vec![22, 3, 1, 0, 0], "an empty record"),
        (vec![22, 3, 1, 0xff, 0xff], "a record that is too long"),
        (vec![22, 3, 1, 0, 4, 2, 0, 0, 0], "another message"),
        (vec![22, 3, 1, 0, 4, 1, 1, 0, 0], "a message that is too long"),
    ] {
        assert!(read(&bad).is_err(), "{why}");
    }
    assert_eq!(read(&made(&[(99, b"x")])), Ok(Some(Hello::default())));
}

#[test]
fn the_seeds_and_their_mutations() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/client_hello");
    let mut seeds: Vec<Vec<u8>> = vec![made(&[(0, &name(b"a.test"))]), real("shop.test", &["h2"])];
    if std::env::var_os("TUTTI_UPDATE").is_some() {
        let more = in_records(&real("shop.test", &["h2"]), 7);
        for (file, seed) in [("made", &seeds[0]), ("real", &seeds[1]), ("records", &more)] {
            std::fs::write(folder.join(file), seed).unwrap();
        }
    }
    let files = std::fs::read_dir(folder).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
    seeds.extend(files);
    assert!(seeds.len() > 4);
    for seed in seeds {
        for at in 0..seed.len() {
            for octet in [0, 1, seed[at].wrapping_add(1), 0xff] {
                let mut changed = seed.clone();
                changed[at] = octet;
                fuzz(&changed);
            }
        }
    }
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(bytes: Vec<u8>) {
        fuzz(&bytes);
    }
}
