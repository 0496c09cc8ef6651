use super::judge::{Next, guard};
use super::*;
use crate::denial::Unavailable;
use crate::lifecycle::readiness::Readiness;
use crate::policy::Revision;
use crate::policy::credential::Source;
use crate::policy::destination::ServiceId;
use crate::policy::egress::{Egress, ServiceMap};
use crate::policy::load::{GATEWAY, Guarded};
use crate::policy::secrets::tests::helpers::{bearer, injected, logged, map, write};
use std::fs;
use std::ops::Range;
use std::path::Path;
use tempfile::TempDir;

/// Keys of this range, and what else stands in the file.
struct File(Range<usize>, &'static str, &'static str);

impl File {
    fn write(&self, directory: &Path) {
        let File(keys, config, each) = self;
        let keys: Vec<String> = keys
            .clone()
            .map(|number| format!(r#"{{"id": "{number}", "key": "test-key-{number:016}"{each}}}"#))
            .collect();
        let keys = keys.join(",");
        let text = format!(
            r#"{{"gateway_config": {{{config}}}, "api_keys": [{keys}], "rate_limit_tiers": {{"default": {{}}}}}}"#
        );
        fs::write(directory.join(GATEWAY), text).expect("writable");
    }
}

/// A reloader that holds what the directory says.
fn reloader(directory: &Path) -> Reloader {
    let now = Now::read();
    let files = Files::read(directory).expect("readable");
    let snapshot =
        files.compile(Strictness::Production, 1, &mut Store::live(directory), now).expect("valid");
    Reloader {
        directory: directory.to_owned(),
        strictness: Strictness::Production,
        policy: Arc::new(Live::new(snapshot)),
        status: Arc::new(Status::loaded(now)),
        metrics: Arc::new(Metrics::new(now).expect("metrics")),
        secrets: Store::live(directory),
        sockets: Sockets { gateway: Socket::Bound(None), egress: Socket::Bound(None) },
    }
}

/// The version of the files that `reloader` holds.
fn version(reloader: &Reloader) -> Version {
    let fingerprint = Files::fingerprint_in(&reloader.directory).expect("readable");
    Version { stamps: look(&reloader.directory), fingerprint }
}

/// A service `one` with the token of the file `secret`.
fn one() -> ServiceMap {
    map(&["one"], vec![bearer("one", Source::File("secret".into()))])
}

/// Lets the reloader's policy have this egress side, with the values that its sources have now.
fn switch_on(reloader: &mut Reloader, map: ServiceMap) {
    let map = Arc::new(map);
    let wanted = reloader.secrets.supply(&map, Now::read());
    reloader
        .policy
        .update(|old| Some(Snapshot { egress: Some(Egress::new(map, wanted)), ..old.clone() }));
}

/// What a request gets of the credential `one` at this moment.
fn token(policy: &Live) -> Result<String, Unavailable> {
    let snapshot = policy.load_full();
    injected(&snapshot.egress.as_ref().expect("an egress").live, "one")
}

fn bearing(value: &str) -> String {
    format!("authorization: Bearer {value}")
}

#[test]
fn an_edit_that_loses_most_keys_must_be_meant() {
    let plain = |keys| File(keys, "", "");
    let meant = |keys| File(keys, r#""allow_shrink": true"#, "");
    let disabled = |keys| File(keys, "", r#", "enabled": false"#);
    for (name, before, after, holds) in [
        ("19 of 19", plain(0..19), plain(0..0), true),
        ("19 of 25", plain(0..25), plain(0..6), true),
        ("20 of 20", plain(0..20), plain(0..0), false),
        ("20 of 39: more than half", plain(0..39), plain(0..19), false),
        ("20 of 40: exactly half", plain(0..40), plain(0..20), true),
        ("21 of 41: more than half", plain(0..41), plain(0..20), false),
        ("20 of 41: less than half", plain(0..41), plain(0..21), true),
        ("all of 100", plain(0..100), plain(0..0), false),
        ("all of 100 replaced, so that no net loss", plain(0..100), plain(100..200), true),
        ("80 of 100 replaced by 20", plain(0..100), plain(80..120), false),
        ("all of 100 disabled", plain(0..100), disabled(0..100), true),
        ("all of 100 disabled ones", disabled(0..100), plain(0..0), false),
        ("60 of 100, meant", plain(0..100), meant(0..40), true),
        ("60 of 100, meant before and not now", meant(0..100), plain(0..40), false),
        ("from nothing", plain(0..0), plain(0..100), true),
    ] {
        let dir = TempDir::new().expect("a directory");
        before.write(dir.path());
        let reloader = reloader(dir.path());
        let first = version(&reloader);
        after.write(dir.path());
        let files = Files::read(dir.path()).expect("readable");
        match reloader.next(&files, &first.stamps, &first, Now::read()) {
            Ok(Some(Next { snapshot, .. })) => {
                assert!(holds, "{name} went through");
                assert_eq!(snapshot.generation, 2);
                let gateway = snapshot.gateway.expect("a gateway");
                assert_eq!(gateway.keys.len(), after.0.len(), "{name}");
            }
            Ok(None) => panic!("{name}: nothing changed"),
            Err(Error::Shrunk { what, before: was, after: is }) => {
                assert_eq!(what, Guarded::Keys);
                assert!(!holds, "{name} was refused");
                assert_eq!((was, is), (before.0.len(), after.0.len()), "{name}");
            }
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

#[test]
fn a_refusal_is_remembered_since_it_began_and_ends_with_the_mend() {
    let dir = TempDir::new().expect("a directory");
    File(0..1, "", "").write(dir.path());
    let mut reloader = reloader(dir.path());
    let at = |seconds| Now { unix: Duration::from_secs(seconds), ..Now::read() };
    reloader.refused(&Error::Empty("f".into()), at(100));
    reloader.refused(&Error::Missing("f".into()), at(200));
    let state = reloader.status.get();
    assert_eq!(state.error_since, Some(Duration::from_secs(100)), "since the first of them");
    assert!(state.error.expect("an error").contains("is gone"), "the last of them");
    assert_eq!(state.checked_at, Duration::from_secs(200));
    reloader.unchanged(at(301));
    let state = reloader.status.get();
    assert_eq!((state.error, state.error_since), (None, None));
    assert_ne!(state.loaded_at, Duration::from_secs(301), "nothing was loaded");

    reloader.refused(&Error::Empty("f".into()), at(400));
    let new =
        Snapshot { revision: Revision("r".into()), generation: 2, gateway: None, egress: None };
    let secrets = reloader.secrets.clone();
    let old = reloader.publish(Next { snapshot: new, secrets }, at(500)).expect("the old one");
    assert_eq!((old.generation, reloader.policy.load().generation), (1, 2));
    let state = reloader.status.get();
    assert_eq!((state.error, state.error_since), (None, None));
    assert_eq!(state.loaded_at, Duration::from_secs(500));
}

#[test]
fn an_edit_that_loses_most_services_or_sandboxes_must_be_meant() {
    let services = |count: usize, allow_shrink: bool| {
        let names: Vec<String> = (0..count).map(|number| format!("s{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut map = map(&names, Vec::new());
        map.options.allow_shrink = allow_shrink;
        let targets = Store::placeholders().supply(&map, Now::read());
        let egress = Some(Egress::new(Arc::new(map), targets));
        Snapshot { revision: Revision("r".into()), generation: 1, gateway: None, egress }
    };
    for (before, after, allow_shrink, refused) in [
        (20, 0, false, true),
        (20, 0, true, false),
        (19, 0, false, false),
        (40, 20, false, false),
        (41, 20, false, true),
        (1, 100, false, false),
    ] {
        let outcome = guard(&services(before, false), &services(after, allow_shrink));
        match outcome {
            Ok(()) => assert!(!refused, "{before} to {after}"),
            Err(error) => {
                assert!(refused, "{error}");
                let start = "egress_config.json: egress_services would go from";
                assert!(error.to_string().starts_with(start), "{error}");
            }
        }
    }
    let error = Error::Shrunk { what: Guarded::Sandboxes, before: 30, after: 1 }.to_string();
    assert!(error.contains("sandboxes would go from 30 to 1") && error.contains("egress_config"));
}

/// The way of a secret alone: no policy file is read for it.
#[test]
fn a_rotated_secret_reaches_the_policy_that_holds() {
    let dir = TempDir::new().expect("a directory");
    File(0..1, "", "").write(dir.path());
    write(&dir.path().join("secret"), "first");
    let mut reloader = reloader(dir.path());
    switch_on(&mut reloader, one());
    let revision = reloader.policy.load().revision.clone();
    assert!(reloader.resupply(Now::read()).is_none(), "nothing has changed");
    fs::write(dir.path().join(GATEWAY), "no policy").expect("written");
    write(&dir.path().join("secret"), "second");
    let lines = logged(|| drop(reloader.resupply(Now::read()).expect("the old one")));
    assert_eq!(token(&reloader.policy), Ok(bearing("second")));
    let snapshot = reloader.policy.load_full();
    assert_eq!((&snapshot.revision, snapshot.generation), (&revision, 2));
    assert_eq!(lines.lines().count(), 2, "{lines}");
    assert!(lines.contains("a new value") && lines.contains("as they are now"), "{lines}");
    assert!(!lines.contains("second"), "{lines}");
    assert!(reloader.resupply(Now::read()).is_none(), "it is known by now");

    let at = |seconds| {
        let now = Now::read();
        Now { monotonic: now.monotonic + Duration::from_secs(seconds), ..now }
    };
    fs::remove_file(dir.path().join("secret")).expect("removed");
    assert!(reloader.resupply(at(0)).is_none());
    let state = || reloader.status.get().credentials[0].state.name();
    assert_eq!((state(), token(&reloader.policy)), ("kept", Ok(bearing("second"))));
    assert!(reloader.secrets.due().is_some());
    assert!(reloader.resupply(at(301)).is_some(), "the grace is over");
    assert_eq!(token(&reloader.policy), Err(Unavailable::Stale));
    let credentials = &reloader.status.get().credentials;
    assert_eq!(credentials[0].state.name(), "stale");
}

/// What Envoy has not yet confirmed keeps its whole old target, and no confirmation is lost.
#[test]
fn a_new_policy_is_entered_from_the_targets_that_hold() {
    let dir = TempDir::new().expect("a directory");
    File(0..1, "", "").write(dir.path());
    write(&dir.path().join("secret"), "first");
    let mut reloader = reloader(dir.path());
    switch_on(&mut reloader, one());
    let mut moved = one();
    moved.services[0].destination.port = 444;
    let mut secrets = reloader.secrets.clone();
    write(&dir.path().join("secret"), "second");
    let moved = Arc::new(moved);
    let wanted = secrets.supply(&moved, Now::read());
    let egress = Some(Egress::new(moved, wanted));
    let snapshot =
        Snapshot { revision: Revision("moved".into()), generation: 9, gateway: None, egress };
    reloader.publish(Next { snapshot, secrets }, Now::read());
    let port = |policy: &Live| {
        let snapshot = policy.load_full();
        let egress = snapshot.egress.as_ref().expect("an egress");
        (egress.live[0].destination.port, egress.pending().count())
    };
    assert_eq!((port(&reloader.policy), token(&reloader.policy)), ((443, 1), Ok(bearing("first"))));

    write(&dir.path().join("secret"), "third");
    reloader.resupply(Now::read()).expect("another value");
    assert_eq!((port(&reloader.policy), token(&reloader.policy)), ((443, 1), Ok(bearing("first"))));
    reloader.policy.update(|old| {
        let egress = old.egress.as_ref()?.promote(|_| true);
        Some(Snapshot { egress: Some(egress), ..old.clone() })
    });
    assert_eq!((port(&reloader.policy), token(&reloader.policy)), ((444, 0), Ok(bearing("third"))));
    write(&dir.path().join("secret"), "fourth");
    reloader.resupply(Now::read()).expect("another value");
    assert_eq!(
        (port(&reloader.policy), token(&reloader.policy)),
        ((444, 0), Ok(bearing("fourth")))
    );
    assert_eq!(reloader.policy.load().generation, 4, "one for each that was published");
}

#[test]
fn a_side_is_ready_once_it_has_a_policy() {
    let dir = TempDir::new().expect("a directory");
    File(0..1, "", "").write(dir.path());
    let mut reloader = reloader(dir.path());
    let (readiness, gateway) = Readiness::new("gateway_config.json");
    let egress = readiness.wait_for("egress_config.json");
    reloader.sockets =
        Sockets { gateway: Socket::Bound(Some(gateway)), egress: Socket::Bound(Some(egress)) };
    let mut publish = |snapshot: &Snapshot| {
        let next = Next { snapshot: snapshot.clone(), secrets: reloader.secrets.clone() };
        reloader.publish(next, Now::read());
    };
    let mut snapshot =
        Snapshot { revision: Revision("r".into()), generation: 1, gateway: None, egress: None };
    publish(&snapshot);
    assert_eq!(readiness.why_not(), ["gateway_config.json", "egress_config.json"]);
    let map = map(&["one"], Vec::new());
    assert_eq!(map.service("one").map(|(id, _)| id), Some(ServiceId(0)));
    let targets = Store::placeholders().supply(&map, Now::read());
    snapshot.egress = Some(Egress::new(Arc::new(map), targets));
    publish(&snapshot);
    assert_eq!(readiness.why_not(), ["gateway_config.json"]);
}

/// The whole way, with its thread: a secret, and a broken policy beside it.
#[tokio::test]
async fn the_thread_follows_secrets_though_the_policy_is_broken() {
    let dir = TempDir::new().expect("a directory");
    File(0..1, "", "").write(dir.path());
    let elsewhere = TempDir::new().expect("a directory");
    let secret = elsewhere.path().join("secret");
    write(&secret, "first");
    let mut reloader = reloader(dir.path());
    switch_on(&mut reloader, map(&["one"], vec![bearer("one", Source::File(secret.clone()))]));
    let (policy, status) = (Arc::clone(&reloader.policy), Arc::clone(&reloader.status));
    let mut news = policy.subscribe();
    let first = version(&reloader);
    let (waker, work) = reloader.prepare(first);
    let thread = std::thread::spawn(work);
    let patience = Duration::from_secs(15);
    for value in ["second", "third"] {
        // Cut short first: what is read too early would be empty.
        fs::write(&secret, "").expect("written");
        fs::write(&secret, value).expect("written");
        let changed = tokio::time::timeout(patience, news.changed()).await;
        changed.expect("in time").expect("the policy lives");
        assert_eq!(token(&policy), Ok(bearing(value)));
        fs::write(dir.path().join(GATEWAY), "no policy").expect("written");
    }
    assert_eq!(policy.load().generation, 3, "one for each value");
    write(&elsewhere.path().join("new"), "fourth");
    fs::rename(elsewhere.path().join("new"), &secret).expect("renamed");
    let changed = tokio::time::timeout(patience, news.changed()).await;
    changed.expect("in time").expect("the policy lives");
    assert_eq!(token(&policy), Ok(bearing("fourth")));
    waker.stop();
    thread.join().expect("no panic");
    assert!(status.get().error.is_some(), "the policy was refused meanwhile");
}

#[test]
fn a_side_without_a_socket_stays_off_and_one_that_was_on_does_not_go() {
    let dir = TempDir::new().expect("a directory");
    let mut reloader = reloader(dir.path());
    let first = version(&reloader);
    File(0..1, "", "").write(dir.path());
    let next = |reloader: &Reloader| {
        let files = Files::read(dir.path()).expect("readable");
        reloader.next(&files, &look(dir.path()), &first, Now::read())
    };
    for (socket, on) in [(Socket::Unbound, false), (Socket::Bound(None), true)] {
        reloader.sockets.gateway = socket;
        let lines = logged(|| {
            let new = next(&reloader).expect("valid").expect("something new");
            assert_eq!(new.snapshot.gateway.is_some(), on);
        });
        assert_eq!(lines.contains("the gateway has no socket"), !on, "{lines}");
    }
    switch_on(&mut reloader, one());
    let error = next(&reloader).expect_err("the egress has no file").to_string();
    assert!(error.contains("egress_config.json: is gone"), "{error}");
}
