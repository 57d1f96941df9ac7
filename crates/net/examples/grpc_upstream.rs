//! A gRPC server to measure proxies with: `grpc_upstream ADDR` answers every message with itself and `grpc-status: 0`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tutti_net::{
    Body, ConnectionInfo, DrainSignal, ListenOptions, Listener, LocalHandler, serve_local, server,
};

struct Echo;

impl LocalHandler for Echo {
    async fn handle(&self, request: Request<Body>, _: &ConnectionInfo) -> Response<Body> {
        let message = request.into_body().collect(1 << 20).await.map(|(bytes, _)| bytes).unwrap_or_default();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let frames: [Result<Frame<Bytes>, Infallible>; 2] =
            [Ok(Frame::data(message)), Ok(Frame::trailers(trailers))];
        let body = StreamBody::new(futures_util::stream::iter(frames)).map_err(|never| match never {});
        let mut response = Response::new(Body::boxed(body));
        response
            .headers_mut()
            .insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        response
    }
}

fn main() -> anyhow::Result<()> {
    let addr = std::env::args().nth(1).context("the address is missing")?.parse()?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
    runtime.block_on(async {
        let listener = Listener::bind(&SocketAddr::into(addr), &ListenOptions::default())?;
        let settings = server::Settings::named("grpc");
        #[allow(clippy::arc_with_non_send_sync)]
        let handler = Arc::new(Echo);
        serve_local(listener, handler, settings, DrainSignal::never()).await;
        Ok(())
    })
}
