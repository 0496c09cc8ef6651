//! gatepost by itself, for what a request through Envoy would not show any better; and policies
//! that tests can tell apart.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use gatepost::clock::Now;
use metadata_value::text;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::world::POLICY_FILE;
use crate::world::check::{Checked, check, check_request};
use crate::world::gatepost::{Gatepost, Launch, replace_file};
use crate::world::http2::Http2;
use crate::world::patience::eventually;
use crate::world::process::Process;

/// A gatepost with a policy directory of its own.
pub(crate) struct Solo {
    pub(crate) gatepost: Gatepost,
    pub(crate) launch: Launch,
    /// For whatever else a test puts on the disk.
    pub(crate) dir: TempDir,
}

impl Solo {
    pub(crate) fn start(policy: &Value) -> Self {
        Self::with_args(policy, &[])
    }

    /// With more arguments for `gatepost authz`.
    pub(crate) fn with_args(policy: &Value, args: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let directory = dir.path().join("policy");
        std::fs::create_dir(&directory).unwrap();
        replace_file(&directory.join(POLICY_FILE), &policy.to_string());
        Self::in_directory(dir, directory, args)
    }

    /// With a policy directory that is there already, somewhere below `dir`.
    pub(crate) fn in_directory(dir: TempDir, policy: PathBuf, args: &[&str]) -> Self {
        let launch = launch(policy, args);
        Self { gatepost: Gatepost::start(&launch), launch, dir }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.launch.policy.join(POLICY_FILE)
    }

    /// Replaces the policy with a rename. Does not wait until it holds.
    pub(crate) fn replace(&self, policy: &Value) {
        replace_file(&self.file(), &policy.to_string());
    }

    /// The same, and waits until the policy that holds is another one.
    pub(crate) fn replace_and_wait(&self, policy: &Value) {
        let before = self.generation();
        self.replace(policy);
        self.wait_for_generation(before + 1);
    }

    /// `/status`
    pub(crate) fn status(&self) -> Value {
        self.gatepost.admin("/status").json()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.status()["policy"]["generation"].as_u64().unwrap()
    }

    pub(crate) fn wait_for_generation(&self, wanted: u64) {
        let what = format!("generation {wanted}");
        eventually(&what, || (self.generation() >= wanted).then_some(()));
        assert_eq!(self.generation(), wanted, "more than one new policy");
        // Requests see a new policy a moment before those who watch do.
        eventually(&what, || (self.count("gatepost_policy_generation") == wanted).then_some(()));
        self.wait_for_no_error();
    }

    pub(crate) fn wait_for_no_error(&self) {
        eventually("no error", || self.status()["policy"]["error"].is_null().then_some(()));
    }

    /// Waits for the error of a refused edit in `/status`.
    pub(crate) fn refused(&self) -> String {
        eventually("the edit to be refused", || {
            self.status()["policy"]["error"].as_str().map(str::to_owned)
        })
    }

    /// A metric that is a whole number.
    pub(crate) fn count(&self, series: &str) -> u64 {
        self.gatepost.metric(series).to_string().parse().unwrap()
    }

    /// How often a reload has ended like this: `success`, `failure` or `unchanged`.
    pub(crate) fn reloads(&self, result: &str) -> u64 {
        self.count(&format!("gatepost_policy_reloads_total{{result=\"{result}\"}}"))
    }

    /// The decision lines so far, once there are as many as this.
    pub(crate) fn decisions(&self, count: u64) -> Vec<Value> {
        decisions(&self.gatepost.process, count)
    }
}

/// How to start a gatepost on ports that the system picks.
pub(crate) fn launch(policy: PathBuf, args: &[&str]) -> Launch {
    let args = args.iter().map(|&arg| arg.to_owned()).collect();
    Launch { args, ..Launch::gateway(policy) }
}

/// Waits for the decision numbered `count`, and holds against all lines that their numbers have no
/// gap and no double.
pub(crate) fn decisions(process: &Process, count: u64) -> Vec<Value> {
    let numbered = format!("\"seq\":{count},");
    process
        .stdout
        .wait_for(&format!("decision {count}"), |line| line.contains(&numbered).then_some(()));
    let lines: Vec<Value> =
        process.stdout.all().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let decisions: Vec<Value> =
        lines.into_iter().filter(|line| line["type"] == "decision").collect();
    for (line, number) in decisions.iter().zip(1_u64..) {
        assert_eq!(line["seq"], number, "{line}");
    }
    decisions
}

/// A key of 200 bits, as far as the strength rules can tell.
pub(crate) fn key(number: usize) -> String {
    format!("test-key-{number:016}")
}

/// One of `api_keys`: `key-3` with [`key`] 3, unlimited.
pub(crate) fn entry(number: usize) -> Value {
    json!({ "id": format!("key-{number}"), "key": key(number), "rate_limit_tier": "unlimited" })
}

/// A policy with these keys, and the default rules.
pub(crate) fn policy(keys: impl IntoIterator<Item = usize>) -> Value {
    json!({
        "api_keys": keys.into_iter().map(entry).collect::<Vec<_>>(),
        "rate_limit_tiers": { "unlimited": {} },
    })
}

/// Checks a GET that the default rules allow to any key.
pub(crate) fn ask(client: &mut Http2, key: &str) -> Said {
    let request = check_request("GET", "/api/v1/x", &[("x-api-key", key.as_bytes())]);
    Said::from(&check(client, &request))
}

/// Whether this key opens the door.
pub(crate) fn opens(client: &mut Http2, number: usize) -> bool {
    match ask(client, &key(number)).code {
        0 => true,
        16 => false,
        other => panic!("code {other}"),
    }
}

/// How long ago that was, on the monotonic clock.
pub(crate) fn since(start: Duration) -> Duration {
    Now::read().monotonic.saturating_sub(start)
}

/// What a check said, in a form to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// `google.rpc.Code` of the answer: 0 is an allow.
    pub(crate) code: i32,
    /// The headers for the upstream, or for the client on a denial.
    pub(crate) headers: BTreeMap<String, String>,
    /// The dynamic metadata.
    pub(crate) metadata: BTreeMap<String, String>,
}

impl From<&Checked> for Said {
    fn from(checked: &Checked) -> Self {
        assert_eq!(checked.code, 0, "the call itself failed: {checked:?}");
        let response = checked.response.as_ref().unwrap();
        let headers = match response.http_response.as_ref().unwrap() {
            HttpResponse::OkResponse(ok) => &ok.headers,
            HttpResponse::DeniedResponse(denied) => &denied.headers,
            HttpResponse::ErrorResponse(error) => panic!("{error:?}"),
        };
        let headers = headers.iter().filter_map(|option| option.header.as_ref());
        let metadata = response.dynamic_metadata.as_ref().unwrap();
        Self {
            code: response.status.as_ref().unwrap().code,
            headers: headers.map(|header| (header.key.clone(), header.value.clone())).collect(),
            metadata: metadata.fields.iter().map(|(k, v)| (k.clone(), text(v))).collect(),
        }
    }
}

/// Tells clients in other threads that it is over, also when the test fails.
#[derive(Default)]
pub(crate) struct Over(AtomicBool);

impl Over {
    pub(crate) fn is_it(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// It is over when the returned value is dropped.
    pub(crate) fn when_dropped(&self) -> impl Drop + '_ {
        Ending(self)
    }
}

struct Ending<'a>(&'a Over);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

mod metadata_value {
    use envoy_types::pb::google::protobuf::{Value, value::Kind};

    /// A value of dynamic metadata that is a text.
    pub(super) fn text(value: &Value) -> String {
        match &value.kind {
            Some(Kind::StringValue(text)) => text.clone(),
            other => panic!("{other:?}"),
        }
    }
}
