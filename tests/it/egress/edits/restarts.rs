//! Envoys and gatepost come and go.

use std::time::Duration;

use gatepost::clock::Now;
use rustix::process::Signal;
use tempfile::TempDir;

use super::{Stream, alone, since, under_load};
use crate::egress::scene::{ask, policy, service};
use crate::world::Protocol;
use crate::world::egress::{EgressWorld, yaml};
use crate::world::envoy::{Envoy, replace_once};
use crate::world::http1::Http1;
use crate::world::patience::{eventually, within};
use crate::world::upstream_tls::Remote;

/// Where a call of `api` arrives through this Envoy.
fn port(envoy: &Envoy) -> String {
    let answer = Http1::connect(envoy.gateway).send(&ask("agent", "api", "/"));
    let host = answer.upstream_header("host").concat();
    host.rsplit(':').next().unwrap().to_owned()
}

#[test]
fn two_envoys_follow_an_edit_and_neither_waits_long_for_the_other() {
    let Some(builder) = EgressWorld::prepare() else { return };
    let _alone = alone();
    // A destination for each edit, new to every Envoy.
    let remotes = [(); 4].map(|()| Remote::named(&["api.test"]));
    let config = |edit: usize| policy(&[("api", service("api.test", &remotes[edit]))]);
    let world = builder.start(&config(0));
    let dir = TempDir::new().unwrap();
    let yaml = replace_once(&yaml(&world.path(""), &world.dns), "id: egress-1", "id: egress-2");
    let mut second = Envoy::listening(dir.path(), &yaml, "egress");
    let wait = |limit: u64, what: &str, envoys: &[&Envoy], edit: usize| {
        let start = Now::read().monotonic;
        world.replace_config(&config(edit));
        let wanted = remotes[edit].port().to_string();
        within(Duration::from_secs(limit), what, || {
            envoys.iter().all(|envoy| port(envoy) == wanted).then_some(())
        });
        eprintln!("{what}: {:.2} s", since(start));
    };
    eventually("both to be connected", || {
        (world.gatepost.metric("gatepost_xds_streams") > 1.5).then_some(())
    });
    wait(2, "both Envoys", &[&world.envoy, &second], 1);
    // It keeps its connection, and says nothing: it is waited for, but not for ever.
    second.process.signal(Signal::STOP);
    wait(3, "one beside one that hangs", &[&world.envoy], 2);
    second.process.kill();
    wait(2, "one beside one that is gone", &[&world.envoy], 3);
}

#[test]
fn a_killed_gatepost_comes_back_to_an_envoy_that_has_kept_every_cluster() {
    const SERVICES: usize = 50;
    let Some(builder) = EgressWorld::prepare() else { return };
    let _alone = alone();
    let names: Vec<String> = (0..SERVICES).map(|number| format!("s{number:02}")).collect();
    let hosts: Vec<String> = names.iter().map(|name| format!("{name}.test")).collect();
    let remote = Remote::named(&hosts.iter().map(String::as_str).collect::<Vec<_>>());
    let pairs = names.iter().zip(&hosts);
    let services: Vec<_> =
        pairs.map(|(name, host)| (name.as_str(), service(host, &remote))).collect();
    let mut world = builder.start(&policy(&services));
    let proxy = world.envoy.gateway;
    let active = |world: &EgressWorld| world.envoy.stat("cluster_manager.active_clusters");
    let clusters = active(&world);
    let mut stream = Stream::open(proxy, "s01", &remote);
    let statuses = under_load(proxy, "s00", || {
        for _ in 0..3 {
            world.kill_gatepost();
            let away = world.send(Protocol::Http1, &ask("agent", "s02", "/"));
            assert_eq!(away.status, 503, "{away:?}");
            stream.go_on();
            let start = Now::read().monotonic;
            world.restart_gatepost();
            eprintln!("ready after {:.2} s", since(start));
            let taken = Now::read().monotonic.saturating_sub(start);
            let left = Duration::from_secs(2).saturating_sub(taken);
            within(left, "calls to succeed again", || {
                let answer = world.send(Protocol::Http1, &ask("agent", "s02", "/"));
                (answer.status == 200).then_some(())
            });
            eprintln!("calls succeed after {:.2} s", since(start));
            eventually("Envoy to come back", || {
                (world.gatepost.metric("gatepost_xds_streams") > 0.5).then_some(())
            });
        }
    });
    assert_eq!(statuses.keys().collect::<Vec<_>>(), [&200, &503], "{statuses:?}");
    for name in &names {
        assert_eq!(world.send(Protocol::Http2, &ask("agent", name, "/")).status, 200, "{name}");
    }
    stream.go_on();
    assert_eq!(active(&world), clusters);
    assert_eq!(world.envoy.stat("cluster_manager.cluster_removed"), 0);
    assert_eq!(world.envoy.stat("cluster_manager.cluster_modified"), 0);
}
