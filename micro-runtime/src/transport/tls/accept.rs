//! A handshake from the server's side.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::server::Acceptor;

use super::{ServerTls, error, identity, stream};
use crate::exchange::{Io, PeerIdentity};

/// How a TLS connection begins: a handshake record (RFC 8446 §5.1).
const HANDSHAKE: u8 = 0x16;

/// A connection whose handshake is done.
pub(in crate::transport) struct Secured {
    pub(in crate::transport) io: Io,
    /// ALPN said that it is HTTP/2. Otherwise it said nothing.
    pub(in crate::transport) is_http2: bool,
    /// Who the client has proved to be.
    pub(in crate::transport) identity: Option<PeerIdentity>,
}

/// Why there is none.
pub(in crate::transport) enum Refused {
    /// The client does not speak TLS; nothing that it said is lost.
    Plain(Io),
    /// The handshake failed. What there is to say was said; the client may not have read it yet.
    Failed { why: String, io: Option<Io> },
}

impl ServerTls {
    /// Answers a client's handshake, once one of the `places` is free. It has no time-out of its own.
    pub(in crate::transport) async fn accept(
        &self,
        io: Io,
        places: &Semaphore,
    ) -> Result<Secured, Refused> {
        let broken = |error: &io::Error, io| Refused::Failed {
            why: why(error),
            io,
        };
        let (first, io) = match peek(io).await {
            Ok(peeked) => peeked,
            Err(error) => return Err(broken(&error, None)),
        };
        if first != HANDSHAKE {
            return Err(Refused::Plain(io));
        }
        let mut hello = LazyConfigAcceptor::new(Acceptor::default(), io);
        let start = match (&mut hello).await {
            Ok(start) => start,
            Err(error) => return Err(broken(&error, hello.take_io())),
        };
        // Only now: who says nothing takes no place away from those who do.
        let place = places.acquire().await;
        let Some(config) = self.config() else {
            let why = "the server's certificate was not read".to_owned();
            return Err(Refused::Failed { why, io: None });
        };
        let stream = match start.into_stream(config).into_fallible().await {
            Ok(stream) => stream,
            Err((error, io)) => return Err(broken(&error, Some(io))),
        };
        drop(place);
        let (_, session) = stream.get_ref();
        let is_http2 = session.alpn_protocol() == Some(b"h2");
        let certificates = session.peer_certificates().unwrap_or_default();
        let identity = certificates.first().map(identity::of);
        Ok(Secured {
            io: Io::new(stream::Stream::new(stream)),
            is_http2,
            identity,
        })
    }
}

/// Tells a client that speaks HTTP/2 without TLS, in its own words, that TLS is spoken here: gRPC clients
/// show the text of a goodbye.
pub(in crate::transport) async fn goodbye_in_plain(io: &mut Io, text: &str) -> io::Result<()> {
    /// SETTINGS, empty, which a server begins with; then GOAWAY on stream 0, after stream 0 (RFC 9113 §6.5, §6.8).
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const GOAWAY: u8 = 7;
    let text = text.as_bytes();
    let len = u32::try_from(8 + text.len())
        .unwrap_or(u32::MAX)
        .to_be_bytes();
    let code = crate::exchange::reset::INADEQUATE_SECURITY.to_be_bytes();
    let mut out = Vec::with_capacity(26 + text.len());
    out.extend(SETTINGS);
    out.extend(&len[1..]);
    out.extend([GOAWAY, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    out.extend(code);
    out.extend(text);
    // Together: a client that has seen the settings alone would take the connection for a good one.
    io.write_all(&out).await?;
    io.shutdown().await
}

/// The first byte, and the stream as if it had not been read.
async fn peek(mut io: Io) -> io::Result<(u8, Io)> {
    // Most ClientHellos fit.
    let mut ahead = BytesMut::with_capacity(2048);
    io.read_buf(&mut ahead).await?;
    let first = *ahead.first().ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((first, io.with_ahead(ahead.freeze())))
}

fn why(error: &io::Error) -> String {
    match error::inside(error) {
        Some(error) => error::words(error),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the client closed the connection in the middle of the handshake; it may not trust this server's certificate"
                .to_owned()
        }
        None => error.to_string(),
    }
}
