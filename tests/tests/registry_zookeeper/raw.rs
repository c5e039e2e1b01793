//! Enough of ZooKeeper's protocol to write what no registry would.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) struct Raw {
    stream: TcpStream,
    xid: i32,
}

impl Raw {
    pub(crate) async fn connect(address: &str) -> Raw {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut raw = Raw { stream, xid: 0 };
        // Protocol 0, no transaction seen, a session of 10 s, none so far and no password, not read-only.
        let mut hello = vec![0; 4 + 8];
        hello.extend(10_000_i32.to_be_bytes());
        hello.extend([0; 8]);
        hello.extend(16_i32.to_be_bytes());
        hello.extend([0; 16 + 1]);
        raw.send(&hello).await;
        raw.receive().await;
        raw
    }

    /// Makes a persistent node that everyone may do everything with. That it is there is fine.
    pub(crate) async fn create(&mut self, path: &str, data: &[u8]) {
        let mut request = self.header(1);
        text(&mut request, path.as_bytes());
        text(&mut request, data);
        request.extend(1_i32.to_be_bytes());
        request.extend(31_i32.to_be_bytes());
        text(&mut request, b"world");
        text(&mut request, b"anyone");
        request.extend(0_i32.to_be_bytes());
        let code = self.call(&request).await;
        assert!(
            code == 0 || code == -110,
            "creating {path} ended with {code}"
        );
    }

    pub(crate) async fn write(&mut self, path: &str, data: &[u8]) {
        let mut request = self.header(5);
        text(&mut request, path.as_bytes());
        text(&mut request, data);
        request.extend((-1_i32).to_be_bytes());
        assert_eq!(self.call(&request).await, 0, "writing {path}");
    }

    pub(crate) async fn delete(&mut self, path: &str) {
        let mut request = self.header(2);
        text(&mut request, path.as_bytes());
        request.extend((-1_i32).to_be_bytes());
        assert_eq!(self.call(&request).await, 0, "deleting {path}");
    }

    /// Makes itself known as `user:password`.
    pub(crate) async fn login(&mut self, digest: &str) {
        let mut request = [(-4_i32).to_be_bytes(), 100_i32.to_be_bytes(), [0; 4]].concat();
        text(&mut request, b"digest");
        text(&mut request, digest.as_bytes());
        assert_eq!(self.call(&request).await, 0, "logging in");
    }

    /// Leaves everything that may be done with a node to who this is, and nothing to others.
    pub(crate) async fn close(&mut self, path: &str) {
        let mut request = self.header(7);
        text(&mut request, path.as_bytes());
        request.extend(1_i32.to_be_bytes());
        request.extend(31_i32.to_be_bytes());
        text(&mut request, b"auth");
        text(&mut request, b"");
        request.extend((-1_i32).to_be_bytes());
        assert_eq!(self.call(&request).await, 0, "closing {path}");
    }

    fn header(&mut self, operation: i32) -> Vec<u8> {
        self.xid += 1;
        [self.xid.to_be_bytes(), operation.to_be_bytes()].concat()
    }

    /// The error code of the answer: after the request's number and the transaction's.
    async fn call(&mut self, request: &[u8]) -> i32 {
        self.send(request).await;
        let answer = self.receive().await;
        i32::from_be_bytes(answer[12..16].try_into().unwrap())
    }

    async fn send(&mut self, frame: &[u8]) {
        let length = i32::try_from(frame.len()).unwrap().to_be_bytes();
        self.stream
            .write_all(&[&length, frame].concat())
            .await
            .unwrap();
    }

    async fn receive(&mut self) -> Vec<u8> {
        let length = self.stream.read_i32().await.unwrap();
        let mut frame = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut frame).await.unwrap();
        frame
    }
}

fn text(frame: &mut Vec<u8>, text: &[u8]) {
    frame.extend(i32::try_from(text.len()).unwrap().to_be_bytes());
    frame.extend(text);
}
