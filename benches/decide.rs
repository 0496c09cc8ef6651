//! One decision without a network, and the loading of a policy.

mod egress_fixture;
mod fixture;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput};
use gatepost::authz::decide;
use gatepost::clock::Now;
use gatepost::policy::compile::{self, Strictness};
use gatepost::policy::egress::{Egress, ServiceMap};
use gatepost::policy::raw::{self, EgressFile, GatewayFile, SecretsFile};
use gatepost::policy::secrets::Store;
use gatepost::policy::{Gateway, Revision, Snapshot};
use gatepost::ratelimit::memory::Counters;
use gatepost::side::Side;

/// As in the process that is shipped.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KEYS: u32 = 100_000;
/// Callers that take turns: their counters and keys do not all stay in the nearest cache.
const CALLERS: u32 = 1_000;
/// The egress's sandboxes, and its services.
const EGRESS: u32 = 10_000;
const DECISION_ID: &str = "00112233445566778899aabbccddeeff";

fn gateway(text: &str) -> Gateway {
    let file: GatewayFile<'_> = raw::parse(text).expect("the fixture is well formed");
    compile::gateway(&file, Strictness::Production).expect("the fixture is a policy")
}

fn decisions(criterion: &mut Criterion, snapshot: &Snapshot) {
    let counters = Counters::new();
    let now = Now::read();
    let stride = KEYS / CALLERS;
    let with_keys: Vec<Vec<u8>> = (0..CALLERS)
        .map(|caller| fixture::credential(caller * stride))
        .map(|credential| fixture::check_request(fixture::PATH, Some(&credential)))
        .collect();
    let unknown = "gp_key_of_nobody_at_all_0000000";
    let one = |path, credential| vec![fixture::check_request(path, credential)];
    let known = fixture::credential(7);
    let cases = [
        ("allow", with_keys, true),
        ("deny_unknown_key", one(fixture::PATH, Some(unknown)), false),
        ("deny_no_rule", one("/nowhere/at/all", Some(&known)), false),
        ("allow_without_auth", one("/health", None), true),
    ];
    for (name, requests, allowed) in &cases {
        let mut turn = requests.iter().cycle();
        let mut next = || turn.next().expect("an endless cycle");
        let first = decide(Side::Gateway, snapshot, &counters, now, DECISION_ID, next());
        assert_eq!(first.outcome.is_ok(), *allowed, "{name}: {:?}", first.outcome);
        criterion.benchmark_group("decide").bench_function(*name, |bencher| {
            bencher.iter(|| {
                black_box(
                    decide(Side::Gateway, snapshot, &counters, now, DECISION_ID, next())
                        .outcome
                        .is_ok(),
                )
            });
        });
        criterion.benchmark_group("decide_and_response").bench_function(*name, |bencher| {
            bencher.iter(|| {
                decide(Side::Gateway, snapshot, &counters, now, DECISION_ID, next()).response()
            });
        });
    }
}

/// The text has been read; the snapshot is dropped outside of what is measured.
fn load(criterion: &mut Criterion, text: &str) {
    let mut group = criterion.benchmark_group("load");
    group.sample_size(20).throughput(Throughput::Bytes(text.len().try_into().expect("small")));
    group.bench_function("100000_keys", |bencher| {
        bencher.iter_batched(|| (), |()| gateway(text), BatchSize::PerIteration);
    });
    group.finish();
}

fn service_map(config: &str, secrets: &str) -> ServiceMap {
    let config: EgressFile<'_> = raw::parse(config).expect("the fixture is well formed");
    let secrets: SecretsFile<'_> = raw::parse(secrets).expect("the fixture is well formed");
    compile::egress(&config, Some(&secrets), Strictness::Production)
        .expect("the fixture is a policy")
}

/// The number of services should make no difference.
fn egress_decisions(criterion: &mut Criterion) {
    for services in [10, EGRESS] {
        let map = service_map(
            &egress_fixture::config(services, EGRESS),
            &egress_fixture::secrets(services),
        );
        let now = Now::read();
        let targets = Store::live(".").supply(&map, now);
        let egress = Some(Egress::new(Arc::new(map), targets));
        let revision = Revision("0".repeat(64).into());
        let snapshot = Snapshot { revision, generation: 1, gateway: None, egress };
        let stride = EGRESS / CALLERS;
        let requests: Vec<Vec<u8>> = (0..CALLERS)
            .map(|caller| egress_fixture::check_request(services, caller * stride))
            .collect();
        let counters = Counters::new();
        let mut turn = requests.iter().cycle();
        let mut next = || turn.next().expect("an endless cycle");
        let mut decision = || decide(Side::Egress, &snapshot, &counters, now, DECISION_ID, next());
        for _ in 0..CALLERS {
            let first = decision();
            assert!(first.outcome.is_ok(), "{:?}", first.outcome);
        }
        let name = format!("egress_allow_{services}_services");
        criterion.benchmark_group("decide").bench_function(&name, |bencher| {
            bencher.iter(|| black_box(decision().outcome.is_ok()));
        });
        criterion.benchmark_group("decide_and_response").bench_function(&name, |bencher| {
            bencher.iter(|| decision().response());
        });
    }
}

/// The texts have been read; the map is dropped outside of what is measured.
fn load_egress(criterion: &mut Criterion) {
    let (config, secrets) =
        (egress_fixture::config(EGRESS, EGRESS), egress_fixture::secrets(EGRESS));
    let bytes = (config.len() + secrets.len()).try_into().expect("small");
    let mut group = criterion.benchmark_group("load");
    group.sample_size(20).throughput(Throughput::Bytes(bytes));
    group.bench_function("10000_services_10000_sandboxes", |bencher| {
        bencher.iter_batched(|| (), |()| service_map(&config, &secrets), BatchSize::PerIteration);
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let text = fixture::policy(KEYS, &fixture::credential(KEYS - 1));
    let snapshot = Snapshot {
        revision: Revision("0".repeat(64).into()),
        generation: 1,
        gateway: Some(Arc::new(gateway(&text))),
        egress: None,
    };
    decisions(&mut criterion, &snapshot);
    load(&mut criterion, &text);
    egress_decisions(&mut criterion);
    load_egress(&mut criterion);
    criterion.final_summary();
}
