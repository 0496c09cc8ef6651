//! The egress side.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::{compare, counted, fingerprint};
use crate::policy::Limits;
use crate::policy::credential::{Credential, Kind, Source};
use crate::policy::destination::ServiceId;
use crate::policy::egress::{Reach, Service, ServiceMap, Tier};

pub(super) fn parts(old: Option<&ServiceMap>, new: Option<&ServiceMap>) -> Vec<String> {
    let mut parts = Vec::new();
    let mut count = |name, prints: fn(&ServiceMap) -> HashMap<&str, u64>| {
        let old = old.map(prints).unwrap_or_default();
        let new = new.map(prints).unwrap_or_default();
        parts.extend(counted(name, compare(&old, &new)));
    };
    count("egress_services", |map| {
        map.services.iter().map(|service| (&*service.name, of_service(service))).collect()
    });
    count("egress_policies", |map| {
        map.tiers.iter().map(|tier| (&*tier.name, of_tier(tier, map))).collect()
    });
    count("sandboxes", |map| {
        map.sandboxes.iter().map(|sandbox| (&*sandbox.name, sandbox.fingerprint)).collect()
    });
    count("egress_credentials", |map| {
        map.credentials.iter().map(|known| (&*known.name, of_credential(known, map))).collect()
    });
    if old.map(|map| &map.options) != new.map(|map| &map.options) {
        parts.push("egress_config changed".to_owned());
    }
    parts
}

fn of_service(service: &Service) -> u64 {
    let Service {
        name: _,
        methods,
        allowed_paths,
        denied_paths,
        mode,
        allow_encoded,
        destination,
        base_path,
        headers,
        forward_headers,
    } = service;
    fingerprint(&(
        (methods, allowed_paths, denied_paths, mode, allow_encoded),
        (destination, base_path, headers, forward_headers),
    ))
}

/// The number of a service is another one after an edit of others; its name is not.
fn named(map: &ServiceMap, id: ServiceId) -> &str {
    map.services.get(id.0).map_or("", |service| &service.name)
}

fn of_tier(tier: &Tier, map: &ServiceMap) -> u64 {
    let services: Option<BTreeSet<&str>> = match &tier.services {
        Reach::All => None,
        Reach::Listed(services) => Some(services.iter().map(|&id| named(map, id)).collect()),
    };
    let limits: BTreeMap<&str, &Limits> =
        tier.limits.iter().map(|(&id, limits)| (named(map, id), limits)).collect();
    let limits: Vec<_> = limits.into_iter().collect();
    fingerprint(&(services, limits, &tier.default_limits))
}

/// Changes with the value of a literal too. Nobody sees it: it is compared with another, no more.
fn of_credential(credential: &Credential, map: &ServiceMap) -> u64 {
    let mut hasher = DefaultHasher::new();
    named(map, credential.service).hash(&mut hasher);
    std::mem::discriminant(&credential.kind).hash(&mut hasher);
    match &credential.kind {
        Kind::Headers(headers) => {
            for header in headers {
                (&header.name, &header.prefix).hash(&mut hasher);
                hash(&header.value, &mut hasher);
            }
        }
        Kind::Basic { username, password } => {
            username.hash(&mut hasher);
            hash(password, &mut hasher);
        }
        Kind::Query { name, value } => {
            name.hash(&mut hasher);
            hash(value, &mut hasher);
        }
    }
    hasher.finish()
}

fn hash(source: &Source, hasher: &mut DefaultHasher) {
    std::mem::discriminant(source).hash(hasher);
    match source {
        Source::Environment(name) | Source::Unset(name) => name.hash(hasher),
        Source::File(path) => path.hash(hasher),
        Source::Literal(text) => text.expose().hash(hasher),
        Source::Nowhere => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::compile::{self, Strictness};
    use crate::policy::raw::{self, EgressFile};

    fn map(text: &str) -> ServiceMap {
        let file = raw::parse::<EgressFile<'_>>(text).expect("well-formed");
        compile::egress(&file, None, Strictness::Development)
            .unwrap_or_else(|faults| panic!("{faults:?}"))
    }

    const OLD: &str = r#"{
        "egress_config": {},
        "egress_services": { "a": { "base_url": "https://a.test" }, "b": { "base_url": "https://b.test" } },
        "egress_policies": { "default": { "allowed_services": ["b", "a"], "rate_limits": { "b": {}, "a": {} } } },
        "sandbox_policies": { "s": "default" },
        "sandboxes": { "t": { "credentials": { "b": "b" } } },
        "egress_credentials": { "b": { "type": "bearer", "token": "one" } }
    }"#;

    #[test]
    fn every_part_is_named_and_nothing_is_named_that_is_the_same() {
        let old = map(OLD);
        for (from, to, wanted) in [
            ("{}", "{}", ""),
            // Numbers of services change with their order, and mean the same.
            (
                r#""a": { "base_url": "https://a.test" }, "b": { "base_url": "https://b.test" }"#,
                r#""b": { "base_url": "https://b.test" }, "a": { "base_url": "https://a.test" }"#,
                "",
            ),
            ("https://a.test", "https://a.test/x", "egress_services +0 -0 ~1"),
            (
                r#""base_url": "https://a.test""#,
                r#""base_url": "https://a.test", "headers": { "x": "y" }"#,
                "egress_services +0 -0 ~1",
            ),
            (r#"["b", "a"]"#, r#"["a", "b"]"#, ""),
            (r#"["b", "a"]"#, r#"["a"]"#, "egress_policies +0 -0 ~1"),
            (r#"["b", "a"]"#, r#"["*"]"#, "egress_policies +0 -0 ~1"),
            (r#""b": {}, "a": {}"#, r#""a": {}, "b": {}"#, ""),
            (
                r#""b": {}, "a": {}"#,
                r#""a": {}, "b": { "requests_per_hour": 0 }"#,
                "egress_policies +0 -0 ~1",
            ),
            (r#""s": "default""#, r#""u": "default""#, "sandboxes +1 -1 ~0"),
            (
                r#""credentials": { "b": "b" }"#,
                r#""allowed_cidrs": ["10.0.0.0/8"]"#,
                "sandboxes +0 -0 ~1",
            ),
            (r#""token": "one""#, r#""token": "two""#, "egress_credentials +0 -0 ~1"),
            (r#""token": "one""#, r#""source": "env:ONE""#, "egress_credentials +0 -0 ~1"),
            (
                r#""egress_config": {}"#,
                r#""egress_config": { "secret_grace": "1m" }"#,
                "egress_config changed",
            ),
        ] {
            let new = map(&OLD.replace(from, to));
            assert_eq!(parts(Some(&old), Some(&new)).join(", "), wanted, "{to}");
        }
    }

    #[test]
    fn a_side_that_comes_or_goes_is_all_of_its_parts() {
        let all = map(OLD);
        let wanted = |two, one| {
            format!(
                "egress_services {two}, egress_policies {one}, sandboxes {two}, \
                 egress_credentials {one}, egress_config changed"
            )
        };
        assert_eq!(parts(None, Some(&all)).join(", "), wanted("+2 -0 ~0", "+1 -0 ~0"));
        assert_eq!(parts(Some(&all), None).join(", "), wanted("+0 -2 ~0", "+0 -1 ~0"));
        assert_eq!(parts(None, None), Vec::<String>::new());
    }
}
