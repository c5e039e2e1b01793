//! A client of NATS made by hand: what it says and hears is bytes.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A connection. Its methods panic with a sentence when the server does not do as it should.
#[derive(Debug)]
pub struct Raw(BufReader<TcpStream>);

// ===== impl Raw =====

#[allow(clippy::missing_panics_doc, reason = "so tests fail")]
impl Raw {
    /// Connects to `host:port`.
    pub async fn connect(address: &str) -> Raw {
        let mut raw = Raw(BufReader::new(TcpStream::connect(address).await.unwrap()));
        assert!(raw.line().await.starts_with("INFO "));
        raw.send(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n")
            .await;
        raw.flush().await;
        raw
    }

    /// Publishes these bytes.
    pub async fn publish(&mut self, subject: &str, payload: &[u8]) {
        let head = format!("PUB {subject} {}\r\n", payload.len());
        self.send(&[head.as_bytes(), payload, b"\r\n"].concat())
            .await;
    }

    /// Publishes them with a subject to answer on.
    pub async fn ask(&mut self, subject: &str, reply: &str, payload: &[u8]) {
        let head = format!("PUB {subject} {reply} {}\r\n", payload.len());
        self.send(&[head.as_bytes(), payload, b"\r\n"].concat())
            .await;
    }

    /// Subscribes under this number.
    pub async fn subscribe(&mut self, subject: &str, number: u32) {
        self.send(format!("SUB {subject} {number}\r\n").as_bytes())
            .await;
        self.flush().await;
    }

    /// Waits until the server has taken everything.
    pub async fn flush(&mut self) {
        self.send(b"PING\r\n").await;
        while self.line().await != "PONG" {}
    }

    /// The next message: the subject, the subject to answer on, what it says, as a text if that is no JSON.
    pub async fn message(&mut self) -> (String, String, serde_json::Value) {
        loop {
            let line = self.line().await;
            let words: Vec<&str> = line.split(' ').collect();
            let (subject, reply, length) = match words[..] {
                ["MSG", subject, _, length] => (subject, "", length),
                ["MSG", subject, _, reply, length] => (subject, reply, length),
                ["PING"] => {
                    self.send(b"PONG\r\n").await;
                    continue;
                }
                _ => continue,
            };
            let mut payload = vec![0; length.parse::<usize>().unwrap() + 2];
            self.0.read_exact(&mut payload).await.unwrap();
            payload.truncate(payload.len() - 2);
            let text = || String::from_utf8_lossy(&payload).into_owned().into();
            let value = serde_json::from_slice(&payload).unwrap_or_else(|_| text());
            return (subject.to_owned(), reply.to_owned(), value);
        }
    }

    /// Whether there is no message for this long.
    pub async fn is_silent(&mut self, time: Duration) -> bool {
        timeout(time, self.message()).await.is_err()
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).await.unwrap();
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    }
}
