//! A client of Redis made by hand: what it says and hears is bytes, as go-micro's would be.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub(crate) struct Raw(BufReader<TcpStream>);

/// What a server answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    Text(String),
    Error(String),
    Number(i64),
    Nil,
    List(Vec<Reply>),
}

impl Raw {
    pub(crate) async fn connect(address: &str) -> Raw {
        Raw(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }

    pub(crate) async fn ask(&mut self, words: &[&str]) -> Reply {
        let mut bytes = format!("*{}\r\n", words.len());
        for word in words {
            bytes.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.0.get_mut().write_all(bytes.as_bytes()).await.unwrap();
        self.reply().await
    }

    /// The next reply.
    pub(crate) async fn reply(&mut self) -> Reply {
        let read = timeout(Duration::from_secs(20), Box::pin(self.read()));
        read.await.expect("an answer within 20 s")
    }

    async fn read(&mut self) -> Reply {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        let line = line.trim_end();
        let (kind, rest) = line.split_at_checked(1).expect("the server has hung up");
        let number = || rest.parse::<i64>().unwrap();
        match kind {
            "+" => Reply::Text(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Number(number()),
            "$" | "*" if number() < 0 => Reply::Nil,
            "$" => {
                let mut bytes = vec![0; usize::try_from(number()).unwrap() + 2];
                self.0.read_exact(&mut bytes).await.unwrap();
                bytes.truncate(bytes.len() - 2);
                Reply::Text(String::from_utf8(bytes).unwrap())
            }
            "*" => {
                let mut list = Vec::new();
                for _ in 0..number() {
                    list.push(Box::pin(self.read()).await);
                }
                Reply::List(list)
            }
            _ => panic!("expected an answer in RESP, found {line:?}"),
        }
    }

    /// The next message of a channel that is subscribed to.
    pub(crate) async fn heard(&mut self) -> String {
        match self.reply().await {
            Reply::List(parts) => match &parts[..] {
                [Reply::Text(kind), _, Reply::Text(payload)] if kind == "message" => {
                    payload.clone()
                }
                _ => panic!("expected a message, found {parts:?}"),
            },
            other => panic!("expected a message, found {other:?}"),
        }
    }
}

impl Reply {
    pub(crate) fn list(self) -> Vec<Reply> {
        match self {
            Reply::List(list) => list,
            Reply::Nil => Vec::new(),
            other => panic!("expected a list, found {other:?}"),
        }
    }

    pub(crate) fn number(self) -> i64 {
        match self {
            Reply::Number(number) => number,
            other => panic!("expected a number, found {other:?}"),
        }
    }
}
