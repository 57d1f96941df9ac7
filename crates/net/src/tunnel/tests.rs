//! Tunnels between real streams.

use super::*;
use crate::testing::{Raw, tcp_pair};

#[tokio::test]
async fn bytes_go_both_ways_and_one_side_may_end_first() {
    let (client, a) = tcp_pair().await;
    let (b, server) = Stream::pair().unwrap();
    let copying = tokio::spawn(tunnel(a, b, Duration::ZERO));
    let (mut client, mut server) = (Raw::new(client), Raw::new(server));
    client.send("hello").await;
    server.until("hello").await;
    client.close_writing().await;
    assert_eq!(server.rest().await, "", "the end is passed on");
    server.send("still here").await;
    client.until("still here").await;
    server.close_writing().await;
    assert_eq!(client.rest().await, "");
    let done = copying.await.unwrap();
    assert_eq!((done.a_to_b, done.b_to_a), (5, 10));
    assert!(matches!(done.end, End::Closed), "{:?}", done.end);
}

#[tokio::test(start_paused = true)]
async fn silence_both_ways_ends_it_and_traffic_one_way_does_not() {
    let (mut client, a) = Stream::pair().unwrap();
    let (b, server) = Stream::pair().unwrap();
    let copying = tokio::spawn(tunnel(a, b, Duration::from_secs(10)));
    let mut server = Raw::new(server);
    let began = tokio::time::Instant::now();
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(8)).await;
        tokio::io::AsyncWriteExt::write_all(&mut client, b"x").await.unwrap();
        server.until("x").await;
    }
    let done = copying.await.unwrap();
    assert!(matches!(done.end, End::Idle), "{:?}", done.end);
    assert_eq!((done.a_to_b, began.elapsed().as_secs()), (5, 50));
}

#[tokio::test]
async fn much_passes_unharmed() {
    let (client, a) = tcp_pair().await;
    let (b, server) = tcp_pair().await;
    let copying = tokio::spawn(tunnel(a, b, Duration::ZERO));
    let payload: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 253) as u8).collect();
    let (mut client, mut server) = (client, server);
    let send = async {
        tokio::io::AsyncWriteExt::write_all(&mut client, &payload).await.unwrap();
        tokio::io::AsyncWriteExt::shutdown(&mut client).await.unwrap();
    };
    let mut got = Vec::new();
    let receive = tokio::io::AsyncReadExt::read_to_end(&mut server, &mut got);
    let ((), read) = tokio::join!(send, receive);
    read.unwrap();
    assert!(got == payload);
    drop(server);
    assert_eq!(copying.await.unwrap().a_to_b, 5_000_000);
}
