//! Edits while agents call: what is not edited notices nothing, what is edited follows soon.
//!
//! These tests measure times or put the machine under load, so they run one after the other.

mod many;
mod restarts;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use gatepost::clock::Now;
use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;

use super::scene::{ask, policy, service, token};
use crate::solo::Over;
use crate::world::Protocol;
use crate::world::answer::Answer;
use crate::world::egress::EgressWorld;
use crate::world::http1::Http1;
use crate::world::http2::Http2;
use crate::world::patience::{PATIENCE, eventually, within};
use crate::world::upstream_tls::Remote;

/// Held by the one that runs.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn since(start: Duration) -> f64 {
    Now::read().monotonic.saturating_sub(start).as_secs_f64()
}

/// An answer that does not end, for as long as this is there.
struct Stream {
    events: UnboundedSender<Bytes>,
    reader: BufReader<TcpStream>,
    sent: usize,
}

impl Stream {
    /// Opened when this returns. The service echoes every other request.
    fn open(proxy: SocketAddr, service: &str, remote: &Remote) -> Self {
        let events = remote.answer_in_parts(&[("content-type", "text/event-stream")]);
        let mut stream = TcpStream::connect(proxy).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let token = token("agent");
        write!(stream, "GET / HTTP/1.1\r\nhost: {service}\r\nx-sandbox-token: {token}\r\n\r\n")
            .unwrap();
        let mut stream = Self { events, reader: BufReader::new(stream), sent: 0 };
        stream.go_on();
        stream
    }

    /// One more event arrives.
    fn go_on(&mut self) {
        self.sent += 1;
        let wanted = format!("data: {}\n", self.sent);
        self.events.send(Bytes::from(format!("{wanted}\n"))).unwrap();
        let mut line = String::new();
        while line != wanted {
            line.clear();
            let read = self.reader.read_line(&mut line).unwrap();
            assert!(read > 0, "the stream ended before event {}", self.sent);
        }
    }
}

/// How often which status came back.
type Statuses = BTreeMap<u16, usize>;

/// Calls a service again and again on one connection. Panics when that is closed.
fn calls(proxy: SocketAddr, protocol: Protocol, service: &str, over: &Over) -> Statuses {
    let mut send: Box<dyn FnMut() -> Answer + '_> = match protocol {
        Protocol::Http1 => {
            let mut connection = Http1::connect(proxy);
            Box::new(move || connection.send(&ask("agent", service, "/x")))
        }
        Protocol::Http2 => {
            let mut connection = Http2::connect(proxy);
            Box::new(move || connection.send(&ask("agent", service, "/x")))
        }
    };
    let mut seen = Statuses::new();
    while !over.is_it() {
        *seen.entry(send().status).or_default() += 1;
    }
    seen
}

/// Does something while three agents call a service, and returns what these saw.
fn under_load(proxy: SocketAddr, service: &str, act: impl FnOnce()) -> Statuses {
    let over = Over::default();
    let mut all = Statuses::new();
    thread::scope(|scope| {
        let over = &over;
        let clients: Vec<_> = [Protocol::Http1, Protocol::Http1, Protocol::Http2]
            .into_iter()
            .map(|protocol| scope.spawn(move || calls(proxy, protocol, service, over)))
            .collect();
        let ending = over.when_dropped();
        act();
        drop(ending);
        for client in clients {
            for (status, count) in client.join().unwrap() {
                *all.entry(status).or_default() += count;
            }
        }
    });
    eprintln!("statuses under load: {all:?}");
    all
}

/// One edit of one of ten services: it moves, changes its paths, goes, or comes back.
fn edit_another(config: &mut Value, number: usize, remotes: &[Remote; 2]) {
    let name = format!("other-{}", number % 10);
    let services = config["egress_services"].as_object_mut().unwrap();
    let round = number / 10;
    // Always a new destination: Envoy has those of the last seconds still.
    let host = format!("{name}.round-{round}.test");
    match round % 4 {
        0 | 1 => {
            let mut moved = service(&host, &remotes[round % 2]);
            moved["allowed_paths"] = json!([format!("/round-{round}/**")]);
            services.insert(name, moved);
        }
        2 => drop(services.remove(&name)),
        _ => drop(services.insert(name, service(&host, &remotes[1]))),
    }
}

#[test]
fn five_hundred_edits_of_other_services_fail_no_call_and_cut_no_stream() {
    const EDITS: usize = 500;
    let Some(builder) = EgressWorld::prepare() else { return };
    let _alone = alone();
    let (remote, others) = (Remote::named(&["still.test"]), [Remote::plain(), Remote::plain()]);
    let mut config = policy(&[("still", service("still.test", &remote))]);
    config["egress_credentials"] = json!({ "still": { "type": "bearer", "token": "still-value" } });
    let world = builder.start(&config);
    let proxy = world.envoy.gateway;
    let mut stream = Stream::open(proxy, "still", &remote);
    let first = world.generation();
    let start = Now::read().monotonic;
    let statuses = under_load(proxy, "still", || {
        for number in 0..EDITS {
            edit_another(&mut config, number, &others);
            if number % 10 == 9 {
                world.edited(|world| world.replace_config(&config));
                stream.go_on();
            } else {
                world.replace_config(&config);
            }
        }
        eprintln!("{EDITS} edits in {:.1} s", since(start));
        // Old destinations are taken from Envoy some seconds later.
        eventually("clusters to go", || {
            (world.envoy.stat("cluster_manager.cluster_removed") >= 50).then_some(())
        });
        stream.go_on();
    });
    let generations = world.generation() - first;
    assert!(generations >= 50, "{generations}");
    assert_eq!(statuses.keys().collect::<Vec<_>>(), [&200], "{statuses:?}");
    stream.go_on();
    assert_eq!(world.gatepost.metric("gatepost_xds_nacks_total").to_string(), "0");
    assert_eq!(world.envoy.stat("cluster_manager.cluster_modified"), 0);
}

/// Each edit moves the service to a destination that is new to Envoy, with a credential of its own.
#[test]
fn two_hundred_edits_of_a_service_never_mix_destination_and_credential() {
    const EDITS: usize = 200;
    let Some(builder) = EgressWorld::prepare() else { return };
    let _alone = alone();
    let hosts: Vec<String> = (0..=EDITS).map(|edit| format!("edit-{edit}.test")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let remotes = [Remote::named(&hosts), Remote::named(&hosts)];
    let config = |edit: usize| {
        let host = hosts[edit];
        let mut config = policy(&[("moving", service(host, &remotes[edit % 2]))]);
        config["egress_credentials"] =
            json!({ "moving": { "type": "bearer", "token": format!("of-{host}") } });
        config
    };
    let world = builder.start(&config(0));
    let proxy = world.envoy.gateway;
    let first = world.generation();
    let start = Now::read().monotonic;
    let statuses = under_load(proxy, "moving", || {
        let mut connection = Http1::connect(proxy);
        for (edit, host) in hosts.iter().enumerate().skip(1) {
            match edit % 20 {
                0 => {
                    world.replace_config(&config(edit));
                    let wanted = [format!("Bearer of-{host}")];
                    within(Duration::from_secs(3), "the edit to be seen in a call", || {
                        let answer = connection.send(&ask("agent", "moving", "/y"));
                        (answer.upstream_header("authorization") == wanted).then_some(())
                    });
                }
                // Edits also overtake each other: before they hold, and before Envoy has the way.
                5 | 10 | 15 => world.edited(|world| world.replace_config(&config(edit))),
                _ => world.replace_config(&config(edit)),
            }
        }
    });
    let generations = world.generation() - first;
    eprintln!("{EDITS} edits in {:.1} s, {generations} of them held", since(start));
    assert!(generations >= 40, "{generations}");
    assert_eq!(statuses.keys().collect::<Vec<_>>(), [&200], "{statuses:?}");
    let mut reached = BTreeSet::new();
    for (side, remote) in remotes.iter().enumerate() {
        for request in remote.requests() {
            let (host, _port) = request.host.split_once(':').unwrap();
            assert_eq!(request.header("authorization"), [format!("Bearer of-{host}")]);
            let edit = hosts.iter().position(|known| *known == host).unwrap();
            assert_eq!(edit % 2, side, "{host} is not here");
            reached.insert(edit);
        }
    }
    eprintln!("{} destinations were called", reached.len());
    assert!(reached.len() >= 10, "{reached:?}");
}
