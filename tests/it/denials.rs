//! Every denial that the gateway can raise, as each kind of client sees it, and as the logs keep it.

use serde_json::{Value, json};

use crate::scene::{builder, decision, decision_id, key, policy, shipped};
use crate::world::answer::{Answer, Request};
use crate::world::envoy::{Config, Envoy};
use crate::world::gatepost::{Gatepost, Launch};
use crate::world::{Protocol, World};

/// The kinds of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Http1,
    Http2,
    Grpc,
}

const CLIENTS: [Client; 3] = [Client::Http1, Client::Http2, Client::Grpc];

impl Client {
    /// A POST, which every kind of client can send.
    fn send(self, world: &World, case: &Case) -> Answer {
        let mut request = match self {
            Self::Http1 | Self::Http2 => Request::new("POST", case.target),
            Self::Grpc => Request::grpc(case.target),
        };
        request = request.host(case.host);
        for (name, value) in &case.headers {
            request = request.header(name, value);
        }
        match self {
            Self::Http1 => world.send(Protocol::Http1, &request),
            Self::Http2 | Self::Grpc => world.send(Protocol::Http2, &request),
        }
    }
}

/// A request, and how it is refused.
#[derive(Clone, Debug)]
struct Case {
    target: &'static str,
    host: &'static str,
    headers: Vec<(&'static str, String)>,
    reason: &'static str,
    detail: &'static str,
    /// The rule, and who is calling, as far as these are known.
    rule: Option<&'static str>,
    caller: Option<&'static str>,
}

impl Case {
    fn new(target: &'static str, reason: &'static str, detail: &'static str) -> Self {
        let headers = Vec::new();
        Self { target, host: "gateway.test", headers, reason, detail, rule: None, caller: None }
    }

    fn by(mut self, id: &'static str) -> Self {
        self.caller = Some(id);
        self.with("x-api-key", key(id))
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn host(mut self, host: &'static str) -> Self {
        self.host = host;
        self
    }

    fn rule(mut self, rule: &'static str) -> Self {
        self.rule = Some(rule);
        self
    }
}

/// What each public reason means: status, gRPC code, title.
fn meaning(reason: &str, detail: &str) -> (u16, u32, &'static str) {
    match (reason, detail) {
        ("credential_missing", _) => (401, 16, "This request needs an API key."),
        ("credential_invalid", _) => (401, 16, "The API key is not valid for this request."),
        ("credential_ambiguous", _) => {
            (400, 3, "The request carries two different credentials; send one.")
        }
        ("request_malformed", "https_required") => (400, 3, "This API answers over HTTPS only."),
        ("request_malformed", _) => (400, 3, "The request is malformed."),
        ("forbidden", _) => (403, 7, "This API key does not allow this request."),
        ("rate_limited", _) => (429, 8, "The rate limit is reached; try again later."),
        ("not_configured", _) => (503, 14, "This gateway has no policy yet."),
        other => panic!("no such reason: {other:?}"),
    }
}

fn challenge(reason: &str) -> Option<&'static str> {
    match reason {
        "credential_missing" => Some("Bearer realm=\"gatepost\""),
        "credential_invalid" => Some("Bearer realm=\"gatepost\", error=\"invalid_token\""),
        _ => None,
    }
}

/// Everything that an answer must say, and must not.
fn check_answer(client: Client, case: &Case, answer: &Answer) {
    let told = format!("{client:?} {case:?}: {answer:?}");
    let (status, code, title) = meaning(case.reason, case.detail);
    let id = decision_id(answer).unwrap_or_else(|| panic!("no decision id: {told}"));
    if client == Client::Grpc {
        assert_eq!((answer.status, answer.grpc_status()), (200, Some(code)), "{told}");
        assert_eq!(answer.header("content-type"), Some("application/grpc"), "{told}");
        let message = format!("{title} (decision {id})");
        assert_eq!(answer.header("grpc-message"), Some(&*message), "{told}");
        assert_eq!(answer.body, b"", "{told}");
    } else {
        assert_eq!(answer.status, status, "{told}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{told}");
        let kind = format!("urn:gatepost:denial:{}", case.reason);
        let problem = json!({ "type": kind, "title": title, "status": status, "decision_id": id });
        assert_eq!(answer.json(), problem, "{told}");
        assert_eq!(answer.header("grpc-status"), None, "{told}");
    }
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{told}");
    assert_eq!(answer.header("www-authenticate"), challenge(case.reason), "{told}");
    let limited = case.reason == "rate_limited";
    for name in ["retry-after", "ratelimit", "ratelimit-policy"] {
        assert_eq!(answer.header(name).is_some(), limited, "{name}: {told}");
    }
    // What is said to a caller names neither them nor us.
    for (name, _) in &answer.headers {
        assert!(!name.starts_with("x-"), "{name}: {told}");
    }
}

/// What the decision log keeps, and Envoy's access log beside it.
fn check_logs(world: &World, mark: usize, case: &Case, answer: &Answer) {
    let line = decision(world, answer);
    let detail = Some(case.detail).filter(|detail| !detail.is_empty()).map(Value::from);
    let text = |value: Option<&str>| value.map_or(Value::Null, Value::from);
    assert_eq!(line["outcome"], "deny", "{case:?}: {line}");
    assert_eq!(line["reason"], case.reason, "{case:?}: {line}");
    assert_eq!(line.get("detail"), detail.as_ref(), "{case:?}: {line}");
    assert_eq!(line.get("key_id").unwrap_or(&Value::Null), &text(case.caller), "{case:?}: {line}");
    assert_eq!(line.get("rule").unwrap_or(&Value::Null), &text(case.rule), "{case:?}: {line}");
    let id = decision_id(answer).unwrap();
    let access = world.envoy.access_log(mark, case.target, |line| line["decision_id"] == *id);
    let same = ["outcome", "reason", "rule", "key_id", "role", "tier", "revision"];
    for name in same {
        assert_eq!(
            &access[name],
            line.get(name).unwrap_or(&Value::Null),
            "{name}: {case:?}: {access} {line}"
        );
    }
    assert_eq!(line["revision"].as_str().map(str::len), Some(64), "{line}");
    assert_eq!(access["details"], "ext_authz_denied", "{access}");
}

fn cases() -> Vec<Case> {
    // The log names the key that is not good; the answer does not say that there is one.
    let invalid = |id: &'static str, detail| {
        Case::new("/api/v1/x", "credential_invalid", detail).by(id).rule("rest")
    };
    let malformed = |target, detail| Case::new(target, "request_malformed", detail);
    vec![
        Case::new("/api/v1/x", "credential_missing", "").rule("rest"),
        // What exists is nobody's business without a key.
        Case::new("/nowhere", "credential_missing", ""),
        Case::new("/reads/x", "credential_missing", "").rule("reads"),
        Case { caller: None, ..invalid("unheard-of", "unknown") },
        invalid("disabled", "disabled"),
        invalid("expired", "expired"),
        Case { caller: Some("rotated"), ..invalid("rotated-old", "expired") },
        invalid("early", "not_yet_valid"),
        invalid("elsewhere", "wrong_network"),
        Case::new("/api/v1/x", "credential_ambiguous", "")
            .with("x-api-key", key("customer"))
            .with("authorization", format!("Bearer {}", key("admin")))
            .rule("rest"),
        malformed("/api/v1/a;b", "path_ambiguous"),
        malformed("/public/a%252fb", "path_ambiguous").rule("public"),
        malformed("/public/x", "host_invalid").host("a..b"),
        malformed("/public/x", "header_invalid").with("x.user.id", "root"),
        Case::new("/nowhere", "forbidden", "no_rule").by("customer"),
        Case::new("/reads/x", "forbidden", "method").by("customer").rule("reads"),
        Case::new("/admin/x", "forbidden", "role").by("customer").rule("admin"),
        Case::new("/admin/x", "forbidden", "role").by("bare").rule("admin"),
        Case::new("/scoped/x", "forbidden", "scope").by("customer").rule("scoped"),
        Case::new("/tenant/x", "forbidden", "tenant").by("customer").rule("tenant"),
        Case::new("/tenant/x", "forbidden", "tenant").by("bare").rule("tenant"),
        Case::new("/named/nowhere", "forbidden", "rule_unknown").by("customer"),
        Case::new("/named/rest", "forbidden", "rule_unknown").by("customer"),
        Case::new("/api/v1/x", "rate_limited", "minute").by("nothing").rule("rest"),
    ]
}

#[test]
fn each_denial_reads_the_same_to_every_client() {
    let world = shipped();
    let mark = world.envoy.process.stdout.mark();
    let cases = cases();
    let answers = cases.iter().flat_map(|case| CLIENTS.map(|client| (case, client)));
    let answers = answers.map(|(case, client)| {
        let answer = client.send(world, case);
        check_answer(client, case, &answer);
        (case, answer)
    });
    // Envoy writes its log now and then: all is sent before any line is waited for.
    let answers: Vec<_> = answers.collect();
    for (case, answer) in &answers {
        check_logs(world, mark, case, answer);
    }
}

#[test]
fn the_hour_is_told_from_the_minute() {
    let world = shipped();
    let case = Case::new("/api/v1/x", "rate_limited", "hour").by("hourly").rule("rest");
    assert_eq!(Client::Http1.send(world, &case).status, 200);
    for client in CLIENTS {
        let mark = world.envoy.process.stdout.mark();
        let answer = client.send(world, &case);
        check_answer(client, &case, &answer);
        check_logs(world, mark, &case, &answer);
    }
}

/// A caller must not learn which keys exist, nor why one does not work.
#[test]
fn what_is_wrong_with_a_key_cannot_be_told_from_the_answer() {
    let world = shipped();
    for client in CLIENTS {
        let answers = ["unheard-of", "disabled", "expired", "rotated-old", "early", "elsewhere"];
        let answers = answers.map(|id| {
            let case = Case::new("/admin/x", "credential_invalid", "").with("x-api-key", key(id));
            let answer = client.send(world, &case);
            let detail = decision(world, &answer)["detail"].as_str().unwrap().to_owned();
            (without_what_changes(answer), detail)
        });
        for (answer, _) in &answers {
            assert_eq!(answer, &answers[0].0, "{client:?}");
        }
        let details = answers.map(|(_, detail)| detail);
        let wanted =
            ["unknown", "disabled", "expired", "expired", "not_yet_valid", "wrong_network"];
        assert_eq!(details, wanted);
    }
}

/// The answer but for its date and its decision id.
fn without_what_changes(mut answer: Answer) -> Answer {
    let id = decision_id(&answer).unwrap();
    let text = String::from_utf8(answer.body).unwrap();
    answer.body = text.replace(&id, "ID").into_bytes();
    answer.headers.retain(|(name, _)| name != "date");
    for (_, value) in &mut answer.headers {
        *value = value.replace(&id, "ID");
    }
    answer
}

#[test]
fn what_did_not_come_over_tls_is_told_so() {
    let mut policy = policy();
    policy["gateway_config"] = json!({ "require_https": true });
    let world = builder(&policy, Config::Shipped).start();
    // A path that asks for no key, and a key that would do.
    for case in [
        Case::new("/public/x", "request_malformed", "https_required").rule("public"),
        Case::new("/api/v1/x", "request_malformed", "https_required")
            .with("x-api-key", key("customer"))
            .with("x-forwarded-proto", "https")
            .rule("rest"),
    ] {
        for client in CLIENTS {
            let mark = world.envoy.process.stdout.mark();
            let answer = client.send(&world, &case);
            check_answer(client, &case, &answer);
            check_logs(&world, mark, &case, &answer);
        }
    }
}

/// The gateway side was asked for, and has no file.
#[test]
fn without_a_policy_nothing_passes() {
    let dir = tempfile::TempDir::new().unwrap();
    let policy = dir.path().join("policy");
    std::fs::create_dir(&policy).unwrap();
    std::fs::write(policy.join("egress_config.json"), "{}").unwrap();
    let mut launch = Launch::gateway(policy);
    let egress = format!("unix:{}", dir.path().join("egress.sock").display());
    launch.args = vec!["--egress-listen".to_owned(), egress];
    let gatepost = Gatepost::start(&launch);
    // No request gets as far as the upstream.
    let yaml = Config::Shipped.yaml(&gatepost.socket, gatepost.admin);
    let envoy = Envoy::start(dir.path(), &yaml);
    let case = Case::new("/public/x", "not_configured", "");
    for client in CLIENTS {
        let answer = match client {
            Client::Http1 => {
                let request = Request::new("POST", case.target);
                crate::world::http1::Http1::connect(envoy.gateway).send(&request)
            }
            Client::Http2 => {
                let request = Request::new("POST", case.target);
                crate::world::http2::Http2::connect(envoy.gateway).send(&request)
            }
            Client::Grpc => {
                let request = Request::grpc(case.target);
                crate::world::http2::Http2::connect(envoy.gateway).send(&request)
            }
        };
        check_answer(client, &case, &answer);
    }
    assert_eq!(gatepost.admin("/ready").status, 503);
}

#[test]
fn an_allowed_request_is_described_to_envoy_as_well() {
    let world = shipped();
    let mark = world.envoy.process.stdout.mark();
    let request = Request::get("/api/v1/x").header("x-api-key", key("customer"));
    let answer = world.send(Protocol::Http2, &request);
    let id = decision_id(&answer).unwrap();
    let access = world.envoy.access_log(mark, "ours", |line| line["decision_id"] == *id);
    let status: Value = world.gatepost.admin("/status").json();
    let revision = decision(world, &answer)["revision"].clone();
    assert!(status.to_string().contains(revision.as_str().unwrap()), "{status}");
    for (name, value) in [
        ("outcome", json!("allow")),
        ("reason", Value::Null),
        ("rule", json!("rest")),
        ("key_id", json!("customer")),
        ("role", json!("customer")),
        ("tier", json!("unlimited")),
        ("revision", revision),
    ] {
        assert_eq!(access[name], value, "{name}: {access}");
    }
}

#[test]
fn a_watched_denial_is_described_to_envoy_as_what_it_would_have_been() {
    let world = shipped();
    let mark = world.envoy.process.stdout.mark();
    let request = Request::get("/shadow/x").header("x-api-key", key("customer"));
    let answer = world.send(Protocol::Http1, &request);
    assert_eq!(answer.status, 200);
    let id = decision_id(&answer).unwrap();
    let access = world.envoy.access_log(mark, "ours", |line| line["decision_id"] == *id);
    assert_eq!((&access["outcome"], &access["reason"]), (&json!("shadow"), &json!("forbidden")));
    assert_eq!(decision(world, &answer)["detail"], "role");
}
