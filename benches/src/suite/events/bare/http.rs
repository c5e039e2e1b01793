//! POST of go-micro's message by hyper's client, to a server of hyper's that reads it and answers 200 then.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use micro_runtime::bytes::Bytes;
use tokio::net::TcpListener;

use super::{Arrivals, Round};
use crate::Result;

pub(super) async fn run(round: &Round) -> Result<(Duration, u64)> {
    let arrivals = Arrivals::new(round.events);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (seen, wire) = (Arc::clone(&arrivals), Arc::new(round.wire.clone()));
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let (seen, wire) = (Arc::clone(&seen), Arc::clone(&wire));
            let answer = service_fn(move |request: Request<Incoming>| {
                let (seen, wire) = (Arc::clone(&seen), Arc::clone(&wire));
                async move {
                    if let Ok(body) = request.into_body().collect().await
                        && wire.read_message(&body.to_bytes()).is_ok()
                    {
                        seen.one();
                    }
                    Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
                }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer),
            );
        }
    });

    let mut connector = hyper_util::client::legacy::connect::HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).build::<_, Full<Bytes>>(connector);
    let start = Instant::now();
    let mut publishers = tokio::task::JoinSet::new();
    for share in round.shares() {
        let (client, wire) = (client.clone(), round.wire.clone());
        let uri = format!("http://{address}/?id={}", round.topic);
        publishers.spawn(async move {
            for _ in 0..share {
                let request = Request::post(&uri)
                    .header("content-type", "application/json")
                    .body(Full::new(wire.message()))?;
                let response = client.request(request).await?;
                if !response.status().is_success() {
                    return Err(format!("{}", response.status()).into());
                }
                // Read to its end, or the connection cannot be used again.
                response.into_body().collect().await?;
            }
            Ok::<_, crate::Error>(())
        });
    }
    while let Some(done) = publishers.join_next().await {
        done??;
    }
    let missing = arrivals.missing().await;
    let took = start.elapsed();
    server.abort();
    Ok((took, missing))
}
