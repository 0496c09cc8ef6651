//! Services come, move and go, in a real Envoy.

use std::time::Duration;

use super::Scene;
use super::server::Server;
use super::side::Service;
use crate::world::Upstream;
use crate::world::answer::Request;
use crate::world::envoy::Envoy;
use crate::world::http1::Http1;
use crate::world::patience::{eventually, within};

fn status(envoy: &Envoy, cluster: &str) -> u16 {
    let request = Request::get("/").header("x-gatepost-route", cluster);
    Http1::connect(envoy.gateway).send(&request).status
}

#[test]
fn clusters_follow_the_services() {
    let upstream = Upstream::start();
    let http = |name: &str| Service::http(name, "127.0.0.1", upstream.address.port());
    let kinds = [
        http("demo"),
        Service::https("address", "192.0.2.1", 443),
        Service::https("six", "2001:db8::1", 443),
        Service::https("name", "api.test", 443),
    ];
    let mut wanted: Vec<_> = kinds.iter().map(Service::cluster).collect();
    wanted.sort();
    let scene = Scene::start(&kinds);
    eventually("all kinds of clusters", || (scene.clusters() == wanted).then_some(()));
    let node = scene.server.node("the acknowledgement", |node| node.clusters == 4);
    assert_eq!((&*node.id, &*node.cluster), ("egress-1", "gatepost-egress"));
    assert_eq!((node.waiting, node.refused, node.nack), (0, 0, None));
    assert_eq!(status(&scene.envoy, &kinds[0].cluster()), 200);

    // One moves: it goes there once Envoy knows the way, and the old way is kept for a while.
    let moved = Service::http("demo", "localhost.test", upstream.address.port());
    let services = [std::slice::from_ref(&moved), &kinds[1..]].concat();
    scene.server.edit(&services);
    within(Duration::from_secs(1), "the new destination", || {
        (scene.server.held("demo") == moved.cluster()).then_some(())
    });
    assert!(scene.clusters().contains(&kinds[0].cluster()), "a check may just have named it");
    eventually("the new cluster to be used", || {
        (status(&scene.envoy, &moved.cluster()) == 200).then_some(())
    });
    assert_eq!(scene.server.count("gatepost_xds_nacks_total"), 0);

    // One goes: in the end both old clusters are gone, and Envoy says 503 for them.
    scene.server.edit(&services[..3]);
    let mut wanted: Vec<_> = services[..3].iter().map(Service::cluster).collect();
    wanted.sort();
    eventually("what is gone to go", || (scene.clusters() == wanted).then_some(()));
    assert_eq!(status(&scene.envoy, &kinds[0].cluster()), 503);
    assert_eq!(status(&scene.envoy, &kinds[3].cluster()), 503);
}

#[test]
fn a_restarted_server_is_found_within_a_second() {
    let services = [Service::https("a", "a.test", 443), Service::https("b", "b.test", 443)];
    let mut scene = Scene::start(&services);
    scene.server.node("the acknowledgement", |node| node.clusters == 2);
    let address = scene.server.address.to_string();
    let live = scene.server.stop();
    scene.server = Server::start(&address, live);
    within(Duration::from_secs(1), "Envoy to come back", || {
        scene.server.xds.nodes().into_iter().find(|node| node.clusters == 2)
    });
    assert_eq!(scene.server.count("gatepost_xds_responses_total"), 0, "it has everything");

    // What was edited meanwhile holds with the first response, and nothing else is touched.
    let live = scene.server.stop();
    let more = [services.as_slice(), &[Service::https("c", "c.test", 443)]].concat();
    super::side::edit(&live, &more);
    scene.server = Server::start(&address, live);
    within(Duration::from_secs(1), "Envoy to come back", || {
        scene.server.xds.nodes().into_iter().find(|node| node.clusters == 3)
    });
    assert_eq!(scene.server.count("gatepost_xds_responses_total"), 1);
    assert_eq!(scene.envoy.stat("cluster_manager.cluster_removed"), 0);
    assert_eq!(scene.envoy.stat("cluster_manager.cluster_modified"), 0);
}
