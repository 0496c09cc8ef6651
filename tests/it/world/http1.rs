//! An HTTP/1.1 client that sends whatever bytes it is given.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::answer::{Answer, Request};
use super::patience::PATIENCE;

/// One connection, kept open between requests.
pub(crate) struct Http1(BufReader<TcpStream>);

impl Http1 {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    pub(crate) fn send(&mut self, request: &Request) -> Answer {
        self.try_send(request).expect("an answer")
    }

    /// The same, where the server may close without a word.
    pub(crate) fn try_send(&mut self, request: &Request) -> Option<Answer> {
        self.send_bytes(&to_bytes(request))
    }

    /// Sends exactly these bytes. `None` when the server closes without a word.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) -> Option<Answer> {
        self.0.get_mut().write_all(bytes).unwrap();
        let no_body = bytes.starts_with(b"HEAD ");
        loop {
            let answer = self.read_answer(no_body)?;
            if answer.status >= 200 {
                return Some(answer);
            }
        }
    }

    fn read_answer(&mut self, no_body: bool) -> Option<Answer> {
        let line = self.line()?;
        let code = line.split(' ').nth(1).unwrap_or_default();
        let status = code.parse().unwrap_or_else(|_| panic!("no status line: {line:?}"));
        let mut answer =
            Answer { status, headers: self.headers(), body: Vec::new(), trailers: Vec::new() };
        if no_body || matches!(status, 100..=199 | 204 | 304) {
            return Some(answer);
        }
        if answer.header("transfer-encoding") == Some("chunked") {
            self.chunks(&mut answer.body);
            answer.trailers = self.headers();
        } else if let Some(length) = answer.header("content-length") {
            answer.body = self.exactly(length.parse().unwrap());
        } else {
            self.0.read_to_end(&mut answer.body).unwrap();
        }
        Some(answer)
    }

    fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        match self.0.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            read => {
                read.unwrap();
                Some(String::from_utf8_lossy(&line).trim_end().to_owned())
            }
        }
    }

    fn headers(&mut self) -> Vec<(String, String)> {
        let mut headers = Vec::new();
        loop {
            let line = self.line().expect("the end of the headers");
            let Some((name, value)) = line.split_once(':') else {
                assert_eq!(line, "", "a header without a colon");
                return headers;
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn chunks(&mut self, body: &mut Vec<u8>) {
        loop {
            let size = self.line().expect("the size of a chunk");
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            if size == 0 {
                return;
            }
            body.extend(self.exactly(size));
            assert_eq!(self.line().as_deref(), Some(""), "the end of a chunk");
        }
    }

    fn exactly(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }
}

/// Nothing is checked or escaped on the way.
fn to_bytes(request: &Request) -> Vec<u8> {
    let Request { method, target, host, headers, body, trailers: _ } = request;
    let mut bytes = format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    if !body.is_empty() {
        bytes.extend(format!("content-length: {}\r\n", body.len()).into_bytes());
    }
    bytes.extend(b"\r\n");
    bytes.extend(body);
    bytes
}
