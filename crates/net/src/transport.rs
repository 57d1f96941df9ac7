//! What comes before a connection's first byte of HTTP: TLS.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tutti_core::limits;

use crate::server::{ConnectionInfo, Protocol};
use crate::stream::Stream;
use crate::tls::{self, server::HandshakeError};

/// How the connections of a listener are carried.
#[derive(Debug, Default)]
pub struct Transport {
    /// TLS.
    pub tls: Option<Arc<tls::Server>>,
}

/// Why a connection did not come as far as its first request.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The TLS handshake failed.
    #[error("the TLS handshake failed")]
    Handshake(#[source] HandshakeError),
    /// Plain HTTP was spoken where TLS is.
    #[error("plain HTTP was spoken at a port of HTTPS")]
    PlainHttp,
    /// The client closed before it said anything.
    #[error("the client said nothing")]
    Silent,
}

impl Failure {
    /// One word for metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Failure::Handshake(error) => error.as_str(),
            Failure::PlainHttp => "plain_http",
            Failure::Silent => "silent",
        }
    }
}

/// The first byte of a TLS record that holds a handshake (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;

impl Transport {
    /// Begins a connection: what comes back is as the client and we have agreed. A stream that comes back with a failure is
    /// one to tell it to.
    pub(crate) async fn begin(
        &self,
        mut stream: Stream,
        mut info: ConnectionInfo,
    ) -> Result<(Stream, ConnectionInfo), (Failure, ConnectionInfo, Option<Stream>)> {
        let Some(server) = &self.tls else { return Ok((stream, info)) };
        let first = tokio::time::timeout(limits::TLS_HANDSHAKE_TIMEOUT, stream.peek(1)).await;
        match first.ok().and_then(Result::ok).and_then(<[u8]>::first) {
            None => return Err((Failure::Silent, info, None)),
            Some(first) if *first != HANDSHAKE && first.is_ascii_uppercase() => {
                return Err((Failure::PlainHttp, info, Some(stream)));
            }
            Some(_) => {}
        }
        match server.accept(stream).await {
            Ok((stream, told)) => {
                info.protocol = if told.h2 { Protocol::Http2 } else { Protocol::Http1 };
                info.tls = Some(Arc::new(told));
                Ok((stream, info))
            }
            Err(error) => Err((Failure::Handshake(error), info, None)),
        }
    }
}

/// Tells a client in its own words, and lets it read them.
pub(crate) async fn refuse_plain(mut stream: Stream) {
    const TEXT: &str = "This port speaks HTTPS. Ask again with https:// instead of http://.\n";
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{TEXT}",
        TEXT.len()
    );
    let farewell = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        let mut left = limits::HTTP_LINGER_BYTES;
        loop {
            let read = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1024]).await?;
            left = left.saturating_sub(read);
            if read == 0 || left == 0 {
                return std::io::Result::Ok(());
            }
        }
    };
    // Whoever does not want to hear it need not.
    let _ = tokio::time::timeout(limits::HTTP_LINGER_TIME, farewell).await;
}
