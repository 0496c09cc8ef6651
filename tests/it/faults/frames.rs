//! HTTP/2 frame by frame (RFC 9113), for a client that does what no library would do.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::world::patience::PATIENCE;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

const CANCEL: u32 = 8;

/// A connection on which frames are written by hand.
pub(crate) struct Frames(TcpStream);

/// How a stream, or with it the connection, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With trailers.
    Answered,
    /// With `RST_STREAM` and this code.
    Reset(u32),
    /// With `GOAWAY` and this code, or without a word.
    Closed(Option<u32>),
}

impl Frames {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut frames = Self(stream);
        frames.write(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
        frames
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).unwrap();
    }

    /// The same, where the other end may have had enough.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Reads until this stream ends.
    pub(crate) fn end_of(&mut self, wanted: u32) -> End {
        while let Some(Frame { kind, flags, stream, payload }) = self.next() {
            match kind {
                HEADERS | DATA if stream == wanted && flags & END_STREAM != 0 => {
                    return End::Answered;
                }
                RST_STREAM if stream == wanted => {
                    return End::Reset(number(payload[..4].try_into().unwrap()));
                }
                GOAWAY => return End::Closed(Some(number(payload[4..8].try_into().unwrap()))),
                _ => {}
            }
        }
        End::Closed(None)
    }

    /// Reads, and does no more than the protocol asks, until the other end closes.
    pub(crate) fn until_closed(&mut self) {
        while self.next().is_some() {}
    }

    /// The next frame, with the answer given that it asks for; `None` at the end of the connection.
    fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        match self.0.read_exact(&mut head) {
            Ok(()) => {}
            Err(error)
                if [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset]
                    .contains(&error.kind()) =>
            {
                return None;
            }
            Err(error) => panic!("waited for a frame: {error}"),
        }
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; usize::try_from(number([0, a, b, c])).unwrap()];
        self.0.read_exact(&mut payload).unwrap();
        if [SETTINGS, PING].contains(&kind) && flags & ACK == 0 {
            let echo = if kind == PING { &payload[..] } else { &[] };
            // Who has closed already needs no answer.
            drop(self.try_write(&frame(kind, ACK, 0, echo)));
        }
        Some(Frame { kind, flags, stream: number(stream), payload })
    }
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

fn number(bytes: [u8; 4]) -> u32 {
    u32::from_be_bytes(bytes)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The headers of a Check call.
pub(crate) fn open(stream: u32) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    // RFC 7541: indexed fields, then literals without indexing, with the name indexed or written.
    let block = [
        vec![0x83, 0x86, 0x04], // :method POST, :scheme http, :path …
        text("/envoy.service.auth.v3.Authorization/Check"),
        vec![0x01], // :authority …
        text("gatepost"),
        vec![0x0f, 0x10], // content-type …
        text("application/grpc"),
        vec![0x00],
        text("te"),
        text("trailers"),
    ];
    frame(HEADERS, END_HEADERS, stream, &block.concat())
}

/// Bytes of the body; the last ones end the request.
pub(crate) fn data(stream: u32, bytes: &[u8], last: bool) -> Vec<u8> {
    frame(DATA, if last { END_STREAM } else { 0 }, stream, bytes)
}

/// Takes the call back.
pub(crate) fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

/// A message as gRPC frames it.
pub(crate) fn message(bytes: &[u8]) -> Vec<u8> {
    [&[0], &u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}
