//! The HTTP requests that the tests make, with a deadline. HTTP/1.0, so that the
//! content is neither chunked nor kept alive.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// How long the server may be silent.
const SILENCE: Duration = Duration::from_secs(10);

/// What came back.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status, such as 200.
    pub status: u16,
    /// The header fields, names in lower case.
    pub fields: Vec<(String, String)>,
    /// The body of the answer.
    pub body: String,
}

impl Response {
    /// The value of the header field `name`, written in lower case.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

/// GET `path`.
///
/// # Errors
/// Nobody answers, or what comes is not HTTP.
pub fn get(server: SocketAddr, path: &str) -> Result<Response> {
    let stream = TcpStream::connect_timeout(&server, SILENCE)
        .with_context(|| format!("cannot connect to {server}"))?;
    stream.set_read_timeout(Some(SILENCE))?;
    exchange(stream, "GET", path).with_context(|| format!("no answer from {server}{path}"))
}

/// Asks a relay's admin socket, without content.
///
/// # Errors
/// Nobody answers, or what comes is not HTTP.
pub fn ask_admin(socket: &Path, method: &str, path: &str) -> Result<Response> {
    let stream = UnixStream::connect(socket)
        .with_context(|| format!("cannot connect to {}", socket.display()))?;
    stream.set_read_timeout(Some(SILENCE))?;
    exchange(stream, method, path).with_context(|| format!("no answer to {method} {path}"))
}

fn exchange(mut stream: impl Read + Write, method: &str, path: &str) -> Result<Response> {
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: relay\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    parse(&text).with_context(|| format!("it is no answer: {text:?}"))
}

fn parse(text: &str) -> Option<Response> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let fields = lines
        .map(|line| line.split_once(':').map(|(n, v)| (n.to_lowercase(), v.trim().to_owned())))
        .collect::<Option<_>>()?;
    Some(Response { status, fields, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_apart() {
        let answer =
            parse("HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\n\r\nno\r\n\r\n");
        let answer = answer.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (503, "no\r\n\r\n"));
        assert_eq!(answer.field("content-type"), Some("text/plain"));
        for text in
            ["", "HTTP/1.1 200 OK\r\n", "SSH-2.0\r\n\r\n", "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n"]
        {
            assert!(parse(text).is_none(), "{text:?}");
        }
    }
}
