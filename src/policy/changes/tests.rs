use super::Gateway;
use crate::policy::compile::{self, Strictness};
use crate::policy::raw::{self, GatewayFile};

fn describe(old: Option<&Gateway>, new: Option<&Gateway>) -> String {
    super::gateway(old, new).join(", ")
}

fn gateway(keys: &str, tiers: &str, rules: &str, config: &str) -> Gateway {
    let text = format!(
        r#"{{"gateway_config": {{{config}}}, "api_keys": [{keys}],
            "rate_limit_tiers": {{"default": {{}}, {tiers}}}, "rules": [{rules}]}}"#
    );
    let file = raw::parse::<GatewayFile<'_>>(&text).expect("well-formed");
    compile::gateway(&file, Strictness::Development)
        .unwrap_or_else(|findings| panic!("{findings:?}"))
}

const KEYS: &str = r#"{"id": "a", "key": "1"}, {"id": "b", "key": "2"}"#;
const TIERS: &str = r#""t": {"requests_per_minute": 1}"#;
const RULES: &str = r#"{"id": "r", "paths": ["/r"]}, {"id": "s", "paths": ["/s"]}"#;

#[test]
fn every_part_is_named_and_nothing_is_named_that_is_the_same() {
    let old = gateway(KEYS, TIERS, RULES, "");
    for (keys, tiers, rules, config, wanted) in [
        (KEYS, TIERS, RULES, "", ""),
        (r#"{"id": "b", "key": "2"}, {"id": "a", "key": "1"}"#, TIERS, RULES, "", ""),
        (r#"{"id": "a", "key": "1"}"#, TIERS, RULES, "", "api_keys +0 -1 ~0"),
        (
            r#"{"id": "c", "key": "3"}, {"id": "b", "key": "4"}"#,
            TIERS,
            RULES,
            "",
            "api_keys +1 -1 ~1",
        ),
        (
            r#"{"id": "a", "key": "1", "enabled": false}, {"id": "b", "key": "2", "role": "x"}"#,
            TIERS,
            RULES,
            "",
            "api_keys +0 -0 ~2",
        ),
        (KEYS, r#""t": {"requests_per_minute": 2}"#, RULES, "", "rate_limit_tiers +0 -0 ~1"),
        (KEYS, r#""u": {"requests_per_minute": 1}"#, RULES, "", "rate_limit_tiers +1 -1 ~0"),
        (
            KEYS,
            TIERS,
            r#"{"id": "s", "paths": ["/s"]}, {"id": "r", "paths": ["/r"]}"#,
            "",
            "rules reordered",
        ),
        (KEYS, TIERS, r#"{"id": "r", "paths": ["/r"]}"#, "", "rules +0 -1 ~0"),
        (
            KEYS,
            TIERS,
            r#"{"id": "r", "paths": ["/R"]}, {"id": "s", "paths": ["/s"], "mode": "shadow"}"#,
            "",
            "rules +0 -0 ~2",
        ),
        (KEYS, TIERS, RULES, r#""trusted_hops": 1"#, "gateway_config changed"),
        (KEYS, TIERS, RULES, r#""require_https": true"#, "gateway_config changed"),
        (
            "",
            "\"u\": {}",
            r#"{"id": "x", "paths": ["/**"]}"#,
            "",
            "api_keys +0 -2 ~0, rate_limit_tiers +1 -1 ~0, rules +1 -2 ~0",
        ),
    ] {
        let new = gateway(keys, tiers, rules, config);
        assert_eq!(describe(Some(&old), Some(&new)), wanted);
    }
}

#[test]
fn a_side_that_comes_or_goes_is_all_of_its_parts() {
    let all = gateway(KEYS, TIERS, RULES, "");
    let parts = |sign: &str| {
        format!("api_keys {sign}, rate_limit_tiers {sign}, rules {sign}, gateway_config changed")
    };
    assert_eq!(describe(None, Some(&all)), parts("+2 -0 ~0"));
    assert_eq!(describe(Some(&all), None), parts("+0 -2 ~0"));
    assert_eq!(describe(None, None), "");
}
