//! A request that no HTTP client sends: it announces a whole body and ends before.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::send::Request;

/// Sends the head and the first `sent` bytes of the body over plain HTTP, closes our direction, and reads the status
/// that comes back.
pub(super) async fn exchange(request: &Request, sent: usize) -> io::Result<u16> {
    let mut connection = connect(request).await?;
    let mut bytes = head(request).into_bytes();
    bytes.extend_from_slice(&request.body[..sent.min(request.body.len())]);
    connection.write_all(&bytes).await?;
    connection.shutdown().await?;
    let mut answer = Vec::new();
    connection.take(MAX_ANSWER).read_to_end(&mut answer).await.or_else(|error| match status(&answer) {
        // A receiver may reset the connection behind its answer.
        Some(_) => Ok(0),
        None => Err(error),
    })?;
    status(&answer).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
}

const MAX_ANSWER: u64 = 64 * 1024;

async fn connect(request: &Request) -> io::Result<TcpStream> {
    let port = request.url.port_or_known_default().unwrap_or(80);
    let host = request.url.host_str().unwrap_or_default();
    if host == "localhost" {
        let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        return TcpStream::connect(&loopback.map(|address| SocketAddr::new(address, port))[..]).await;
    }
    TcpStream::connect((host.trim_start_matches('[').trim_end_matches(']'), port)).await
}

fn head(request: &Request) -> String {
    let url = &request.url;
    let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let mut head = format!("POST {target} HTTP/1.1\r\n");
    if !request.headers.iter().any(|(name, _)| name == "host") {
        head += &format!("host: {}\r\n", host_and_port(url));
    }
    for (name, value) in &request.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head + &format!("content-length: {}\r\n\r\n", request.body.len())
}

/// As the `host` header has it.
pub(super) fn host_and_port(url: &reqwest::Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The status of the first line, past any interim answers.
fn status(mut answer: &[u8]) -> Option<u16> {
    loop {
        let line = answer.split(|byte| *byte == b'\r').next()?;
        let mut words = line.strip_prefix(b"HTTP/1.")?.split(|byte| *byte == b' ');
        let status: u16 = std::str::from_utf8(words.nth(1)?).ok()?.parse().ok()?;
        if !(100..200).contains(&status) {
            return Some(status);
        }
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
        answer = &answer[end + 4..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_past_interim_answers() {
        assert_eq!(status(b"HTTP/1.1 400 Bad Request\r\n\r\nx"), Some(400));
        assert_eq!(status(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 408 Request Timeout\r\n"), Some(408));
        for none in ["", "HTTP/1.1", "HTTP/1.1 x y\r\n", "SMTP 400\r\n", "HTTP/1.1 100 Continue\r\n\r\n"] {
            assert_eq!(status(none.as_bytes()), None, "{none}");
        }
    }
}
