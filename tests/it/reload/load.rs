//! 200 edits and 800 hangups while requests go through: none fails, and none sees half a policy.

use std::collections::BTreeMap;
use std::fs;
use std::thread;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::solo::{Over, Said, ask, decisions, key};
use crate::world::answer::Request;
use crate::world::gatepost::replace_file;
use crate::world::patience::eventually;
use crate::world::{Protocol, World};

const EDITS: u64 = 200;
const HANGUPS_PER_EDIT: u64 = 4;

/// Two policies of which every part names its own: a key, role, tier, tenant or rule of the one
/// together with any of the other is half a policy. The two keys change places, and the rule asks
/// for its own policy's role, so that a mixture of keys and rules is even a 403.
fn side(name: &str) -> Value {
    let entry = |id: &str, number: usize| {
        json!({ "id": format!("{id}-{name}"), "key": key(number), "role": name,
                "tenant": name, "rate_limit_tier": name })
    };
    let (first, second) = if name == "left" { (1, 2) } else { (2, 1) };
    json!({
        "api_keys": [entry("one", first), entry("two", second)],
        "rate_limit_tiers": { name: { "requests_per_minute": -1 } },
        "rules": [{ "id": name, "paths": ["/api/**"], "roles": [name], "tenants": [name] }],
    })
}

/// Which policy spoke; panics where it is neither.
fn spoke(number: usize, id: &str, others: &[&str]) -> &'static str {
    let name = if others.iter().all(|&other| other == "left") { "left" } else { "right" };
    assert!(others.iter().all(|&other| other == name), "half a policy: {id} {others:?}");
    let place = if (name == "left") == (number == 1) { "one" } else { "two" };
    assert_eq!(id, format!("{place}-{name}"), "half a policy: {others:?}");
    name
}

/// What one client saw: how many answers of each policy.
type Seen = BTreeMap<&'static str, u64>;

fn through_envoy(world: &World, protocol: Protocol, over: &Over) -> Seen {
    let mut seen = Seen::new();
    let (mut http1, mut http2) = (world.http1(), world.http2());
    let mut number = 1;
    while !over.is_it() {
        number = 3 - number;
        let request = Request::get("/api/x").header("x-api-key", key(number));
        let answer = match protocol {
            Protocol::Http1 => http1.send(&request),
            Protocol::Http2 => http2.send(&request),
        };
        assert_eq!(answer.status, 200, "{answer:?}");
        let header = |name: &str| answer.upstream_header(name).concat();
        let id = header("x-authenticated-key-id");
        let others = ["x-authenticated-role", "x-rate-limit-tier", "x-tenant"].map(header);
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        *seen.entry(spoke(number, &id, &others)).or_default() += 1;
    }
    seen
}

/// Straight to gatepost: faster, and with the revision, which belongs to one policy alone.
fn raw(world: &World, over: &Over) -> Seen {
    let mut seen = Seen::new();
    let mut revisions: BTreeMap<&str, String> = BTreeMap::new();
    let mut client = world.gatepost.connect();
    let mut number = 1;
    while !over.is_it() {
        number = 3 - number;
        let Said { code, headers, metadata } = ask(&mut client, &key(number));
        assert_eq!(code, 0, "{metadata:?}");
        let parts = ["role", "tier", "rule"].map(|name| metadata[name].as_str());
        let parts = [&parts[..], &[&headers["x-tenant"], &headers["x-rate-limit-tier"]]].concat();
        let name = spoke(number, &metadata["key_id"], &parts);
        let revision = revisions.entry(name).or_insert_with(|| metadata["revision"].clone());
        assert_eq!(*revision, metadata["revision"], "one policy with two revisions");
        *seen.entry(name).or_default() += 1;
    }
    assert_eq!(revisions.len(), 2, "two policies with one revision");
    seen
}

/// Edits as fast as each comes to hold, with hangups before, while and after the file is written.
/// Every fourth is written in place: half of it can be read meanwhile, and must not hold.
fn edit(world: &World) {
    let file = world.policy_file();
    let texts = ["left", "right"].map(|name| side(name).to_string());
    let hang_up = || world.gatepost.process.signal(Signal::HUP);
    for number in 1..=EDITS {
        let text = &texts[usize::try_from(number % 2).unwrap()];
        hang_up();
        if number % 4 == 0 {
            fs::write(&file, &text[..text.len() / 2]).unwrap();
            hang_up();
            fs::write(&file, text).unwrap();
        } else {
            hang_up();
            replace_file(&file, text);
        }
        hang_up();
        hang_up();
        eventually("the edit to hold", || {
            let status = world.gatepost.admin("/status").json();
            (status["policy"]["generation"] == number + 1).then_some(())
        });
    }
    assert_eq!(HANGUPS_PER_EDIT * EDITS, 800);
}

#[test]
fn not_one_request_fails_or_sees_half_a_policy() {
    let world = World::with_policy(&side("left")).start();
    let over = Over::default();
    let mut seen = Vec::new();
    thread::scope(|scope| {
        let (world, over) = (&world, &over);
        let clients: Vec<_> = [Protocol::Http1, Protocol::Http1, Protocol::Http2]
            .into_iter()
            .map(|protocol| scope.spawn(move || through_envoy(world, protocol, over)))
            .collect();
        let raw = scope.spawn(|| raw(world, over));
        let ending = over.when_dropped();
        edit(world);
        drop(ending);
        seen.extend(clients.into_iter().map(|client| client.join().unwrap()));
        seen.push(raw.join().unwrap());
    });
    for one in &seen {
        assert_eq!(one.len(), 2, "a client that saw one policy alone: {seen:?}");
    }
    let requests = seen.iter().flat_map(BTreeMap::values).sum();
    eprintln!("{requests} requests");
    let lines = decisions(&world.gatepost.process, requests);
    assert_eq!(lines.len(), usize::try_from(requests).unwrap(), "a request was decided twice");
    let generations: Vec<u64> =
        lines.iter().map(|line| line["generation"].as_u64().unwrap()).collect();
    for line in &lines {
        assert_eq!(line["outcome"], "allow", "{line}");
        // The first generation is left, and they take turns.
        let name = if line["generation"].as_u64().unwrap() % 2 == 1 { "left" } else { "right" };
        for part in ["role", "tier", "tenant", "rule"] {
            assert_eq!(line[part], name, "{line}");
        }
    }
    assert_eq!(generations.iter().max(), Some(&(EDITS + 1)));
    let counted = world.gatepost.metric(
        "gatepost_decisions_total{detail=\"\",outcome=\"allow\",reason=\"\",side=\"gateway\"}",
    );
    assert_eq!(counted.to_string(), requests.to_string());
    assert_eq!(world.envoy.stat("http.gateway.ext_authz.error"), 0);
    assert_eq!(world.gatepost.admin("/status").json()["decision_log"]["dropped"], 0);
}
