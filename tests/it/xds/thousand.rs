//! The size that is supported: 1,000 services.

use std::time::Duration;

use gatepost::clock::Now;

use super::Scene;
use super::side::Service;
use crate::world::patience::within;

const COUNT: u16 = 1_000;

fn services(port: u16) -> Vec<Service> {
    let service =
        |number: u16| Service::https(&format!("s{number:04}"), &format!("s{number:04}.test"), port);
    (0..COUNT).map(service).collect()
}

fn seconds(since: Duration) -> f64 {
    Now::read().monotonic.saturating_sub(since).as_secs_f64()
}

#[test]
fn a_thousand_services_are_live_within_three_seconds() {
    let scene = Scene::start(&[Service::https("first", "first.test", 443)]);
    let before = allocated(&scene);
    let mut all = services(443);
    // A name that never answers delays no other.
    all[500] = Service::https("s0500", "silent.test", 443);
    let start = Now::read().monotonic;
    scene.server.edit(&all);
    let live = |scene: &Scene| scene.envoy.stat("cluster_manager.active_clusters");
    // Those of the bootstrap and the first one, which is kept for a while, but not the silent one.
    within(Duration::from_secs(3), "1,000 services", || {
        (live(&scene) > u64::from(COUNT)).then_some(())
    });
    eprintln!("1,000 services: {:.2} s", seconds(start));
    eprintln!("memory: {:.2} MiB a service", (allocated(&scene) - before) / f64::from(COUNT));
    assert_eq!(scene.server.count("gatepost_xds_nacks_total"), 0);

    all[7] = Service::https("s0007", "moved.test", 443);
    let start = Now::read().monotonic;
    scene.server.edit(&all);
    let moved = all[7].cluster();
    within(Duration::from_secs(1), "one of them to move", || {
        (scene.server.held("s0007") == moved).then_some(())
    });
    eprintln!("one of them: {:.3} s", seconds(start));
    let modified = scene.envoy.stat("cluster_manager.cluster_modified");
    assert_eq!(modified, 0, "the others are not touched");
}

/// What Envoy has allocated, in MiB.
fn allocated(scene: &Scene) -> f64 {
    let memory = scene.envoy.admin("/memory").json();
    memory["allocated"].as_str().unwrap().parse::<f64>().unwrap() / f64::from(1 << 20)
}
