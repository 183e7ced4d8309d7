//! One GET over HTTP/1.1, enough for the admin door and for Prometheus.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// A door that takes longer is as good as closed.
const PATIENCE: Duration = Duration::from_secs(5);
/// `/metrics` of a node has some 100 KiB.
const MOST_BYTES: u64 = 16 << 20;

/// Status and body.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Asks `address` (`host:port`) for `path`; nothing if there is no whole answer.
pub async fn get(address: &str, path: &str) -> Option<Answer> {
    timeout(PATIENCE, ask(address, path)).await.ok().flatten()
}

async fn ask(address: &str, path: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    // HTTP/1.0: the answer ends with the connection and has no chunks.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut bytes = Vec::new();
    stream.take(MOST_BYTES).read_to_end(&mut bytes).await.ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer {
        status,
        body: body.to_owned(),
    })
}
