//! gRPC-Web (grpc/grpc doc/PROTOCOL-WEB.md) and back: browsers can neither send nor read trailers, so these are the last frame of the body,
//! and where a browser cannot read bytes either, the body is Base64 ("text mode").
//!
//! Bodies are translated frame by frame as they come, with what either side can take: a stream of messages stays a stream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tutti_core::Origin;
use tutti_net::{Body, BodyError};

use super::status::{self, Status};

/// How a client speaks gRPC-Web.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Web {
    /// In Base64.
    text: bool,
    /// It says that its messages are of protocol buffers.
    proto: bool,
}

/// Marks the frame of trailers.
const TRAILERS: u8 = 0x80;
/// Header fields by which it is told why a call failed; pages may read them.
pub const TOLD: [&str; 3] = ["grpc-status", "grpc-message", "grpc-status-details-bin"];
/// Header fields that its clients send.
pub const SENT: [&str; 4] = ["content-type", "x-grpc-web", "x-user-agent", "grpc-timeout"];

impl Web {
    /// What the content type says; `None` for anything but gRPC-Web. Other messages than those of protocol buffers are passed on under
    /// their own name, so they are not translated.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let kind = headers.get(header::CONTENT_TYPE)?.as_bytes();
        let kind = kind.split(|byte| *byte == b';').next()?.trim_ascii().to_ascii_lowercase();
        let rest = kind.strip_prefix(b"application/grpc-web")?;
        let (text, rest) = match rest.strip_prefix(b"-text") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        match rest {
            b"" => Some(Self { text, proto: false }),
            b"+proto" => Some(Self { text, proto: true }),
            _ => None,
        }
    }

    /// Its content type.
    pub fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match (self.text, self.proto) {
            (false, false) => "application/grpc-web",
            (false, true) => "application/grpc-web+proto",
            (true, false) => "application/grpc-web-text",
            (true, true) => "application/grpc-web-text+proto",
        })
    }

    /// A request as a service of gRPC wants it.
    pub fn request(self, request: &mut Request<Body>) {
        let headers = request.headers_mut();
        let kind = if self.proto { "application/grpc+proto" } else { "application/grpc" };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.remove(header::ACCEPT);
        if self.text {
            headers.remove(header::CONTENT_LENGTH);
            let body = std::mem::take(request.body_mut());
            *request.body_mut() = Body::boxed(Decoded { body: Some(body), left: Vec::new() });
        }
    }

    /// A service's answer as the client wants it; what is not gRPC is left as it is.
    pub fn response(self, response: Response<Body>) -> Response<Body> {
        if !crate::page::is_grpc(response.headers()) {
            return response;
        }
        let (mut head, body) = response.into_parts();
        head.headers.insert(header::CONTENT_TYPE, self.content_type());
        // It was the last thing that could have been told, and is told in the header ("Trailers-Only").
        if head.headers.contains_key(status::STATUS) && body.is_end_stream() {
            return Response::from_parts(head, body);
        }
        head.headers.remove(header::CONTENT_LENGTH);
        head.headers.remove(header::TRAILER);
        let body = Body::boxed(Encoded { body: Some(body), text: self.text });
        Response::from_parts(head, body)
    }
}

/// A body in Base64, decoded. Clients write one text after the other, each with its own padding.
struct Decoded {
    body: Option<Body>,
    /// At most three signs that are no group of four yet.
    left: Vec<u8>,
}

impl Decoded {
    fn decode(&mut self, data: &[u8]) -> Result<Bytes, BodyError> {
        let malformed = || BodyError::Malformed(Origin::Client, "it is not Base64");
        self.left.extend_from_slice(data);
        let whole = self.left.len() / 4 * 4;
        let rest = self.left.split_off(whole);
        let mut out = Vec::with_capacity(whole / 4 * 3);
        let mut groups = &*std::mem::replace(&mut self.left, rest);
        // Up to and with each group that is padded: after it another text begins.
        while !groups.is_empty() {
            let padded = groups.chunks(4).position(|group| group.last() == Some(&b'='));
            let end = padded.map_or(groups.len(), |at| (at + 1) * 4);
            let (text, next) = groups.split_at_checked(end).ok_or_else(malformed)?;
            STANDARD.decode_vec(text, &mut out).map_err(|_| malformed())?;
            groups = next;
        }
        Ok(Bytes::from(out))
    }
}

impl HttpBody for Decoded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let Some(body) = &mut self.body else { return Poll::Ready(None) };
            let data = match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => frame.into_data(),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.body = None;
                    let end = BodyError::Malformed(Origin::Client, "its Base64 ends in the middle");
                    return Poll::Ready((!self.left.is_empty()).then_some(Err(end)));
                }
            };
            // There are no trailers of requests in gRPC-Web.
            let Ok(data) = data else { continue };
            match self.decode(&data) {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(error) => {
                    self.body = None;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.is_end_stream() && self.left.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() { SizeHint::with_exact(0) } else { SizeHint::default() }
    }
}

/// A body with its trailers as the last frame.
struct Encoded {
    /// `None` at the end.
    body: Option<Body>,
    text: bool,
}

impl Encoded {
    fn write(&self, data: Bytes) -> Frame<Bytes> {
        // Each piece is a text of its own, with its padding: held back, its last byte would be a message that does not come.
        Frame::data(if self.text { Bytes::from(STANDARD.encode(&data)) } else { data })
    }
}

impl HttpBody for Encoded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let Some(body) = &mut self.body else { return Poll::Ready(None) };
            let trailers = match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Err(error)) => {
                    self.body = None;
                    return Poll::Ready(Some(Err(error)));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => continue,
                    Ok(data) => return Poll::Ready(Some(Ok(self.write(data)))),
                    Err(frame) => frame.into_trailers().unwrap_or_default(),
                },
                None => {
                    let mut trailers = HeaderMap::new();
                    status::tell(&mut trailers, Status::Unknown as u8, "the service told no status");
                    trailers
                }
            };
            self.body = None;
            return Poll::Ready(Some(Ok(self.write(frame_of(&trailers)))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.body.is_none() { SizeHint::with_exact(0) } else { SizeHint::default() }
    }
}

/// Trailers as a frame: names in lower case, as in the header of HTTP/1.1.
fn frame_of(trailers: &HeaderMap) -> Bytes {
    let mut text = BytesMut::new();
    for (name, value) in trailers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    let mut out = BytesMut::with_capacity(text.len() + 5);
    out.put_u8(TRAILERS);
    out.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(&text);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn web(kind: &str) -> Option<Web> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
        Web::of(&headers)
    }

    #[test]
    fn kinds_are_known_by_their_names() {
        for kind in [
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/grpc-web-text",
            "application/grpc-web-text+proto",
        ] {
            assert_eq!(web(kind).unwrap().content_type(), kind);
        }
        assert!(web("Application/gRPC-Web-Text ; charset=utf-8").unwrap().text);
        for other in ["application/grpc", "application/grpc-web+json", "application/grpc-webx", "text/plain"]
        {
            assert_eq!(web(other), None, "{other}");
        }
    }

    fn decoded(pieces: &[&[u8]]) -> Result<Vec<u8>, BodyError> {
        let mut decoder = Decoded { body: None, left: Vec::new() };
        let mut out = Vec::new();
        for piece in pieces {
            out.extend_from_slice(&decoder.decode(piece)?);
        }
        if decoder.left.is_empty() { Ok(out) } else { Err(BodyError::Malformed(Origin::Client, "rest")) }
    }

    #[test]
    fn padding_may_stand_in_the_middle() {
        assert_eq!(decoded(&[b"YQ==", b"YmM=", b"ZGVm"]).unwrap(), b"abcdef");
        assert_eq!(decoded(&[b"YQ==YmM=ZGVm"]).unwrap(), b"abcdef");
        for bad in [&b"YQ="[..], b"Y===", b"YQ==YQ", b"Y Q=", b"YQ=a", b"=AAA", b"YR=="] {
            assert!(decoded(&[bad]).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    proptest! {
        #[test]
        fn texts_one_after_the_other_are_decoded_wherever_they_are_cut(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6),
            cuts in proptest::collection::vec(1_usize..7, 1..20),
        ) {
            let text: String = parts.iter().map(|part| STANDARD.encode(part)).collect();
            let mut pieces = Vec::new();
            let mut rest = text.as_bytes();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, next) = rest.split_at(*cut.min(&rest.len()));
                pieces.push(piece);
                rest = next;
            }
            prop_assert_eq!(decoded(&pieces).unwrap(), parts.concat());
        }

        #[test]
        fn no_text_makes_it_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decoded(&[&text]);
        }
    }

    #[tokio::test]
    async fn trailers_are_the_last_frame() {
        for text in [false, true] {
            let (mut sender, body) = Body::channel(4);
            let answer = Response::builder().header("content-type", "application/grpc").body(body).unwrap();
            let web = Web { text, proto: true };
            let mut answer = web.response(answer);
            assert_eq!(answer.headers()["content-type"], web.content_type());
            sender.send(Bytes::from_static(b"\0\0\0\0\x01a")).await.unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            trailers.insert("X-More", "b".parse().unwrap());
            sender.finish_with(trailers).await.unwrap();
            let mut pieces = Vec::new();
            while let Some(frame) = answer.body_mut().frame().await {
                pieces.push(frame.unwrap().into_data().unwrap());
            }
            let bytes = if text {
                pieces.iter().flat_map(|piece| STANDARD.decode(piece).unwrap()).collect()
            } else {
                pieces.concat()
            };
            assert_eq!(bytes, b"\0\0\0\0\x01a\x80\0\0\0\x1bgrpc-status: 0\r\nx-more: b\r\n");
        }
    }

    #[tokio::test]
    async fn what_ends_without_a_status_gets_one() {
        let (sender, body) = Body::channel(1);
        let answer = Response::builder().header("content-type", "application/grpc+proto").body(body).unwrap();
        sender.finish().await.unwrap();
        let answer = Web { text: false, proto: false }.response(answer);
        let (bytes, trailers) = answer.into_body().collect(1000).await.unwrap();
        assert!(
            trailers.is_none()
                && bytes.starts_with(&[0x80])
                && bytes.windows(14).any(|at| at == b"grpc-status: 2")
        );
    }
}
