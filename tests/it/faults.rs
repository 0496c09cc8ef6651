//! Processes that die or stall, and clients that misbehave: whoever behaves is served.

pub(crate) mod frames;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use gatepost::authz::service::MAX_MESSAGE_BYTES;
use gatepost::clock::Now;
use prost::Message;
use rustix::process::Signal;

use self::frames::{End, Frames, PREFACE, data, message, open, reset};
use crate::solo::{Over, Solo, ask, key, opens, policy, since};
use crate::world::answer::Request;
use crate::world::check::{check_bytes, check_request};
use crate::world::gatepost::{Gatepost, Socket};
use crate::world::patience::{eventually, within};
use crate::world::{Protocol, World};

fn address(gatepost: &Gatepost) -> SocketAddr {
    match gatepost.socket {
        Socket::Tcp(address) => address,
        Socket::Unix(_) => unreachable!("these tests listen on TCP"),
    }
}

/// A check that the policy allows.
fn allowed() -> Vec<u8> {
    check_request("GET", "/api/v1/x", &[("x-api-key", key(0).as_bytes())]).encode_to_vec()
}

#[test]
fn a_stalled_gatepost_is_a_503_at_the_stated_timeout_and_keeps_its_connections() {
    let world = World::with_policy(&policy(0..1)).start();
    let request = Request::get("/api/v1/x").header("x-api-key", key(0));
    let client = world.http2();
    // Every worker of Envoy has its connection to gatepost.
    for _ in 0..8 {
        assert_eq!(world.send(Protocol::Http1, &request).status, 200);
    }
    let connections = world.envoy.stat("cluster.gatepost.upstream_cx_total");
    world.gatepost.process.signal(Signal::STOP);
    let start = Now::read().monotonic;
    // More than the 20 that h2 would bear by default.
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..60)
            .map(|_| {
                let (mut client, request) = (client.clone(), &request);
                scope.spawn(move || client.send(request).status)
            })
            .collect();
        for client in waiting {
            assert_eq!(client.join().unwrap(), 503);
        }
    });
    let took = since(start);
    // envoy/gateway.yaml says 0.5 s.
    assert!((450..2500).contains(&took.as_millis()), "{took:?}");
    world.gatepost.process.signal(Signal::CONT);
    for _ in 0..8 {
        assert_eq!(world.send(Protocol::Http1, &request).status, 200);
    }
    assert_eq!(world.envoy.stat("http.gateway.ext_authz.error"), 60);
    assert_eq!(
        world.envoy.stat("cluster.gatepost.upstream_cx_total"),
        connections,
        "60 resets at once cost a connection"
    );
}

#[test]
fn killed_again_and_again_under_load_it_is_200_or_503_and_nothing_else() {
    let mut world = World::with_policy(&policy(0..1)).start();
    let request = Request::get("/api/v1/x").header("x-api-key", key(0));
    let denied = Request::get("/api/v1/x").header("x-api-key", "nobody-has-this-key-here");
    let gateway = world.envoy.gateway;
    let over = Over::default();
    thread::scope(|scope| {
        for (request, wanted) in [(&request, 200), (&denied, 401)] {
            let over = &over;
            scope.spawn(move || {
                let mut client = crate::world::http1::Http1::connect(gateway);
                while !over.is_it() {
                    let status = client.send(request).status;
                    assert!([wanted, 503].contains(&status), "{status} instead of {wanted}");
                }
            });
        }
        let _ending = over.when_dropped();
        let mut client = world.http1();
        for _ in 0..3 {
            world.gatepost.process.kill();
            eventually("a 503", || (client.send(&request).status == 503).then_some(()));
            world.restart_gatepost();
            within(Duration::from_secs(5), "the recovery", || {
                (client.send(&request).status == 200).then_some(())
            });
        }
    });
}

#[test]
fn a_thousand_calls_taken_back_at_once_do_not_cost_the_connection() {
    let solo = Solo::start(&policy(0..1));
    let mut frames = Frames::connect(address(&solo.gatepost));
    let call = |stream| [open(stream), data(stream, &message(&allowed()), true)].concat();
    frames.write(&call(1));
    assert_eq!(frames.end_of(1), End::Answered);
    solo.gatepost.process.signal(Signal::STOP);
    let mut burst = Vec::new();
    for number in 1..=1000 {
        burst.extend([open(2 * number + 1), reset(2 * number + 1)].concat());
    }
    frames.write(&burst);
    solo.gatepost.process.signal(Signal::CONT);
    frames.write(&call(2003));
    assert_eq!(frames.end_of(2003), End::Answered);
}

/// 100 batches of 100 calls, each taken back as soon as it is made.
fn open_and_reset(address: SocketAddr) {
    let mut frames = Frames::connect(address);
    for batch in 0..100_u32 {
        let ids = (0..100).map(|number| 2 * (100 * batch + number) + 1);
        let bytes: Vec<_> = ids.flat_map(|id| [open(id), reset(id)].concat()).collect();
        if frames.try_write(&bytes).is_err() {
            // Told to calm down, and cut off: on its own connection, that is only right.
            frames = Frames::connect(address);
        }
    }
}

#[test]
fn who_opens_and_resets_streams_without_end_disturbs_nobody_else() {
    let solo = Solo::start(&policy(0..1));
    let address = address(&solo.gatepost);
    let mut client = solo.gatepost.connect();
    let mut resident = Vec::new();
    for _ in 0..24 {
        thread::scope(|scope| {
            let attack = scope.spawn(|| open_and_reset(address));
            let mut served = 0;
            while !attack.is_finished() || served < 20 {
                let start = Now::read().monotonic;
                assert!(opens(&mut client, 0));
                let took = since(start);
                assert!(took < Duration::from_secs(2), "the {served}th check took {took:?}");
                served += 1;
            }
            attack.join().unwrap();
        });
        resident.push(solo.gatepost.resident_bytes());
    }
    // The first ones fill the allocator's own stores, which come and go by tens of megabytes after.
    // With 200,000 streams between the two, 400 bytes kept of each would show.
    assert!(resident[23] < resident[3] + 80_000_000, "memory is not given back: {resident:?}");
}

#[test]
fn idle_and_slow_connections_hold_up_nobody() {
    let solo = Solo::start(&policy(0..1));
    let address = address(&solo.gatepost);
    let silent: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(address).unwrap()).collect();
    for (number, mut stream) in silent.iter().enumerate() {
        stream.write_all(&PREFACE[..number % PREFACE.len()]).unwrap();
    }
    // Every stream of one connection begins a message and does not end it.
    let mut hoarder = Frames::connect(address);
    for number in 0..500 {
        let id = 2 * number + 1;
        hoarder.write(&[open(id), data(id, &message(&allowed())[..20], false)].concat());
    }
    let mut slow = Frames::connect(address);
    slow.write(&open(1));
    let bytes = message(&allowed());
    let (last, rest) = bytes.split_last().unwrap();
    let mut client = solo.gatepost.connect();
    for byte in rest {
        slow.write(&data(1, &[*byte], false));
        assert!(opens(&mut client, 0));
    }
    slow.write(&data(1, &[*last], true));
    assert_eq!(slow.end_of(1), End::Answered);
    assert!(opens(&mut solo.gatepost.connect(), 0), "a new connection");
    assert_eq!(solo.gatepost.admin("/health").status, 200);
    // What is never finished is not kept for ever.
    assert_eq!(hoarder.end_of(1), End::Answered);
}

#[test]
fn a_message_that_is_too_large_is_an_error_of_the_call_alone() {
    let solo = Solo::start(&policy(0..1));
    let mut client = solo.gatepost.connect();
    let padded = |length: usize| {
        let mut request = check_request("GET", "/api/v1/x", &[("x-api-key", key(0).as_bytes())]);
        let http = request.attributes.as_mut().unwrap().request.as_mut().unwrap();
        http.http.as_mut().unwrap().body = String::new();
        let room = length - request.encoded_len();
        let http = request.attributes.as_mut().unwrap().request.as_mut().unwrap();
        // The lengths of the field and of what it lies in take some bytes too.
        http.http.as_mut().unwrap().body = "x".repeat(room - 32);
        request.encode_to_vec()
    };
    for (length, code) in [(MAX_MESSAGE_BYTES, 0), (MAX_MESSAGE_BYTES + 64, 11), (6 << 20, 11)] {
        let message = padded(length);
        assert!(message.len().abs_diff(length) < 64);
        let checked = check_bytes(&mut client, &message);
        assert_eq!(checked.code, code, "{length} bytes");
        assert_eq!(checked.response.is_some(), code == 0);
        assert!(opens(&mut client, 0), "the connection is gone after {length} bytes");
    }
    assert_eq!(solo.decisions(4).len(), 4, "what was not read was decided");
}

/// What is not one whole gRPC message is no request, and never an allow.
#[test]
fn a_message_that_is_no_message_is_an_error_of_the_call_alone() {
    let solo = Solo::start(&policy(0..1));
    let mut client = solo.gatepost.connect();
    let whole = message(&allowed());
    let mut compressed = whole.clone();
    compressed[0] = 1;
    let mut longer = whole.clone();
    longer[4] += 1;
    let huge = [&[0, 0xff, 0xff, 0xff, 0xff][..], &allowed()].concat();
    for (name, body) in [
        ("nothing", Vec::new()),
        ("half a length", whole[..3].to_vec()),
        ("a length alone", whole[..5].to_vec()),
        ("half a message", whole[..whole.len() / 2].to_vec()),
        ("a byte too few", longer),
        ("compressed without saying how", compressed),
        ("4 GiB", huge),
    ] {
        let call = Request::grpc("/envoy.service.auth.v3.Authorization/Check").body(body);
        let answer = client.send(&call);
        assert_ne!(answer.grpc_status(), Some(0), "{name}: {answer:?}");
        assert_eq!(answer.body, b"", "{name}");
        assert_eq!(ask(&mut client, &key(0)).code, 0, "{name}: the connection is gone");
    }
    for path in ["/envoy.service.auth.v3.Authorization/Other", "/x.y/Z", "/"] {
        let answer = client.send(&Request::grpc(path).body(whole.clone()));
        assert_eq!(answer.grpc_status(), Some(12), "{path}: {answer:?}");
    }
}
