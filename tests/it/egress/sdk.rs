//! What agents really run: the official packages, unmodified, with a sandbox token as their API key.

use std::process::Command;

use hyper::body::Bytes;
use serde_json::{Value, json};

use super::scene::{policy, service, token};
use crate::world::egress::{EgressWorld, canary};
use crate::world::envoy::root;
use crate::world::process::Process;
use crate::world::upstream_tls::{Recorded, Remote, Reply};

/// `$SDK_PYTHON`, or what `scripts/python.sh` has made.
fn python() -> Command {
    let path = std::env::var_os("SDK_PYTHON")
        .map_or_else(|| root().join(".tools/python/bin/python"), Into::into);
    assert!(path.exists(), "no Python packages: run scripts/python.sh, or set SDK_PYTHON");
    Command::new(path)
}

/// The proxy with both services, as an operator would write it.
struct Models {
    world: EgressWorld,
    openai: Remote,
    anthropic: Remote,
    canary: String,
}

impl Models {
    fn start() -> Option<Self> {
        let builder = EgressWorld::prepare()?;
        let openai = Remote::named(&["api.openai.com"]);
        let anthropic = Remote::named(&["api.anthropic.com"]);
        let mut config = policy(&[
            ("openai", service("api.openai.com", &openai)),
            ("anthropic", service("api.anthropic.com", &anthropic)),
        ]);
        config["egress_services"]["openai"]["allowed_paths"] =
            json!(["/v1/chat/completions", "/v1/embeddings"]);
        config["egress_services"]["anthropic"]["allowed_paths"] = json!(["/v1/messages"]);
        config["egress_credentials"] = json!({
            "openai": { "type": "bearer", "source": "env:OPENAI_API_KEY" },
            "anthropic": { "type": "api_key", "header": "x-api-key", "source": "env:ANTHROPIC_API_KEY" },
        });
        let canary = canary("sdk");
        let builder = builder.env("OPENAI_API_KEY", &canary).env("ANTHROPIC_API_KEY", &canary);
        let world = builder.start(&config);
        Some(Self { world, openai, anthropic, canary })
    }

    /// Runs `python/sdk.py`, in an environment that holds nothing but what the packages need.
    fn run(&self, package: &str, what: &str) -> Process {
        let port = self.world.envoy.gateway.port();
        let mut command = python();
        command.env_clear().arg(root().join("tests/it/egress/python/sdk.py"));
        command.args([package, what]).env("NO_PROXY", "*");
        let token = token("agent");
        command.env("OPENAI_API_KEY", &token).env("ANTHROPIC_API_KEY", &token);
        command.env("OPENAI_BASE_URL", format!("http://localhost:{port}/openai/v1"));
        command.env("ANTHROPIC_BASE_URL", format!("http://localhost:{port}/anthropic"));
        Process::start("the package", &mut command)
    }

    /// The lines that it prints, once it has ended well.
    fn finish(process: &mut Process) -> Vec<Value> {
        let status = process.wait();
        assert!(status.success(), "{}", process.stderr.to_the_end().join("\n"));
        let lines = process.stdout.to_the_end();
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The last request of a service: it carries the real credential, and no token.
    fn sent(&self, remote: &Remote, header: &str, value: &str) -> Recorded {
        let request = remote.requests().pop().expect("a request");
        assert_eq!(request.header(header), [value.replace("CANARY", &self.canary)]);
        let received = String::from_utf8_lossy(&remote.received()).into_owned();
        assert!(!received.contains("gp_sbx_"), "the token went out");
        assert_eq!(
            request.header("x-stainless-lang"),
            ["python"],
            "the package's own headers pass"
        );
        request
    }
}

fn answers(body: Value) -> impl Fn(&Recorded) -> Reply {
    move |_| Reply::whole(200, &[("content-type", "application/json")], body.to_string())
}

fn message() -> Value {
    json!({ "id": "m1", "type": "message", "role": "assistant", "model": "m",
            "content": [{ "type": "text", "text": "hello" }], "stop_reason": "end_turn",
            "stop_sequence": null, "usage": { "input_tokens": 1, "output_tokens": 1 } })
}

#[test]
fn openai_chats() {
    let Some(models) = Models::start() else { return };
    models.openai.answer(answers(json!({
        "id": "c1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{ "index": 0, "finish_reason": "stop",
                      "message": { "role": "assistant", "content": "hello" } }] })));
    assert_eq!(Models::finish(&mut models.run("openai", "chat")), [json!("hello")]);
    let request = models.sent(&models.openai, "authorization", "Bearer CANARY");
    assert_eq!(
        (request.method.as_str(), request.target.as_str()),
        ("POST", "/v1/chat/completions")
    );
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body["messages"][0]["content"], "Say hello.");
    assert_eq!(models.world.leaks(&models.canary, &[&models.anthropic]), Vec::<String>::new());
}

#[test]
fn openai_streams_as_it_comes() {
    let Some(models) = Models::start() else { return };
    let events = models.openai.answer_in_parts(&[("content-type", "text/event-stream")]);
    let mut process = models.run("openai", "stream");
    for word in ["one", "two", "three"] {
        let chunk = json!({ "id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m",
                            "choices": [{ "index": 0, "delta": { "content": word } }] });
        events.send(Bytes::from(format!("data: {chunk}\n\n"))).unwrap();
        // The next is not made before this one has arrived.
        let wanted = json!(word).to_string();
        process.stdout.wait_for(word, |line| (line == wanted).then_some(()));
    }
    events.send(Bytes::from("data: [DONE]\n\n")).unwrap();
    drop(events);
    assert_eq!(Models::finish(&mut process).len(), 3);
    models.sent(&models.openai, "authorization", "Bearer CANARY");
}

#[test]
fn openai_embeds() {
    let Some(models) = Models::start() else { return };
    models.openai.answer(answers(json!({
        "object": "list", "model": "m", "usage": { "prompt_tokens": 1, "total_tokens": 1 },
        "data": [{ "object": "embedding", "index": 0, "embedding": [0.25, -0.5] }] })));
    assert_eq!(Models::finish(&mut models.run("openai", "embedding")), [json!([0.25, -0.5])]);
    let request = models.sent(&models.openai, "authorization", "Bearer CANARY");
    assert_eq!(request.target, "/v1/embeddings");
}

#[test]
fn anthropic_chats() {
    let Some(models) = Models::start() else { return };
    models.anthropic.answer(answers(message()));
    assert_eq!(Models::finish(&mut models.run("anthropic", "chat")), [json!("hello")]);
    let request = models.sent(&models.anthropic, "x-api-key", "CANARY");
    assert_eq!(request.target, "/v1/messages");
    assert_eq!(request.header("anthropic-version").len(), 1);
    assert_eq!(models.world.leaks(&models.canary, &[&models.openai]), Vec::<String>::new());
}

#[test]
fn anthropic_streams_as_it_comes() {
    let Some(models) = Models::start() else { return };
    let events = models.anthropic.answer_in_parts(&[("content-type", "text/event-stream")]);
    let mut process = models.run("anthropic", "stream");
    let tell = |event: Value| {
        let kind = event["type"].as_str().unwrap();
        events.send(Bytes::from(format!("event: {kind}\ndata: {event}\n\n"))).unwrap();
    };
    let mut start = message();
    start["content"] = json!([]);
    start["stop_reason"] = Value::Null;
    tell(json!({ "type": "message_start", "message": start }));
    tell(
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
    );
    for word in ["one", "two", "three"] {
        tell(json!({ "type": "content_block_delta", "index": 0,
                     "delta": { "type": "text_delta", "text": word } }));
        let wanted = json!(word).to_string();
        process.stdout.wait_for(word, |line| (line == wanted).then_some(()));
    }
    tell(json!({ "type": "content_block_stop", "index": 0 }));
    tell(
        json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn", "stop_sequence": null },
                 "usage": { "output_tokens": 3 } }),
    );
    tell(json!({ "type": "message_stop" }));
    drop(events);
    assert_eq!(Models::finish(&mut process).len(), 3);
    models.sent(&models.anthropic, "x-api-key", "CANARY");
}
