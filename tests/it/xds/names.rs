//! A name server (RFC 1035) for which every name is 127.0.0.1, but for those that begin with
//! `silent`, which it never answers.

use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

use crate::world::http2::runtime;

pub(super) struct Names {
    pub(super) port: u16,
    serving: AbortHandle,
}

impl Names {
    pub(super) fn start() -> Self {
        let socket = runtime().block_on(UdpSocket::bind("127.0.0.1:0")).unwrap();
        let port = socket.local_addr().unwrap().port();
        let serving = runtime().spawn(async move {
            let mut query = [0; 512];
            loop {
                let (length, from) = socket.recv_from(&mut query).await.unwrap();
                if let Some(answer) = answer(&query[..length]) {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        Self { port, serving: serving.abort_handle() }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The answer to a query with one question.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let question = &query[12..];
    if question[1..].starts_with(b"silent") {
        return None;
    }
    let end = question.iter().position(|&byte| byte == 0).unwrap();
    let (question, kind) = (&question[..end + 5], &question[end + 1..end + 3]);
    let is_address = kind == [0, 1];
    let mut answer = query[..2].to_vec();
    // A response, recursion available; one question, and one answer or none; nothing else.
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
    answer.extend(question);
    if is_address {
        // The name of the question, A, IN, good for 60 s, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    Some(answer)
}
