//! Faults on purpose: which requests they strike, and bodies that come slowly or wrong.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Sleep;
use tutti_core::random::Rng;
use tutti_net::{Body, BodyError};
use tutti_ports::routing::{Abort, FaultRule};

/// A route's fault, prepared.
#[derive(Debug)]
pub struct Plan {
    percent: f64,
    headers: Vec<(HeaderName, HeaderValue)>,
    delay: Option<(Duration, Duration)>,
    /// What the request is answered with.
    pub abort: Option<Abort>,
    /// Whether the client's connection is reset.
    pub reset: bool,
    throttle: Option<u64>,
    corrupt: bool,
}

impl Plan {
    /// Prepares; `Err` names a field that is none.
    pub fn compile(rule: &FaultRule) -> Result<Self, String> {
        let field = |(name, value): &(String, String)| {
            let bad = || format!("`{name}: {value}` is not a header field");
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
            Ok::<_, String>((name, HeaderValue::from_str(value).map_err(|_| bad())?))
        };
        Ok(Self {
            percent: rule.percent,
            headers: rule.headers.iter().map(field).collect::<Result<_, _>>()?,
            delay: rule.delay,
            abort: rule.abort,
            reset: rule.reset,
            throttle: rule.throttle,
            corrupt: rule.corrupt,
        })
    }

    /// Whether it strikes a request.
    pub fn strikes(&self, headers: &HeaderMap, rng: &Rng) -> bool {
        self.headers.iter().all(|(name, value)| headers.get_all(name).iter().any(|one| one == value))
            && rng.unit() * 100.0 < self.percent
    }

    /// How long the request waits.
    pub fn delay(&self, rng: &Rng) -> Duration {
        let Some((least, most)) = self.delay else { return Duration::ZERO };
        least + most.saturating_sub(least).mul_f64(rng.unit())
    }

    /// The response's body as the fault lets it be.
    pub fn spoil(&self, body: Body) -> Body {
        let body = if self.corrupt { Body::boxed(Corrupt(body)) } else { body };
        match self.throttle {
            Some(rate) => {
                let rate = rate.max(1);
                Body::boxed(Throttle { body, rate, waiting: Bytes::new(), timer: None })
            }
            None => body,
        }
    }
}

/// Flips a bit of the first byte of each frame: the length stays what it was said to be.
struct Corrupt(Body);

impl HttpBody for Corrupt {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.0).poll_frame(cx));
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| {
                frame.map_data(|data| {
                    let mut data = BytesMut::from(data);
                    if let Some(first) = data.first_mut() {
                        *first ^= 1;
                    }
                    data.freeze()
                })
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// Passes so many bytes a second.
struct Throttle {
    body: Body,
    rate: u64,
    waiting: Bytes,
    timer: Option<Pin<Box<Sleep>>>,
}

impl HttpBody for Throttle {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(timer) = &mut this.timer {
            ready!(timer.as_mut().poll(cx));
            this.timer = None;
        }
        if this.waiting.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.waiting = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return Poll::Ready(other),
            }
        }
        // A tenth of a second's worth at a time.
        let most = usize::try_from(this.rate.div_ceil(10)).unwrap_or(usize::MAX);
        let data = this.waiting.split_to(most.min(this.waiting.len()));
        let pause = Duration::from_secs_f64(data.len() as f64 / this.rate as f64);
        this.timer = Some(Box::pin(tokio::time::sleep(pause)));
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let more = self.waiting.len() as u64;
        match self.body.size_hint().exact() {
            Some(length) => SizeHint::with_exact(length + more),
            None => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    fn plan(rule: &FaultRule) -> Plan {
        Plan::compile(rule).unwrap()
    }

    #[test]
    fn it_strikes_its_share_of_those_that_it_means() {
        let rng = Rng::seeded(3);
        let headers = vec![("x-chaos".to_owned(), "on".to_owned())];
        let half = plan(&FaultRule { percent: 50.0, headers, ..FaultRule::default() });
        let mut meant = HeaderMap::new();
        assert!((0..100).all(|_| !half.strikes(&meant, &rng)));
        meant.insert("x-chaos", "on".parse().unwrap());
        let struck = (0..1_000).filter(|_| half.strikes(&meant, &rng)).count();
        assert!((430..570).contains(&struck), "{struck}");
        let none = plan(&FaultRule { percent: 0.0, ..FaultRule::default() });
        let all = plan(&FaultRule { percent: 100.0, ..FaultRule::default() });
        assert!((0..100).all(|_| !none.strikes(&meant, &rng) && all.strikes(&meant, &rng)));
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_come_slowly_and_wrong() {
        let slow = plan(&FaultRule { throttle: Some(100), corrupt: true, ..FaultRule::default() });
        let began = Instant::now();
        let body = slow.spoil(Body::from("x".repeat(250)));
        assert_eq!(body.size_hint().exact(), Some(250));
        let (bytes, _) = body.collect(1_000).await.unwrap();
        assert_eq!((bytes.len(), bytes.first(), bytes.last()), (250, Some(&b'y'), Some(&b'x')));
        assert!((2_300..=2_600).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    }
}
