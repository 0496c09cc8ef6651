//! How it ends: what was begun is finished, nothing new is promised, and it does end.

use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use gatepost::clock::Now;
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Streaming};
use tonic_health::pb::health_check_response::ServingStatus::{self, NotServing, Serving};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::faults::frames::{Frames, PREFACE, data, open};
use crate::solo::{Over, Solo, key, opens, policy, since};
use crate::world::answer::Request;
use crate::world::gatepost::{Gatepost, Socket};
use crate::world::http1::Http1;
use crate::world::http2::{Http2, runtime};
use crate::world::patience::{PATIENCE, eventually};
use crate::world::{Protocol, World};

const AUTHORIZATION: &str = "envoy.service.auth.v3.Authorization";

/// gRPC health as a load balancer asks for it.
pub(crate) struct Health(HealthClient<Channel>);

impl Health {
    pub(crate) fn of(gatepost: &Gatepost) -> Self {
        let Socket::Tcp(address) = &gatepost.socket else { panic!("not on TCP") };
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = runtime().block_on(endpoint.connect()).unwrap();
        Self(HealthClient::new(channel))
    }

    pub(crate) fn check(&mut self, service: &str) -> Result<ServingStatus, Code> {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = block_on(self.0.check(request));
        answer.map(|answer| answer.get_ref().status()).map_err(|status| status.code())
    }

    pub(crate) fn watch(&mut self, service: &str) -> Result<Watch, Code> {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = block_on(self.0.watch(request));
        answer.map(|answer| Watch(answer.into_inner())).map_err(|status| status.code())
    }
}

/// Waits, but not for ever.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    // The timer needs the runtime around it from its birth on.
    runtime().block_on(async { timeout(PATIENCE, work).await.expect("an answer in time") })
}

/// A `Watch` stream.
pub(crate) struct Watch(Streaming<HealthCheckResponse>);

impl Watch {
    /// The next status; `None` at the end of the stream.
    pub(crate) fn next(&mut self) -> Option<ServingStatus> {
        let next = block_on(self.0.message());
        next.unwrap_or(None).map(|answer| answer.status())
    }
}

/// The last line of a log that was brought to its end.
fn last_seq(gatepost: &Gatepost) -> u64 {
    gatepost.process.stdout.wait_for("the end record", |line| {
        let line: Value = serde_json::from_str(line).unwrap();
        (line["type"] == "end").then(|| line["last_seq"].as_u64().unwrap())
    })
}

/// Calls from several connections until none is answered any more; counts the answers.
fn call_until_refused(client: &mut Http2, answers: &AtomicU64) {
    let check = crate::world::check::check_request;
    let request = check("GET", "/api/v1/x", &[("x-api-key", key(0).as_bytes())]);
    let message = crate::faults::frames::message(&prost::Message::encode_to_vec(&request));
    let request = Request::grpc(&format!("/{AUTHORIZATION}/Check")).body(message);
    while let Ok(answer) = client.try_send(&request) {
        assert_eq!(answer.grpc_status(), Some(0), "{answer:?}");
        answers.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn under_load_every_decision_is_answered_and_every_answer_is_logged() {
    let mut solo = Solo::start(&policy(0..1));
    let answers = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            let mut client = solo.gatepost.connect();
            let answers = &answers;
            scope.spawn(move || call_until_refused(&mut client, answers));
        }
        eventually("some load", || (answers.load(Ordering::Relaxed) > 200).then_some(()));
        solo.gatepost.process.signal(Signal::TERM);
    });
    assert_eq!(solo.gatepost.process.wait().code(), Some(0));
    let answers = answers.load(Ordering::Relaxed);
    assert_eq!(last_seq(&solo.gatepost), answers, "decided, and not answered");
    assert_eq!(u64::try_from(solo.decisions(answers).len()).unwrap(), answers);
}

#[test]
fn during_the_notice_it_says_that_it_goes_and_still_serves() {
    let mut solo = Solo::with_args(&policy(0..1), &["--drain-notice", "600"]);
    let mut client = solo.gatepost.connect();
    let mut health = Health::of(&solo.gatepost);
    let mut watches = ["", AUTHORIZATION].map(|service| health.watch(service).unwrap());
    for watch in &mut watches {
        assert_eq!(watch.next(), Some(Serving));
    }
    let start = Now::read().monotonic;
    solo.gatepost.process.signal(Signal::TERM);
    for watch in &mut watches {
        assert_eq!(watch.next(), Some(NotServing));
    }
    assert_eq!(health.check(""), Ok(NotServing));
    assert_eq!(health.check(AUTHORIZATION), Ok(NotServing));
    assert!(opens(&mut client, 0), "an old connection is still served");
    assert!(opens(&mut solo.gatepost.connect(), 0), "and a new one");
    let ready = solo.gatepost.admin("/ready");
    assert_eq!((ready.status, ready.text()), (503, "not ready: draining\n"));
    assert_eq!(solo.gatepost.admin("/health").status, 200);
    for watch in &mut watches {
        assert_eq!(watch.next(), None, "the stream ends");
    }
    assert_eq!(solo.gatepost.process.wait().code(), Some(0));
    let took = since(start);
    assert!((600..3000).contains(&took.as_millis()), "{took:?}");
}

/// Envoy never closes its connections, scrapers and port checks keep theirs, and some never say a
/// word.
#[test]
fn connections_that_others_keep_open_do_not_keep_it_from_ending() {
    let mut world = World::with_policy(&policy(0..1)).args(&["--drain-grace", "10000"]).start();
    let request = Request::get("/api/v1/x").header("x-api-key", key(0));
    assert_eq!(world.send(Protocol::Http1, &request).status, 200);
    let Socket::Tcp(address) = world.gatepost.socket else { unreachable!() };
    let mut admin = Http1::connect(world.gatepost.admin);
    assert_eq!(admin.send(&Request::get("/health")).status, 200);
    let mut idle = world.gatepost.connect();
    assert!(opens(&mut idle, 0));
    let mut watching = Health::of(&world.gatepost);
    let mut watch = watching.watch("").unwrap();
    assert_eq!(watch.next(), Some(Serving));
    let mut begun = Frames::connect(address);
    begun.write(&[open(1), data(1, &[0, 0], false)].concat());
    let silent = [address, world.gatepost.admin].map(|to| TcpStream::connect(to).unwrap());
    let mut half = TcpStream::connect(address).unwrap();
    std::io::Write::write_all(&mut half, &PREFACE[..10]).unwrap();
    let mut asking = TcpStream::connect(world.gatepost.admin).unwrap();
    std::io::Write::write_all(&mut asking, b"GET /health HTTP/1.1\r\nX").unwrap();
    // All of them have been accepted: this connection came after them.
    assert!(opens(&mut world.gatepost.connect(), 0));

    let start = Now::read().monotonic;
    world.gatepost.process.signal(Signal::TERM);
    let unfinished = thread::spawn(move || begun.until_closed());
    let status = world.gatepost.process.wait();
    unfinished.join().unwrap();
    let took = since(start);
    assert_eq!(status.code(), Some(0), "after {took:?}");
    assert!(took < Duration::from_secs(8), "it took {took:?}, with a grace of 10 s");
    assert_eq!(world.send(Protocol::Http1, &request).status, 503);
    drop((silent, half, asking, idle, admin));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut solo = Solo::with_args(&policy(0..1), &["--drain-notice", "60000"]);
    solo.gatepost.process.signal(Signal::TERM);
    eventually("the notice", || (solo.gatepost.admin("/ready").status == 503).then_some(()));
    // Signals that come together are one.
    solo.gatepost.process.signal(Signal::INT);
    let start = Now::read().monotonic;
    eventually("a quarter of a second", || {
        (since(start) > Duration::from_millis(250)).then_some(())
    });
    assert!(!solo.gatepost.process.has_ended());
    solo.gatepost.process.signal(Signal::TERM);
    assert_eq!(solo.gatepost.process.wait().code(), Some(1));
    solo.gatepost.process.stderr.wait_for("why", |line| {
        (line.starts_with("gatepost: aborted on a second signal")).then_some(())
    });
}

#[test]
fn an_interrupt_is_as_good_and_the_socket_file_goes_with_the_process() {
    let dir = tempfile::TempDir::new().unwrap();
    let socket = dir.path().join("gateway.sock");
    let mut launch = crate::solo::launch(dir.path().join("policy"), &[]);
    launch.listen = format!("unix:{}", socket.display());
    std::fs::create_dir(&launch.policy).unwrap();
    let file = launch.policy.join(crate::world::POLICY_FILE);
    std::fs::write(file, policy(0..1).to_string()).unwrap();
    let names = |path: &Path| std::fs::read_dir(path).unwrap().count();
    for signal in [Signal::INT, Signal::TERM] {
        let mut gatepost = Gatepost::start(&launch);
        assert!(opens(&mut gatepost.connect(), 0));
        assert!(socket.exists());
        gatepost.process.signal(signal);
        assert_eq!(gatepost.process.wait().code(), Some(0), "{signal:?}");
        assert!(!socket.exists(), "{signal:?}: the socket file is still there");
        assert_eq!(names(dir.path()), 1, "something else is still there");
    }
}

/// With two replicas and the health check of the shipped file, one of them goes and no request
/// notices.
#[test]
fn of_two_replicas_one_can_go_under_load_without_a_failed_request() {
    let mut other = Solo::with_args(&policy(0..1), &["--drain-notice", "1500"]);
    let Socket::Tcp(address) = other.gatepost.socket else { unreachable!() };
    let endpoint = format!(
        "- endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {} }} }} }}",
        address.port()
    );
    let world = World::with_policy(&policy(0..1))
        .edit_envoy("# health_checks:\n    # - timeout: 1s\n    #   interval: 1s\n    #   no_traffic_interval: 1s\n    #   unhealthy_threshold: 2\n    #   healthy_threshold: 1\n    #   grpc_health_check:", "health_checks:\n    - timeout: 1s\n      interval: 0.1s\n      no_traffic_interval: 0.1s\n      unhealthy_threshold: 2\n      healthy_threshold: 1\n      grpc_health_check:")
        .edit_envoy("# On the same machine a Unix socket does as well: { pipe: { path: /run/gatepost/gateway.sock } }", &endpoint)
        .start();
    let request = Request::get("/api/v1/x").header("x-api-key", key(0));
    let over = Over::default();
    let answers = AtomicU64::new(0);
    thread::scope(|scope| {
        for protocol in Protocol::BOTH {
            let (world, request, over, answers) = (&world, &request, &over, &answers);
            scope.spawn(move || {
                let (mut http1, mut http2) = (world.http1(), world.http2());
                while !over.is_it() {
                    let answer = match protocol {
                        Protocol::Http1 => http1.send(request),
                        Protocol::Http2 => http2.send(request),
                    };
                    assert_eq!(answer.status, 200, "{answer:?}");
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _ending = over.when_dropped();
        let of_other = || other.gatepost.process.stdout.mark();
        eventually("both to be asked", || {
            (of_other() > 20 && world.gatepost.process.stdout.mark() > 20).then_some(())
        });
        other.gatepost.process.signal(Signal::TERM);
        assert_eq!(other.gatepost.process.wait().code(), Some(0));
        let then = answers.load(Ordering::Relaxed);
        eventually("more load", || (answers.load(Ordering::Relaxed) > then + 50).then_some(()));
    });
    let answers = answers.load(Ordering::Relaxed);
    let of_other = last_seq(&other.gatepost);
    crate::solo::decisions(&world.gatepost.process, answers - of_other);
    assert_eq!(world.envoy.stat("http.gateway.ext_authz.error"), 0);
}
