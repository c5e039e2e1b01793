//! How to see that a server is ready.

use std::fmt;
use std::future::Future;
use std::net::Ipv4Addr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

type Check = dyn Fn() -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync;

/// A question that a server answers with yes once it is ready.
#[derive(Clone)]
pub enum Ready {
    /// A connection to this port of 127.0.0.1 is accepted.
    Port(u16),
    /// Its log holds this text. Only good for the first start.
    Log(String),
    /// These bytes sent to this port are answered with something that holds that text.
    Bytes(u16, Vec<u8>, String),
    /// Whatever this says.
    Check(Arc<Check>),
}

impl Ready {
    /// `GET path` on this port is answered with status 200 and a body that holds this text.
    #[must_use]
    pub fn http(port: u16, path: &str, text: &str) -> Ready {
        let (path, text) = (path.to_owned(), text.to_owned());
        Ready::check(move || {
            let (path, text) = (path.clone(), text.clone());
            async move { matches!(http_get(port, &path).await, Ok((200, body)) if body.contains(&text)) }
        })
    }

    /// Whatever this says.
    #[must_use]
    pub fn check<F, Fut>(check: F) -> Ready
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = bool> + Send + 'static,
    {
        Ready::Check(Arc::new(move || Box::pin(check())))
    }

    pub(super) async fn holds(&self, log: &Path) -> bool {
        match self {
            Ready::Port(port) => TcpStream::connect((Ipv4Addr::LOCALHOST, *port))
                .await
                .is_ok(),
            Ready::Log(text) => {
                let log = std::fs::read(log).unwrap_or_default();
                String::from_utf8_lossy(&log).contains(text)
            }
            Ready::Bytes(port, bytes, text) => {
                let answer = exchange(*port, bytes).await.unwrap_or_default();
                String::from_utf8_lossy(&answer).contains(text)
            }
            Ready::Check(check) => check().await,
        }
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ready::Port(port) => f.debug_tuple("Port").field(port).finish(),
            Ready::Log(text) => f.debug_tuple("Log").field(text).finish(),
            Ready::Bytes(port, _, text) => f.debug_tuple("Bytes").field(port).field(text).finish(),
            Ready::Check(_) => f.write_str("Check"),
        }
    }
}

/// `GET path` on a port of 127.0.0.1: the status and the body as it came.
///
/// # Errors
/// Nobody answers, or not in HTTP.
pub async fn http_get(port: u16, path: &str) -> std::io::Result<(u16, String)> {
    let request =
        format!("GET {path} HTTP/1.0\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n");
    let answer = exchange(port, request.as_bytes()).await?;
    let answer = String::from_utf8_lossy(&answer);
    let wrong = || std::io::Error::other(format!("expected an answer in HTTP, found {answer:?}"));
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
    let (_, body) = answer.split_once("\r\n\r\n").ok_or_else(wrong)?;
    Ok((status.ok_or_else(wrong)?, body.to_owned()))
}

/// Sends these bytes and reads to the end, at most a megabyte.
pub async fn exchange(port: u16, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(bytes).await?;
    let mut answer = Vec::new();
    stream.take(1 << 20).read_to_end(&mut answer).await?;
    Ok(answer)
}
