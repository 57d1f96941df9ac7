//! Floods, frame by frame. What each may cost is measured: the requests that a handler saw, the bytes that were made.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;

use super::*;
use crate::Body;
use crate::h2::testing::{GET, PREFACE, frame, goodbye, next, opening, serve, setting, until};
use crate::testing::ok;

/// Sends frames until the server has had enough; the code with which it closes, and what its handler was told.
async fn flood(one: &[u8], most: u32) -> (Option<u32>, Vec<&'static str>) {
    let (mut client, handler, task) = serve(|_| async { std::future::pending().await });
    client.write_all(&opening()).await.unwrap();
    client.write_all(&frame(1, 5, 1, GET)).await.unwrap();
    for _ in 0..most {
        if client.write_all(one).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    // The server may have closed already.
    let _ = client.shutdown().await;
    let code = goodbye(&mut client).await;
    drop(client);
    task.await.unwrap();
    let floods = handler.floods.lock().unwrap().clone();
    (code, floods)
}

const CALM: Option<u32> = Some(11);

#[tokio::test(start_paused = true)]
async fn floods_of_frames_that_carry_nothing_are_ended() {
    let most = limits::HTTP2_CONTROL_FRAMES + 100;
    for (what, one) in [
        ("PING", frame(6, 0, 0, &[0; 8])),
        ("SETTINGS", frame(4, 0, 0, &setting(4, 65_535))),
        ("empty SETTINGS", frame(4, 0, 0, &[])),
        ("PRIORITY", frame(2, 0, 3, &[0, 0, 0, 0, 16])),
        ("WINDOW_UPDATE", frame(8, 0, 0, &1_u32.to_be_bytes())),
        ("unknown", frame(0x42, 0, 0, b"x")),
        ("PRIORITY_UPDATE", frame(16, 0, 0, &[0, 0, 0, 1])),
        ("answers to no PING", frame(6, 1, 0, &[0; 8])),
    ] {
        let (code, floods) = flood(&one, most).await;
        assert_eq!(code, CALM, "{what}");
        assert_eq!(floods, [Flood::Control.reason()], "{what}");
        let (code, floods) = flood(&one, limits::HTTP2_CONTROL_FRAMES - 100).await;
        assert!(floods.is_empty() && code != CALM, "{what}: {code:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_empty_data_is_ended() {
    let (mut client, handler, _task) = serve(|request| async move {
        let _ = request.into_body().collect(1 << 20).await;
        ok("done")
    });
    client.write_all(&opening()).await.unwrap();
    client.write_all(&frame(1, 4, 1, b"\x83\x86\x84\x41\x01h")).await.unwrap();
    for _ in 0..limits::HTTP2_CONTROL_FRAMES + 100 {
        let _ = client.write_all(&frame(0, 0, 1, &[])).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(goodbye(&mut client).await, CALM);
    assert_eq!(handler.floods.lock().unwrap().len(), 1);
}

/// CVE-2023-44487.
#[tokio::test(start_paused = true)]
async fn rapid_reset_is_bounded() {
    for pause in [false, true] {
        let seen = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&seen);
        let (mut client, handler, task) = serve(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            async { std::future::pending().await }
        });
        client.write_all(&opening()).await.unwrap();
        for number in 0..5_000_u32 {
            let stream = 2 * number + 1;
            let pair = [frame(1, 5, stream, GET), frame(3, 0, stream, &8_u32.to_be_bytes())].concat();
            if client.write_all(&pair).await.is_err() {
                break;
            }
            if pause {
                // The server gets to see each request before it is cancelled.
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(goodbye(&mut client).await, CALM, "{pause}");
        drop(client);
        task.await.unwrap();
        assert_eq!(handler.floods.lock().unwrap().len(), 1, "{pause}");
        let seen = seen.load(Ordering::Relaxed);
        assert!(seen <= limits::HTTP2_CANCELLED as usize + 1, "{pause}: a handler saw {seen} requests");
    }
}

/// The head never ends (CVE-2024-27316 and its like).
#[tokio::test(start_paused = true)]
async fn a_continuation_flood_is_bounded() {
    for piece in [&b"\x00\x01a\x01b"[..], b"", &[0x82; 16_000]] {
        let (mut client, handler, task) = serve(|_| async { ok("no") });
        client.write_all(&opening()).await.unwrap();
        client.write_all(&frame(1, 1, 1, GET)).await.unwrap();
        let mut sent = 0;
        for _ in 0..1_000 {
            sent += 1;
            if client.write_all(&frame(9, 0, 1, piece)).await.is_err() {
                break;
            }
        }
        assert!(matches!(goodbye(&mut client).await, Some(11 | 1)), "{}", piece.len());
        drop(client);
        task.await.unwrap();
        assert!(sent <= 1_000 && handler.refusals.lock().unwrap().is_empty());
    }
}

/// A field of 4 kB is put into the table once and named 16,000 times: 64 MB in 16 kB.
#[tokio::test(start_paused = true)]
async fn an_hpack_bomb_is_refused_and_not_unpacked() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let (mut client, _, _task) = serve(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        async { ok("fine") }
    });
    client.write_all(&opening()).await.unwrap();
    let mut first = GET.to_vec();
    // A literal with incremental indexing, name "x", value of 4,000 octets.
    first.extend(b"\x40\x01x\x7f\xa1\x1e");
    first.extend(vec![b'a'; 4_000]);
    client.write_all(&frame(1, 5, 1, &first)).await.unwrap();
    assert_eq!(until(&mut client, 1).await.unwrap().stream, 1);
    let mut bomb = GET.to_vec();
    bomb.extend(vec![0xbe; 16_000]);
    client.write_all(&frame(1, 5, 3, &bomb)).await.unwrap();
    let mut refused = false;
    while let Some(got) = next(&mut client).await {
        // 431 as h2 writes it, a reset, or the end.
        refused |= got.stream == 3 && matches!(got.kind, 1 | 3) || got.kind == 7;
        if got.kind == 3 || got.kind == 7 || got.kind == 1 && got.flags & 1 == 1 {
            break;
        }
    }
    assert!(refused);
    assert_eq!(seen.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_head_over_the_limit_and_streams_over_the_limit_are_refused() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let (mut client, _, _task) = serve(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        async { std::future::pending().await }
    });
    client.write_all(&opening()).await.unwrap();
    for number in 0..limits::HTTP2_STREAMS + 1 {
        client.write_all(&frame(1, 5, 2 * number + 1, GET)).await.unwrap();
    }
    let refused = until(&mut client, 3).await.unwrap();
    // REFUSED_STREAM: the client knows that it may ask again.
    assert_eq!((refused.stream, &refused.payload[..]), (2 * limits::HTTP2_STREAMS + 1, &[0, 0, 0, 7][..]));
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(seen.load(Ordering::Relaxed), limits::HTTP2_STREAMS as usize);

    // 80 fields of 1 kB, each of another name, in pieces.
    let mut head = GET.to_vec();
    for number in 0..80_u8 {
        head.extend([0, 2, b'a' + number / 26, b'a' + number % 26, 0x7f, 0xe1, 0x06]);
        head.extend(vec![b'v'; 992]);
    }
    let (mut client, handler, _task) = serve(|_| async { ok("no") });
    client.write_all(&opening()).await.unwrap();
    let pieces: Vec<_> = head.chunks(16_000).collect();
    for (at, piece) in pieces.iter().enumerate() {
        let last = u8::from(at + 1 == pieces.len()) * 4;
        let one = if at == 0 { frame(1, 1 | last, 1, piece) } else { frame(9, last, 1, piece) };
        client.write_all(&one).await.unwrap();
    }
    let answer = until(&mut client, 1).await.unwrap();
    // `:status 431` (RFC 7541 section 6.2.1, with the code of appendix B).
    assert_eq!(answer.payload, [0x48, 0x83, 0x69, 0x90, 0xff]);
    assert!(handler.refusals.lock().unwrap().is_empty());
}

/// Windows as large as they may be, and a client that reads nothing: what is made for it is bounded.
#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_holds_little() {
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let (mut client, _, task) = serve(move |_| {
        let count = Arc::clone(&count);
        async move {
            let (mut sender, body) = Body::channel(1);
            tokio::spawn(async move {
                while sender.send(Bytes::from(vec![0; 16 << 10])).await.is_ok() {
                    count.fetch_add(16 << 10, Ordering::Relaxed);
                }
            });
            ok(body)
        }
    });
    client.write_all(&[PREFACE, &frame(4, 0, 0, &setting(4, (1 << 31) - 1))[..]].concat()).await.unwrap();
    client.write_all(&frame(8, 0, 0, &((1_u32 << 31) - 65_536).to_be_bytes())).await.unwrap();
    for number in 0..limits::HTTP2_STREAMS {
        client.write_all(&frame(1, 5, 2 * number + 1, GET)).await.unwrap();
    }
    let began = Instant::now();
    // Not a byte is read until the server has given up.
    task.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(240), "{:?}", began.elapsed());
    let held = made.load(Ordering::Relaxed);
    let bound = limits::HTTP2_STREAMS as usize * (limits::HTTP2_SEND_BUFFER + (48 << 10)) + (1 << 20);
    println!("held for a client that reads nothing: {held} bytes (at most {bound})");
    assert!(held <= bound, "{held}");
    drop(client);
}

/// What real clients do: a long download with two window updates and a ping for each frame.
#[tokio::test(start_paused = true)]
async fn a_busy_client_is_not_taken_for_a_flood() {
    let (mut client, handler, _task) = serve(|_| async { ok(vec![7; 40 << 20]) });
    client.write_all(&opening()).await.unwrap();
    client.write_all(&frame(1, 5, 1, GET)).await.unwrap();
    let mut got = 0;
    while got < 40 << 20 {
        let data = until(&mut client, 0).await.unwrap();
        got += data.payload.len();
        let more = u32::try_from(data.payload.len()).unwrap().to_be_bytes();
        let words = [frame(8, 0, 0, &more), frame(8, 0, 1, &more), frame(6, 0, 0, &[1; 8])].concat();
        client.write_all(&words).await.unwrap();
    }
    assert!(handler.floods.lock().unwrap().is_empty());
}

#[test]
fn an_allowance_grows_with_time_up_to_its_size() {
    let now = Instant::now();
    let mut allowance = Allowance::new(10, 50, now);
    assert!((0..10).all(|_| !allowance.take(now)));
    assert!(allowance.take(now));
    assert!(!allowance.take(now + Duration::from_millis(20)));
    let later = now + Duration::from_secs(60);
    assert!((0..10).all(|_| !allowance.take(later)));
    assert!(allowance.take(later));
}
