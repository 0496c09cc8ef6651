//! 1,000 services come at once, and one of them moves.

use std::time::Duration;

use gatepost::clock::Now;

use super::{Stream, alone, since};
use crate::egress::scene::{ask, policy, service};
use crate::world::answer::Answer;
use crate::world::egress::EgressWorld;
use crate::world::http1::Http1;
use crate::world::patience::{eventually, within};
use crate::world::upstream_tls::Remote;

const COUNT: usize = 1_000;

fn name(number: usize) -> String {
    format!("s{number:04}")
}

fn call(connection: &mut Http1, number: usize) -> Answer {
    connection.send(&ask("agent", &name(number), "/"))
}

#[test]
fn a_thousand_services_are_live_three_seconds_after_the_edit() {
    let Some(builder) = EgressWorld::prepare() else { return };
    let _alone = alone();
    let called: Vec<usize> = (0..COUNT).step_by(50).chain([7, COUNT - 1]).collect();
    let hosts: Vec<String> =
        called.iter().map(|&number| format!("{}.test", name(number))).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).chain(["first.test"]).collect();
    let (remote, other) = (Remote::named(&hosts), Remote::named(&hosts));
    let mut config = policy(&[("first", service("first.test", &remote))]);
    let world = builder.start(&config);
    let proxy = world.envoy.gateway;
    let mut stream = Stream::open(proxy, "first", &remote);
    let mut connection = Http1::connect(proxy);
    for number in 0..COUNT {
        let added = service(&format!("{}.test", name(number)), &remote);
        config["egress_services"][name(number)] = added;
    }
    let start = Now::read().monotonic;
    world.replace_config(&config);
    within(Duration::from_secs(3), "the last of 1,000 services", || {
        (call(&mut connection, COUNT - 1).status == 200).then_some(())
    });
    eprintln!("1,000 services: {:.2} s", since(start));
    for &number in &called {
        assert_eq!(call(&mut connection, number).status, 200, "{number}");
    }
    stream.go_on();
    eventually("everything to be acknowledged", || {
        let status = world.gatepost.admin("/status").json();
        (status["egress"]["envoys"][0]["pending"] == 0).then_some(())
    });
    // With the first one, and the one of the bootstrap.
    let clusters = world.envoy.stat("cluster_manager.active_clusters");
    assert_eq!(clusters, 1_002);

    let mut another = Stream::open(proxy, &name(7), &remote);
    let moved = format!("{}.test", name(500));
    config["egress_services"][name(500)] = service(&moved, &other);
    let start = Now::read().monotonic;
    world.replace_config(&config);
    let port = format!(":{}", other.port());
    within(Duration::from_secs(1), "one of 1,000 to move", || {
        let host = call(&mut connection, 500).upstream_header("host").concat();
        host.ends_with(&port).then_some(())
    });
    eprintln!("one of 1,000: {:.2} s", since(start));
    another.go_on();
    stream.go_on();
    assert_eq!(world.envoy.stat("cluster_manager.cluster_modified"), 0);
}
