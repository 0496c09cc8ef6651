//! The size that is supported: 1,000 services.

use std::time::Duration;

use gatepost::clock::Now;

use super::Scene;
use super::side::Service;
use crate::world::patience::within;

const COUNT: u16 = 1_000;
/// Services whose names never answer: one in each batch.
const SILENT: [usize; 5] = [100, 300, 500, 700, 900];

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
    for number in SILENT {
        all[number] = Service::https(&all[number].name, &format!("silent{number}.test"), 443);
    }
    let start = Now::read().monotonic;
    scene.server.edit(&all);
    let live = |scene: &Scene| scene.envoy.stat("cluster_manager.active_clusters");
    // With the one of the bootstrap, and the first one, which is kept for a while.
    let wanted = u64::from(COUNT) + 2;
    let silent = u64::try_from(SILENT.len()).unwrap();
    within(Duration::from_secs(3), "all but the silent ones", || {
        (live(&scene) >= wanted - silent).then_some(())
    });
    eprintln!("1,000 services: {:.2} s", seconds(start));
    eprintln!("memory: {:.2} MiB a service", (allocated(&scene) - before) / f64::from(COUNT));
    assert_eq!(scene.server.count("gatepost_xds_nacks_total"), 0);

    // Envoy gives the silent ones up, and has taken everything.
    scene.server.node("the acknowledgement", |node| node.waiting == 0);
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
