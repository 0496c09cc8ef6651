//! A cluster that Envoy refuses.

use std::time::Duration;

use super::Scene;
use super::side::{Service, authority};
use crate::world::patience::within;

#[test]
fn a_refused_cluster_is_named_and_harms_no_other() {
    let moving = |port| Service::https("moving", "moving.test", port);
    let scene = Scene::start(&[moving(1)]);
    scene.server.node("the first cluster", |node| node.clusters == 1);

    // One edit: a service moves to where Envoy cannot go, one moves to where it can, one is new.
    let file = scene.dir.path().join("missing.pem");
    let bad = moving(2).ca_file(file.to_str().unwrap());
    let good = Service::https("good", "good.test", 1);
    scene.server.edit(&[bad.clone(), good.clone()]);
    let node = scene.server.node("the refusal", |node| node.refused == 1 && node.waiting == 0);
    let text = node.nack.unwrap().text;
    assert!(text.starts_with("Error adding/updating cluster(s) "), "{text}");
    assert!(text.contains(&bad.cluster()) && text.contains("missing.pem"), "{text}");
    assert!(scene.clusters().contains(&good.cluster()), "the others of the response live");

    // It stays where it was, also when the time for an answer is over; others move on at once.
    let elsewhere = Service::https("good", "good.test", 2);
    scene.server.edit(&[bad.clone(), elsewhere.clone()]);
    within(Duration::from_secs(1), "the other to move", || {
        (scene.server.held("good") == elsewhere.cluster()).then_some(())
    });
    assert_eq!(scene.server.count("gatepost_xds_nacks_total"), 1);
    let old = [moving(1).cluster(), good.cluster(), elsewhere.cluster()];
    within(Duration::from_secs(7), "the old cluster of the other to go", || {
        (!scene.clusters().contains(&old[1])).then_some(())
    });
    assert_eq!(scene.server.held("moving"), old[0]);
    assert_eq!(scene.server.count("gatepost_xds_pending"), 1);

    // Once Envoy's host is mended, it goes where it is to go, without another edit.
    std::fs::write(&file, authority()).unwrap();
    within(Duration::from_secs(11), "the mended one to move", || {
        (scene.server.held("moving") == bad.cluster()).then_some(())
    });
    assert!(scene.clusters().contains(&bad.cluster()));
    scene.server.node("no more refusals", |node| node.refused == 0);
}
