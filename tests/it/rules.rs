//! Which rule decides, and what it then asks for.

use std::sync::OnceLock;

use envoy_types::pb::envoy::service::auth::v3::CheckRequest;
use serde_json::{Value, json};

use crate::scene::{FIRST_ROUTE, builder, decision, key, route_naming, shipped};
use crate::world::answer::Request;
use crate::world::check::{check, check_request};
use crate::world::envoy::Config;
use crate::world::{Protocol, World};

fn policy() -> Value {
    let person = |id: &str, role: &str, tenant: &str, scopes: &[&str]| json!({ "id": id, "key": key(id), "role": role, "tenant": tenant, "scopes": scopes });
    json!({
        "api_keys": [
            person("reader", "customer", "acme", &["read"]),
            person("writer", "customer", "globex", &["read", "write"]),
            person("admin", "admin", "acme", &["read", "write", "delete"]),
            { "id": "plain", "key": key("plain") },
            { "id": "spent", "key": key("spent"), "rate_limit_tier": "nothing" },
        ],
        "rate_limit_tiers": { "default": {}, "nothing": { "requests_per_hour": 0 } },
        "rules": [
            { "id": "first", "paths": ["/first/secret/**"], "roles": ["admin"] },
            { "id": "second", "paths": ["/first/**"] },
            { "id": "open", "paths": ["/open/**"], "auth": "none" },
            { "id": "shut", "paths": ["/open/shut/**"], "roles": ["admin"] },
            { "id": "list", "paths": ["/grouped/**", "/also/*"], "methods": ["GET"], "auth": "none" },
            { "id": "make", "paths": ["/also/*", "/grouped/**"], "methods": ["POST", "PUT"], "scopes": ["write"] },
            { "id": "drop", "paths": ["/grouped/**", "/also/*"], "methods": ["DELETE"], "roles": ["admin"] },
            { "id": "any-role", "paths": ["/any-role/**"], "roles": ["admin", "customer"] },
            { "id": "all-scopes", "paths": ["/all-scopes/**"], "scopes": ["read", "write"] },
            { "id": "tenants", "paths": ["/tenants/**"], "tenants": ["globex", "initech"] },
            { "id": "watched", "paths": ["/watched/**"], "mode": "shadow", "methods": ["GET"],
              "roles": ["admin"], "tenants": ["acme"], "scopes": ["delete"] },
            { "id": "half-watched-get", "paths": ["/half/**"], "mode": "shadow", "methods": ["GET"] },
            { "id": "half-watched-put", "paths": ["/half/**"], "methods": ["PUT"] },
            { "id": "hosted", "hosts": ["*.example.com"], "paths": ["/hosted/**"], "auth": "none" },
            { "id": "hosted-rest", "paths": ["/hosted/**"] },
            { "id": "one", "paths": ["/one/*/end"], "auth": "none" },
        ],
    })
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| builder(&policy(), Config::Shipped).start())
}

/// Status, and the rule that decided with its detail as the log has them.
fn ask(world: &World, method: &str, target: &str, caller: &str) -> (u16, Value, Value) {
    let mut request = Request::new(method, target);
    if let Some((target, host)) = target.split_once('@') {
        request = Request::new(method, target).host(host);
    }
    if !caller.is_empty() {
        request = request.header("x-api-key", key(caller));
    }
    let answer = world.send(Protocol::Http2, &request);
    let line = decision(world, &answer);
    (answer.status, line["rule"].clone(), line["detail"].clone())
}

#[test]
fn the_first_rule_that_covers_a_request_decides_alone() {
    let cases = [
        ("GET", "/first/secret/x", "admin", 200, "first", ""),
        ("GET", "/first/secret/x", "reader", 403, "first", "role"),
        ("GET", "/first/x", "reader", 200, "second", ""),
        // Never the next rule, whatever it would have allowed or asked for.
        ("GET", "/open/shut/x", "", 200, "open", ""),
        ("TRACE", "/open/x", "admin", 403, "", "method"),
        // Rules over the same paths are one, each for its methods.
        ("GET", "/grouped/x", "", 200, "list", ""),
        ("GET", "/also/x", "", 200, "list", ""),
        ("POST", "/grouped/x", "", 401, "make", ""),
        ("POST", "/grouped/x", "reader", 403, "make", "scope"),
        ("POST", "/grouped/x", "writer", 200, "make", ""),
        ("PUT", "/also/x", "writer", 200, "make", ""),
        ("DELETE", "/grouped/x", "writer", 403, "drop", "role"),
        ("DELETE", "/grouped/x", "admin", 200, "drop", ""),
        ("PATCH", "/grouped/x", "", 401, "make", ""),
        ("PATCH", "/grouped/x", "admin", 403, "make", "method"),
        ("GET", "/any-role/x", "reader", 200, "any-role", ""),
        ("GET", "/any-role/x", "admin", 200, "any-role", ""),
        ("GET", "/any-role/x", "plain", 403, "any-role", "role"),
        ("GET", "/all-scopes/x", "reader", 403, "all-scopes", "scope"),
        ("GET", "/all-scopes/x", "writer", 200, "all-scopes", ""),
        ("GET", "/all-scopes/x", "plain", 403, "all-scopes", "scope"),
        ("GET", "/tenants/x", "writer", 200, "tenants", ""),
        ("GET", "/tenants/x", "reader", 403, "tenants", "tenant"),
        ("GET", "/tenants/x", "plain", 403, "tenants", "tenant"),
        ("GET", "/hosted/x@api.example.com", "", 200, "hosted", ""),
        ("GET", "/hosted/x@API.EXAMPLE.COM.:443", "", 200, "hosted", ""),
        ("GET", "/hosted/x@a.b.example.com", "", 401, "hosted-rest", ""),
        ("GET", "/hosted/x@example.com", "plain", 200, "hosted-rest", ""),
        ("GET", "/one/x/end", "", 200, "one", ""),
        ("GET", "/one/x/y/end", "", 401, "", ""),
        ("GET", "/one//end", "plain", 403, "", "no_rule"),
        ("GET", "/one/x/end/more", "plain", 403, "", "no_rule"),
        ("GET", "/One/x/end", "plain", 403, "", "no_rule"),
    ];
    for (method, target, caller, status, rule, detail) in cases {
        let text = |text: &str| if text.is_empty() { Value::Null } else { text.into() };
        let wanted = (status, text(rule), text(detail));
        assert_eq!(ask(world(), method, target, caller), wanted, "{method} {target} {caller}");
    }
}

#[test]
fn a_watched_rule_lets_pass_what_it_would_deny_and_says_so() {
    let world = world();
    for (method, caller, detail) in [
        ("GET", "admin", Value::Null),
        ("GET", "reader", "role".into()),
        ("POST", "admin", "method".into()),
        ("OPTIONS", "plain", "method".into()),
        ("GET", "plain", "role".into()),
        ("GET", "spent", "role".into()),
    ] {
        let (status, rule, log) = ask(world, method, "/watched/x", caller);
        assert_eq!((status, rule, log), (200, "watched".into(), detail), "{method} {caller}");
    }
    // One of two rules over the same paths is enforced: a method of neither is enforced too.
    assert_eq!(
        ask(world, "GET", "/half/x", "spent"),
        (200, "half-watched-get".into(), "hour".into())
    );
    assert_eq!(ask(world, "PUT", "/half/x", "spent").0, 429);
    assert_eq!(ask(world, "POST", "/half/x", "plain").0, 403);
}

#[test]
fn each_requirement_of_a_watched_rule_is_only_watched() {
    let requirements = [
        ("roles", json!(["admin"]), "role"),
        ("tenants", json!(["globex"]), "tenant"),
        ("scopes", json!(["write"]), "scope"),
        ("methods", json!(["PUT"]), "method"),
    ];
    let mut policy = policy();
    let rules = requirements.iter().flat_map(|(name, asks, _)| {
        ["shadow", "enforce"].map(|mode| {
            let path = format!("/{mode}/{name}");
            let mut rule = json!({ "id": path, "paths": [path], "mode": mode });
            rule[name] = asks.clone();
            rule
        })
    });
    policy["rules"] = rules.collect();
    let world = builder(&policy, Config::Shipped).start();
    for (name, _, detail) in requirements {
        for (mode, status) in [("shadow", 200), ("enforce", 403)] {
            let path = format!("/{mode}/{name}");
            let wanted = (status, path.as_str().into(), detail.into());
            assert_eq!(ask(&world, "GET", &path, "reader"), wanted);
        }
    }
}

#[test]
fn a_watched_rule_never_waives_authentication() {
    let world = shipped();
    for (headers, status) in [
        (vec![], 401),
        (vec![("x-api-key", key("unheard-of"))], 401),
        (vec![("x-api-key", key("disabled"))], 401),
        (vec![("x-api-key", key("expired"))], 401),
        (vec![("x-api-key", key("elsewhere"))], 401),
        (
            vec![("x-api-key", key("bare")), ("authorization", format!("Bearer {}", key("admin")))],
            400,
        ),
        (vec![("x-api-key", key("bare")), ("x.user.id", "root".to_owned())], 400),
    ] {
        let mut request = Request::get("/shadow/x");
        for (name, value) in &headers {
            request = request.header(name, value);
        }
        let answer = world.send(Protocol::Http1, &request);
        assert_eq!(answer.status, status, "{headers:?}: {answer:?}");
    }
    let odd = Request::get("/shadow/x%252f").header("x-api-key", key("bare"));
    assert_eq!(world.send(Protocol::Http1, &odd).status, 400);
}

#[test]
fn without_rules_the_usual_ones_hold() {
    let mut policy = policy();
    policy.as_object_mut().unwrap().remove("rules");
    let world = builder(&policy, Config::Shipped).start();
    for (method, target, caller, status, rule) in [
        ("GET", "/health", "", 200, "health"),
        ("GET", "/ready", "", 200, "health"),
        ("OPTIONS", "/health", "", 200, "health"),
        ("GET", "/health/x", "", 401, ""),
        ("GET", "/ready", "plain", 200, "health"),
        ("POST", "/agentd.v1.Agents/List", "", 401, "grpc"),
        ("POST", "/agentd.v1.Agents/List", "plain", 200, "grpc"),
        ("POST", "/agentd.v2.Agents/List", "plain", 403, ""),
        ("GET", "/api/v1/agents", "", 401, "rest"),
        ("GET", "/api/v1/agents", "plain", 200, "rest"),
        ("PATCH", "/api/v1/agents/1", "plain", 200, "rest"),
        ("OPTIONS", "/api/v1/agents", "plain", 403, "rest"),
        ("GET", "/api/v2/agents", "plain", 403, ""),
        ("GET", "/admin/x", "plain", 403, "admin"),
        ("GET", "/admin/x", "writer", 403, "admin"),
        ("GET", "/admin/x", "admin", 200, "admin"),
        ("GET", "/", "", 401, ""),
        ("GET", "/", "admin", 403, ""),
    ] {
        let (got, by, _) = ask(&world, method, target, caller);
        let rule = if rule.is_empty() { Value::Null } else { rule.into() };
        assert_eq!((got, by), (status, rule), "{method} {target} {caller}");
    }
}

#[test]
fn a_rule_named_by_the_route_decides_instead_of_the_first() {
    let named = [
        ("/open/shut", "shut"),
        ("/open/wrong", "shut"),
        ("/first", "second"),
        ("/grouped/make", "make"),
        ("/any-role", "nowhere"),
        ("/watched", "hosted"),
    ];
    let routes = named.map(|(prefix, rule)| route_naming(prefix, rule)).concat();
    let builder = builder(&policy(), Config::Shipped);
    let world = builder.edit_envoy(FIRST_ROUTE, &(routes + FIRST_ROUTE)).start();
    for (method, target, caller, status, rule, detail) in [
        // By path alone the rule before it would decide.
        ("GET", "/open/shut/x", "", 401, "shut", ""),
        ("GET", "/open/shut/x", "reader", 403, "shut", "role"),
        ("GET", "/open/shut/x", "admin", 200, "shut", ""),
        ("GET", "/first/secret/x", "reader", 200, "second", ""),
        // Not its path, not its name, not its host: nothing else decides either.
        ("GET", "/open/wrong/x", "admin", 403, "", "rule_unknown"),
        ("GET", "/open/wrong/x", "", 401, "", ""),
        ("GET", "/any-role/x", "admin", 403, "", "rule_unknown"),
        ("GET", "/watched/x", "admin", 403, "", "rule_unknown"),
        // One rule of several over the same paths: it alone, with its own methods.
        ("POST", "/grouped/make/x", "writer", 200, "make", ""),
        ("GET", "/grouped/make/x", "writer", 403, "make", "method"),
        ("GET", "/grouped/x", "", 200, "list", ""),
    ] {
        let text = |text: &str| if text.is_empty() { Value::Null } else { text.into() };
        let wanted = (status, text(rule), text(detail));
        assert_eq!(ask(&world, method, target, caller), wanted, "{method} {target} {caller}");
    }
}

#[test]
fn only_the_exact_name_of_a_rule_names_it() {
    let mut client = world().gatepost.connect();
    let admin = key("admin");
    for (name, value, code) in [
        ("gatepost.rule", "shut", 0),
        ("gatepost.rule", "", 7),
        ("gatepost.rule", "SHUT", 7),
        ("gatepost.rule", " shut", 7),
        ("gatepost.rule", "shut\0", 7),
        ("gatepost.rule", "list", 7),
        // Another extension's business: the path decides.
        ("gatepost_rule", "nowhere", 0),
        ("rule", "nowhere", 0),
    ] {
        let headers: [(&str, &[u8]); 1] = [("x-api-key", admin.as_bytes())];
        let mut request: CheckRequest = check_request("GET", "/open/shut/x", &headers);
        let attributes = request.attributes.as_mut().unwrap();
        attributes.context_extensions.insert(name.to_owned(), value.to_owned());
        let status = check(&mut client, &request).response.unwrap().status.unwrap();
        assert_eq!(status.code, code, "{name} {value:?}");
    }
}
