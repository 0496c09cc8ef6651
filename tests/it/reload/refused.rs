//! Edits that are refused, edits that change nothing, and what is said about all of them.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::solo::{Solo, entry, key, opens, policy};
use crate::world::patience::eventually;

/// A policy whose every mistake has a line and a column of its own.
const BROKEN: &str = r#"{
  "api_keys": [
    { "id": "a", "key": "canary-9d41e07b55aa0c3d2f", "enabled": "yes" },
    { "id": "a", "key": "canary-1d41e07b55aa0c3d2f", "colour": 1, "rate_limit_tier": "gold" }
  ],
  "rate_limit_tiers": { "default": { "requests_per_minute": -7 } }
}
"#;

/// Where they are and what each is called.
const MISTAKES: [(&str, &str); 5] = [
    ("3:65", "api_keys[0].enabled"),
    ("4:13", "api_keys[1].id"),
    ("4:54", "api_keys[1].colour"),
    ("4:86", "api_keys[1].rate_limit_tier"),
    ("6:61", "rate_limit_tiers.default.requests_per_minute"),
];

#[test]
fn a_refused_edit_is_told_in_full_and_everywhere_and_its_mend_clears_it() {
    let solo = Solo::start(&policy(0..1));
    let mut client = solo.gatepost.connect();
    // The mend is first what held before, and then something new.
    for (generation, keys) in [(1, 1), (2, 2)] {
        let before = solo.status();
        let mark = solo.gatepost.process.stderr.mark();
        fs::write(solo.file(), BROKEN).unwrap();
        let error = solo.refused();
        assert!(!error.contains("canary"), "a key is told: {error}");
        assert_eq!(error.lines().count(), MISTAKES.len(), "{error}");
        for (place, path) in MISTAKES {
            let wanted = format!("gateway_config.json:{place}: {path}: ");
            assert!(error.lines().any(|line| line.starts_with(&wanted)), "{wanted} in:\n{error}");
            solo.gatepost.process.stderr.wait_from(mark, &wanted, |line| {
                (line.contains("ERROR") && line.contains(&wanted)).then_some(())
            });
        }
        let status = solo.status();
        for part in ["revision", "generation", "loaded_at", "gateway"] {
            assert_eq!(status["policy"][part], before["policy"][part], "the last good one holds");
        }
        assert!(status["policy"]["error_since"].is_string(), "{status}");
        assert_eq!(status["ready"], true);
        assert_eq!(solo.count("gatepost_policy_last_reload_successful"), 0);
        assert!(opens(&mut client, 0));

        solo.replace(&policy(0..keys));
        let mended = eventually("the error to go", || {
            Some(solo.status()).filter(|status| status["policy"]["error"].is_null())
        });
        assert_eq!(mended["policy"]["error_since"], Value::Null);
        assert_eq!(mended["policy"]["generation"], generation);
        assert_eq!(solo.count("gatepost_policy_last_reload_successful"), 1);
    }
    let told = [solo.gatepost.process.stderr.all(), solo.gatepost.process.stdout.all()].concat();
    assert!(!told.join("\n").contains("canary"), "a key is told");
}

#[test]
fn nothing_is_a_mistake_too_and_takes_nothing_away() {
    let solo = Solo::start(&policy(0..1));
    let mut client = solo.gatepost.connect();
    for (contents, wanted) in [
        (&b""[..], "is empty"),
        (b" \n\t\r\n ", "is empty"),
        (b"{", "gateway_config.json:1:"),
        (b"null", "gateway_config.json:1:1"),
        (b"[]", "gateway_config.json:1:1"),
        (b"{\"api_keys\": []}\xff", "gateway_config.json:1:"),
        (b"\xef\xbb\xbf{}", "gateway_config.json:1:"),
    ] {
        solo.replace(&policy(0..1));
        solo.wait_for_no_error();
        fs::write(solo.file(), contents).unwrap();
        let error = solo.refused();
        assert!(error.contains(wanted), "{contents:?}: {error}");
        assert!(opens(&mut client, 0), "{contents:?} took the policy away");
    }
    assert_eq!(solo.generation(), 1);
}

#[test]
fn losing_most_keys_has_to_be_meant() {
    let solo = Solo::start(&policy(0..50));
    let mut client = solo.gatepost.connect();
    solo.replace(&policy(0..20));
    let error = solo.refused();
    assert!(error.contains("from 50 to 20"), "{error}");
    assert!(error.contains("allow_shrink"), "the way out is not told: {error}");
    assert!(opens(&mut client, 49));
    let mut meant = policy(0..20);
    meant["gateway_config"] = json!({ "allow_shrink": true });
    solo.replace_and_wait(&meant);
    assert!(opens(&mut client, 19) && !opens(&mut client, 20));
    // Switched off is not lost.
    let mut disabled = policy(0..20);
    for key in disabled["api_keys"].as_array_mut().unwrap() {
        key["enabled"] = json!(false);
    }
    solo.replace_and_wait(&disabled);
    assert!(!opens(&mut client, 0));
}

#[test]
fn a_hangup_reads_the_files_also_when_they_say_the_same() {
    let solo = Solo::start(&policy(0..1));
    let before = solo.status();
    for times in 1..6 {
        solo.gatepost.process.signal(Signal::HUP);
        eventually("the reload to be counted", || {
            (solo.reloads("unchanged") >= times).then_some(())
        });
    }
    for part in ["revision", "generation", "loaded_at"] {
        assert_eq!(solo.status()["policy"][part], before["policy"][part], "{part}");
    }
    assert_eq!(solo.reloads("success"), 1, "the first load, and no other");
    assert_eq!(solo.reloads("failure"), 0);
    // Touched, and nothing else: read, and found to be the same.
    let unchanged = solo.reloads("unchanged");
    solo.replace(&policy(0..1));
    eventually("the reload to be counted", || {
        (solo.reloads("unchanged") > unchanged).then_some(())
    });
    assert_eq!(solo.generation(), 1);
    // And a broken file is refused on demand, again and again.
    fs::write(solo.file(), "{").unwrap();
    solo.refused();
    let failures = solo.reloads("failure");
    solo.gatepost.process.signal(Signal::HUP);
    eventually("the refusal to be counted", || (solo.reloads("failure") > failures).then_some(()));
}

#[test]
fn the_revision_names_the_contents_and_the_generation_the_turn() {
    let solo = Solo::start(&policy(0..1));
    let other = Solo::start(&policy(0..1));
    let revision = |solo: &Solo| solo.status()["policy"]["revision"].as_str().unwrap().to_owned();
    let first = revision(&solo);
    assert_eq!(revision(&other), first, "replicas with the same file");
    solo.replace_and_wait(&policy(0..2));
    let second = revision(&solo);
    assert_ne!(first, second);
    solo.replace_and_wait(&policy(0..1));
    assert_eq!((revision(&solo), solo.generation()), (first.clone(), 3));
    let info = format!("gatepost_policy_info{{revision=\"{first}\"}}");
    assert_eq!(solo.count(&info), 1);
    let said = crate::solo::ask(&mut solo.gatepost.connect(), &key(0));
    assert_eq!(said.metadata["revision"], first);
    let decision = &solo.decisions(1)[0];
    assert_eq!((&decision["revision"], &decision["generation"]), (&json!(first), &json!(3)));
}

#[test]
fn what_an_edit_changed_is_told_in_a_line() {
    let mut first = policy(0..4);
    first["rate_limit_tiers"]["extra"] = json!({ "requests_per_minute": 1 });
    let rule = |id: &str| json!({ "id": id, "paths": [format!("/{id}/**")] });
    first["rules"] = json!([rule("a"), rule("b")]);
    let solo = Solo::start(&first);
    let mut edit = |edit: &dyn Fn(&mut Value), wanted: &str| {
        let mark = solo.gatepost.process.stderr.mark();
        edit(&mut first);
        solo.replace_and_wait(&first);
        let line = solo.gatepost.process.stderr.wait_from(mark, "the line", |line| {
            line.contains("policy loaded").then(|| line.to_owned())
        });
        assert!(line.contains(&format!("changes=\"{wanted}\"")), "{wanted} in {line}");
    };
    edit(
        &|policy| {
            policy["api_keys"].as_array_mut().unwrap().push(entry(4));
            policy["api_keys"][0]["enabled"] = json!(false);
            policy["api_keys"][1]["role"] = json!("admin");
        },
        "api_keys +1 -0 ~2",
    );
    edit(
        &|policy| {
            policy["api_keys"].as_array_mut().unwrap().remove(0);
            policy["rate_limit_tiers"]["extra"]["requests_per_minute"] = json!(2);
            policy["rules"] = json!([rule("b"), rule("a")]);
        },
        "api_keys +0 -1 ~0, rate_limit_tiers +0 -0 ~1, rules reordered",
    );
    edit(&|policy| policy["_comment"] = json!("nothing that matters"), "");
}
