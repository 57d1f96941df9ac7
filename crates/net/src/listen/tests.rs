//! Real listening sockets.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn loopback() -> Addr {
    Addr::Tcp("127.0.0.1:0".parse().unwrap())
}

#[tokio::test]
async fn accepted_connections_send_at_once() {
    let listener = Listener::bind(&loopback(), &ListenOptions::default()).unwrap();
    let addr = listener.socket_addr().unwrap();
    let (client, accepted) = tokio::join!(tokio::net::TcpStream::connect(addr), listener.accept());
    let (stream, peer) = accepted.unwrap();
    assert_eq!(peer, Addr::Tcp(client.unwrap().local_addr().unwrap()));
    assert_eq!(stream.nodelay(), Some(true));
}

#[tokio::test]
async fn several_listeners_share_a_port_only_if_they_all_say_so() {
    let shared = ListenOptions { reuse_port: true, ..ListenOptions::default() };
    let first = Listener::bind(&loopback(), &shared).unwrap();
    let second = Listener::bind(first.local_addr(), &shared);
    assert!(second.is_ok());
    let error = Listener::bind(first.local_addr(), &ListenOptions::default()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn all_addresses_means_both_families_and_ipv4_peers_look_like_ipv4() {
    let any = Addr::Tcp("[::]:0".parse().unwrap());
    let Ok(listener) = Listener::bind(&any, &ListenOptions::default()) else {
        eprintln!("skipped: this machine has no IPv6");
        return;
    };
    let port = listener.socket_addr().unwrap().port();
    let (client, accepted) =
        tokio::join!(tokio::net::TcpStream::connect(("127.0.0.1", port)), listener.accept());
    client.unwrap();
    assert!(accepted.unwrap().1.socket_addr().unwrap().is_ipv4());

    let only = ListenOptions { dual_stack: Some(false), ..ListenOptions::default() };
    let listener = Listener::bind(&any, &only).unwrap();
    let port = listener.socket_addr().unwrap().port();
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err());
    assert!(tokio::net::TcpStream::connect(("::1", port)).await.is_ok());
}

#[tokio::test]
async fn a_unix_socket_is_private_and_its_file_goes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    let listener = Listener::bind(&Addr::unix(&path), &ListenOptions::default()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no other name is left");

    let addr = Addr::unix(&path);
    let dialled = Stream::connect(&addr, std::time::Duration::from_secs(5));
    let (client, accepted) = tokio::join!(dialled, listener.accept());
    let (mut client, (mut server, peer)) = (client.unwrap(), accepted.unwrap());
    assert_eq!(peer, Addr::Unix(None));
    client.write_all(b"x").await.unwrap();
    assert_eq!(server.read_u8().await.unwrap(), b'x');

    // It lives: nobody else may take it.
    let error = Listener::bind(&Addr::unix(&path), &ListenOptions::default()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    drop(listener);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced_but_another_file_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "what a killed process leaves");
    drop(Listener::bind(&Addr::unix(&path), &ListenOptions::default()).unwrap());

    std::fs::write(&path, "precious").unwrap();
    let error = Listener::bind(&Addr::unix(&path), &ListenOptions::default()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}
