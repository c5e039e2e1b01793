//! [`babbler`]: a server that answers nonsense.

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

/// Answers every connection with something that no protocol of a broker has, each with another one of these: an
/// answer of HTTP, ones, zeros, a list that says it is a billion long, lists within lists, and an alert of TLS.
/// Gives its address; it ends with the runtime.
///
/// # Panics
/// There is no port.
pub async fn babbler() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answers: [Vec<u8>; 6] = [
        b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".to_vec(),
        vec![0xff; 4096],
        vec![0; 4096],
        b"*1000000000\r\n$1000000000\r\n%1000000000\r\n".to_vec(),
        b"*1\r\n".repeat(1000),
        vec![0x15, 3, 3, 0, 2, 2, 40],
    ];
    tokio::spawn(async move {
        for answer in answers.iter().cycle() {
            let Ok((mut stream, _)) = listener.accept().await else {
                return;
            };
            // Who has hung up needs no answer.
            let _ = stream.write_all(answer).await;
        }
    });
    address
}
