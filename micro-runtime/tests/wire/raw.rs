//! A peer that speaks frames of HTTP/2 (RFC 9113 §6), made and read by hand.

use std::sync::Arc;

use micro_runtime::exchange::{ConnInfo, Drainer, Io, PeerAddr, Serve};
use micro_runtime::transport::{self, ServerLimits};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The code of RST_STREAM; of GOAWAY with its last stream.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    pub(crate) fn last_stream(&self) -> u32 {
        assert_eq!(self.kind, GOAWAY);
        u32::from_be_bytes(self.payload[..4].try_into().unwrap())
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block with nothing indexed (RFC 7541 §6.2.2), for short names and values.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            let length = text.len();
            if length < 127 {
                block.push(length as u8);
            } else {
                // The integer of RFC 7541 §5.1, beyond its 7-bit prefix.
                block.push(127);
                let mut rest = length - 127;
                while rest >= 128 {
                    block.push((rest % 128) as u8 | 128);
                    rest /= 128;
                }
                block.push(rest as u8);
            }
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A request's head.
pub(crate) fn request(stream: u32, path: &str, flags: u8) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "test"),
    ];
    frame(HEADERS, END_HEADERS | flags, stream, &block(&fields))
}

/// One end of a connection.
pub(crate) struct Raw {
    pub(crate) io: DuplexStream,
}

impl Raw {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.expect("the peer reads");
    }

    /// Sends as much as the peer takes.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.io.write_all(bytes).await.is_ok()
    }

    /// The next frame; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.io.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.io.read_exact(&mut payload).await.ok()?;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes(head[5..].try_into().unwrap()),
            payload,
        })
    }

    /// The next frame of a kind; others are skipped, settings acknowledged.
    pub(crate) async fn until(&mut self, kind: u8) -> Frame {
        loop {
            let next = self.next().await;
            let next = next.unwrap_or_else(|| panic!("expected a frame of kind {kind}"));
            if next.kind == SETTINGS && next.flags == 0 {
                self.send(&frame(SETTINGS, ACK, 0, &[])).await;
            }
            if next.kind == kind {
                return next;
            }
        }
    }

    /// Whether the connection ends, without anything of a kind before.
    pub(crate) async fn ends_without(&mut self, kind: u8) -> bool {
        while let Some(next) = self.next().await {
            if next.kind == kind {
                return false;
            }
        }
        true
    }

    /// Checks that the connection lives: it answers a PING.
    pub(crate) async fn is_alive(&mut self) {
        self.send(&frame(PING, 0, 0, b"sign! :)")).await;
        loop {
            let pong = self.until(PING).await;
            if pong.payload == b"sign! :)" {
                assert_eq!(pong.flags, ACK);
                return;
            }
        }
    }
}

/// A server of ours, and a raw client before its preface.
pub(crate) fn connect(app: Arc<dyn Serve>, limits: ServerLimits) -> (Raw, Drainer, JoinHandle<()>) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let (drainer, drain) = Drainer::new();
    let info = ConnInfo::new(PeerAddr::Local, PeerAddr::Local);
    let server = tokio::spawn(async move {
        transport::serve(Io::new(far), info, &limits, app, drain).await;
    });
    (Raw { io: near }, drainer, server)
}

/// The same, greeted both ways.
pub(crate) async fn greeted(
    app: Arc<dyn Serve>,
    limits: ServerLimits,
) -> (Raw, Drainer, JoinHandle<()>) {
    let (mut raw, drainer, server) = connect(app, limits);
    raw.send(PREFACE).await;
    raw.send(&frame(SETTINGS, 0, 0, &[])).await;
    raw.until(SETTINGS).await;
    (raw, drainer, server)
}
