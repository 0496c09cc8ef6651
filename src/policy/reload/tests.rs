use super::*;
use crate::policy::Revision;
use std::ops::Range;
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
        std::fs::write(directory.join(GATEWAY), text).expect("writable");
    }
}

/// A reloader that holds what the directory says.
fn reloader(directory: &Path) -> Reloader {
    let now = Now::read();
    let files = Files::read(directory).expect("readable");
    let snapshot =
        files.compile(Strictness::Production, 1, &mut Store::live(), now).expect("valid");
    Reloader {
        directory: directory.to_owned(),
        strictness: Strictness::Production,
        policy: Arc::new(Live::new(snapshot)),
        status: Arc::new(Status::loaded(now)),
        metrics: Arc::new(Metrics::new(now).expect("metrics")),
        unconfigured: None,
    }
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
        after.write(dir.path());
        let files = Files::read(dir.path()).expect("readable");
        match reloader.next(&files) {
            Ok(Some(snapshot)) => {
                assert!(holds, "{name} went through");
                assert_eq!(snapshot.generation, 2);
                let gateway = snapshot.gateway.expect("a gateway");
                assert_eq!(gateway.keys.len(), after.0.len(), "{name}");
            }
            Ok(None) => panic!("{name}: nothing changed"),
            Err(Error::Shrunk { before: was, after: is }) => {
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
    let old = reloader.swap(new, at(500));
    assert_eq!((old.generation, reloader.policy.load().generation), (1, 2));
    let state = reloader.status.get();
    assert_eq!((state.error, state.error_since), (None, None));
    assert_eq!(state.loaded_at, Duration::from_secs(500));
}
