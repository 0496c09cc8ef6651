//! Long answers pass as they come.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use hyper::body::Bytes;

use super::scene::{policy, service, token};
use crate::world::egress::EgressWorld;
use crate::world::patience::PATIENCE;
use crate::world::upstream_tls::Remote;

const EVENTS: [(&str, &str); 1] = [("content-type", "text/event-stream")];

/// The first event arrives while the service has not yet made the second.
#[test]
fn an_event_arrives_before_the_next_is_sent() {
    let Some(builder) = EgressWorld::prepare() else { return };
    let remote = Remote::named(&["api.test"]);
    let world = builder.start(&policy(&[("api", service("api.test", &remote))]));
    let events = remote.answer_in_parts(&EVENTS);
    let mut stream = TcpStream::connect(world.envoy.gateway).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let token = token("agent");
    write!(stream, "GET / HTTP/1.1\r\nhost: api\r\nx-sandbox-token: {token}\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    for number in 0..5 {
        events.send(Bytes::from(format!("data: {number}\n\n"))).unwrap();
        let wanted = format!("data: {number}");
        loop {
            let mut line = String::new();
            assert!(reader.read_line(&mut line).unwrap() > 0, "the stream ended before {number}");
            if line.trim_end() == wanted {
                break;
            }
        }
    }
    drop(events);
    // The end of the chunks, and nothing after it: the connection stays open.
    let stream = reader.get_ref();
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut rest = Vec::new();
    let _timed_out = reader.read_to_end(&mut rest);
    assert!(rest.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&rest));
}

/// An open stream survives what is none of its business: edits of other services.
#[test]
fn an_edit_of_another_service_does_not_disturb_a_stream() {
    let Some(builder) = EgressWorld::prepare() else { return };
    let (remote, other) = (Remote::named(&["api.test"]), Remote::named(&["other.test"]));
    let base = policy(&[("api", service("api.test", &remote))]);
    let world = builder.start(&base);
    let events = remote.answer_in_parts(&EVENTS);
    let mut stream = TcpStream::connect(world.envoy.gateway).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let token = token("agent");
    write!(stream, "GET / HTTP/1.1\r\nhost: api\r\nx-sandbox-token: {token}\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    for number in 0..5 {
        let mut config = base.clone();
        config["egress_services"][format!("other-{number}")] = service("other.test", &other);
        world.edited(|world| world.replace_config(&config));
        events.send(Bytes::from(format!("data: {number}\n\n"))).unwrap();
        let wanted = format!("data: {number}\n");
        let mut line = String::new();
        while line != wanted {
            line.clear();
            assert!(reader.read_line(&mut line).unwrap() > 0, "the stream ended at {number}");
        }
    }
}
