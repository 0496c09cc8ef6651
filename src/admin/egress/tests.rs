use super::*;
use crate::clock::Now;
use crate::policy::credential::{Secret, Source};
use crate::policy::secrets::Store;
use crate::policy::secrets::tests::helpers::{bearer, map};
use std::sync::Arc;

#[test]
fn the_egress_is_told_without_its_secrets() {
    let literal = |text: &str| Source::Literal(Arc::new(Secret::new(text)));
    let credentials = vec![
        bearer("good", literal("canary-1")),
        bearer("bad", literal("canary-2 ")),
        bearer("gone", Source::File("nowhere".into())),
    ];
    let mut old = map(&["one", "two"], Vec::new());
    old.services[1].destination.port = 444;
    let targets = Store::placeholders().supply(&old, Now::read());
    let old = Egress::new(Arc::new(old), targets);
    let new = Arc::new(map(&["one", "two"], credentials));
    let mut store = Store::live(".");
    let targets = store.supply(&new, Now::read());
    let egress = Egress::new(new, targets).after(&old);
    let reports: Vec<Report> = store.reports().cloned().collect();
    let told = describe(&egress, &reports, &[]);
    for (pointer, expected) in [
        ("/services", json!(2)),
        ("/tiers", json!(0)),
        ("/sandboxes", json!(0)),
        ("/tokens", json!(0)),
        ("/identity", json!(["token"])),
        ("/pending", json!(["two"])),
        (
            "/credentials/0",
            json!({ "credential": "good", "service": "one", "source": "a literal", "state": "ok",
                    "since": null, "error": null }),
        ),
        ("/credentials/1/state", json!("malformed")),
        ("/credentials/1/error", json!("a literal: begins or ends with a blank")),
        ("/credentials/2/source", json!("file:nowhere")),
        ("/credentials/2/state", json!("unresolved")),
    ] {
        assert_eq!(told.pointer(pointer), Some(&expected), "{pointer} in {told}");
    }
    assert!(!told.to_string().contains("canary"), "{told}");
}

#[test]
fn a_kept_value_says_since_when() {
    let report = Report {
        credential: "c".into(),
        service: "s".into(),
        source: "file:f".to_owned(),
        state: State::Kept { since: std::time::Duration::from_secs(1_700_000_000) },
        error: Some("file:f: gone".to_owned()),
    };
    let told = credential(&report);
    assert_eq!((&told["state"], &told["since"]), (&json!("kept"), &json!("2023-11-14T22:13:20Z")));
}
