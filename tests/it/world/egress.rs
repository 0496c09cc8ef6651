//! The world around the egress: sandboxes' requests come in, gatepost decides on a Unix socket and
//! sends clusters, and every name of the outside world leads to a service inside this process.

use std::path::{Path, PathBuf};

use data_encoding::{BASE64, HEXLOWER};
use gatepost::clock::Now;
use gatepost::side::Side;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode_byte, utf8_percent_encode};
use serde_json::Value;
use tempfile::TempDir;

use super::Protocol;
use super::answer::{Answer, Request};
use super::certificates::Authority;
use super::dns::Dns;
use super::envoy::{Envoy, rejected, replace_once, root, version};
use super::gatepost::{Gatepost, Launch, replace_file, replace_secret_file};
use super::http1::Http1;
use super::http2::Http2;
use super::patience::eventually;
use super::process::Guard;
use super::upstream_tls::Remote;

/// The files that the egress side is read from.
pub(crate) const CONFIG_FILE: &str = "egress_config.json";
pub(crate) const SECRETS_FILE: &str = "egress_secrets.json";

/// Whether the Envoy under test can be an egress proxy. One that cannot (before 1.39) must refuse
/// the file, or agents would reach private addresses; then there is nothing else to test.
pub(crate) fn egress_supported() -> bool {
    let supported = version() >= vec![1, 39];
    if !supported {
        let said = rejected(&shipped());
        assert!(said.contains("upstream_rbac"), "{said}");
    }
    supported
}

/// `envoy/egress.yaml`
pub(crate) fn shipped() -> String {
    std::fs::read_to_string(root().join("envoy/egress.yaml")).unwrap()
}

/// The shipped file for ports of this machine: gatepost's socket in `dir`, this name server, and the
/// authority of the tests, whose certificate is put into `dir`. Every text that is replaced must be
/// there exactly once.
pub(crate) fn yaml(dir: &Path, dns: &Dns) -> String {
    let authority = dir.join("upstream-ca.pem");
    std::fs::write(&authority, Authority::trusted().pem()).unwrap();
    let socket = format!("pipe: {{ path: {} }}", dir.join("egress.sock").display());
    let resolver = format!(
        "query_tries: 2
    use_resolvers_as_fallback: false
    resolvers: [ {{ socket_address: {{ address: 127.0.0.1, port_value: {} }} }} ]",
        dns.address.port()
    );
    let check = "envoy_grpc: { cluster_name: gatepost }, timeout: 0.5s }";
    let mut yaml = shipped();
    for (from, to) in [
        ("address: 0.0.0.0, port_value: 8443", "address: 127.0.0.1, port_value: 0"),
        ("port_value: 9902", "port_value: 0"),
        ("pipe: { path: /run/gatepost/egress.sock }", &socket),
        ("/etc/ssl/certs/ca-certificates.crt", authority.to_str().unwrap()),
        ("query_tries: 2", &resolver),
        // How long Envoy waits is not what most tests are about, and a busy machine makes it matter.
        (check, &check.replace("0.5s", "15s")),
    ] {
        yaml = replace_once(&yaml, from, to);
    }
    yaml
}

/// What a world is to be like. Its directory is there already, for files that the policy names.
pub(crate) struct Builder {
    /// What names lead to, from the first look-up on.
    pub(crate) dns: Dns,
    dir: TempDir,
    secrets: Option<Value>,
    edits: Vec<(String, String)>,
    env: Vec<(String, String)>,
}

impl Builder {
    /// Writes a file that only its owner may read, and returns the `source` that names it.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        replace_secret_file(&path, text);
        format!("file:{}", path.display())
    }

    /// A place for a file of this name.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `egress_secrets.json`
    pub(crate) fn secrets(mut self, secrets: Value) -> Self {
        self.secrets = Some(secrets);
        self
    }

    /// A change to Envoy's configuration: `from` must be in it exactly once.
    pub(crate) fn edit_envoy(mut self, from: &str, to: &str) -> Self {
        self.edits.push((from.to_owned(), to.to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts all of it, and returns when the proxy takes requests.
    pub(crate) fn start(self, config: &Value) -> EgressWorld {
        let Self { dns, dir, secrets, edits, env } = self;
        let policy = dir.path().join("policy");
        std::fs::create_dir(&policy).unwrap();
        replace_file(&policy.join(CONFIG_FILE), &config.to_string());
        if let Some(secrets) = secrets {
            replace_secret_file(&policy.join(SECRETS_FILE), &secrets.to_string());
        }
        let listen = format!("unix:{}", dir.path().join("egress.sock").display());
        let launch = Launch { policy, side: Side::Egress, listen, env, args: Vec::new() };
        let gatepost = Gatepost::start(&launch);
        let mut yaml = yaml(dir.path(), &dns);
        for (from, to) in &edits {
            yaml = replace_once(&yaml, from, to);
        }
        let envoy = Envoy::listening(dir.path(), &yaml, "egress");
        let guard = Guard::new("rm -rf \"$1\"", dir.path().to_str().unwrap());
        let past = Vec::new();
        EgressWorld { envoy, gatepost, dns, launch, yaml, past, dir, _guard: guard }
    }
}

/// Everything, running. Fields are dropped in this order: the one that calls before the called.
pub(crate) struct EgressWorld {
    pub(crate) envoy: Envoy,
    pub(crate) gatepost: Gatepost,
    pub(crate) dns: Dns,
    launch: Launch,
    yaml: String,
    /// What processes said that are gone.
    past: Vec<String>,
    dir: TempDir,
    _guard: Guard,
}

impl EgressWorld {
    /// `None` where this Envoy cannot be an egress proxy, and rightly refuses to.
    pub(crate) fn prepare() -> Option<Builder> {
        egress_supported().then(|| Builder {
            dns: Dns::start(),
            dir: TempDir::new().unwrap(),
            secrets: None,
            edits: Vec::new(),
            env: Vec::new(),
        })
    }

    /// Sends one request on a connection of its own.
    pub(crate) fn send(&self, protocol: Protocol, request: &Request) -> Answer {
        match protocol {
            Protocol::Http1 => self.http1().send(request),
            Protocol::Http2 => self.http2().send(request),
        }
    }

    /// A sandbox's connection to the proxy.
    pub(crate) fn http1(&self) -> Http1 {
        Http1::connect(self.envoy.gateway)
    }

    pub(crate) fn http2(&self) -> Http2 {
        Http2::connect(self.envoy.gateway)
    }

    /// Replaces `egress_config.json` with a rename. Does not wait until it holds.
    pub(crate) fn replace_config(&self, config: &Value) {
        replace_file(&self.policy_file(CONFIG_FILE), &config.to_string());
    }

    /// The same for `egress_secrets.json`.
    pub(crate) fn replace_secrets(&self, secrets: &Value) {
        replace_secret_file(&self.policy_file(SECRETS_FILE), &secrets.to_string());
    }

    /// The same for a file that was made with [`Builder::file`].
    pub(crate) fn replace_file(&self, name: &str, text: &str) {
        replace_secret_file(&self.path(name), text);
    }

    pub(crate) fn policy_file(&self, name: &str) -> PathBuf {
        self.launch.policy.join(name)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The number of the policy that holds.
    pub(crate) fn generation(&self) -> u64 {
        self.gatepost.admin("/status").json()["policy"]["generation"].as_u64().unwrap()
    }

    /// Makes an edit, and waits until a later policy holds.
    pub(crate) fn edited(&self, edit: impl FnOnce(&Self)) {
        let before = self.generation();
        edit(self);
        eventually("the edit to hold", || (self.generation() > before).then_some(()));
    }

    /// Waits for a decision line, old or new, for which `wanted` holds.
    pub(crate) fn decision_where(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.gatepost.process.stdout.wait_for(&format!("the decision line of {what}"), |line| {
            let line: Value = serde_json::from_str(line).unwrap();
            wanted(&line).then_some(line)
        })
    }

    /// Stops gatepost with a kill -9, and keeps what it said.
    pub(crate) fn kill_gatepost(&mut self) {
        self.gatepost.process.kill();
        let process = &self.gatepost.process;
        self.past.extend([process.stdout.to_the_end(), process.stderr.to_the_end()].concat());
    }

    /// Starts gatepost again on the same socket, with a kill -9 first if it still runs.
    pub(crate) fn restart_gatepost(&mut self) {
        self.kill_gatepost();
        self.gatepost = Gatepost::start(&self.launch);
    }

    /// Starts Envoy again, on other ports, with a kill -9 first.
    pub(crate) fn restart_envoy(&mut self) {
        self.envoy.process.kill();
        let process = &self.envoy.process;
        self.past.extend([process.stdout.to_the_end(), process.stderr.to_the_end()].concat());
        self.envoy = Envoy::listening(self.dir.path(), &self.yaml, "egress");
    }

    /// Where a credential can be found that should be nowhere: in the logs and on the admin pages of
    /// gatepost and Envoy, and in what these services were sent. As it is, in base64 (as in Basic
    /// authentication, wherever it begins), percent-encoded and in hexadecimal.
    pub(crate) fn leaks(&self, canary: &str, elsewhere: &[&Remote]) -> Vec<String> {
        let needles = disguises(canary);
        let holds = |text: &[u8]| {
            let text = String::from_utf8_lossy(text).to_ascii_lowercase();
            needles.iter().any(|needle| text.contains(needle.as_str()))
        };
        let mut found = Vec::new();
        let mut look = |place: &str, text: &[u8]| {
            if holds(text) {
                found.push(place.to_owned());
            }
        };
        look("earlier processes", self.past.join("\n").as_bytes());
        for (name, process) in
            [("gatepost", &self.gatepost.process), ("envoy", &self.envoy.process)]
        {
            look(&format!("{name} stdout"), process.stdout.all().join("\n").as_bytes());
            look(&format!("{name} stderr"), process.stderr.all().join("\n").as_bytes());
        }
        for path in ["/status", "/metrics", "/health", "/ready"] {
            look(&format!("gatepost {path}"), &self.gatepost.admin(path).body);
        }
        for path in [
            "/config_dump?include_eds",
            "/stats",
            "/clusters",
            "/listeners",
            "/certs",
            "/init_dump",
        ] {
            look(&format!("envoy {path}"), &self.envoy.admin(path).body);
        }
        for (place, remote) in elsewhere.iter().enumerate() {
            look(&format!("service number {place}"), &remote.received());
        }
        found
    }
}

/// A text no other test uses, to be searched for: letters and digits.
pub(crate) fn canary(name: &str) -> String {
    format!("canary{name}{:x}", Now::read().unix.as_nanos())
}

/// The forms in which a text may hide, in lower case.
fn disguises(canary: &str) -> Vec<String> {
    assert!(canary.len() > 12, "too short to be told from chance");
    let mut all = vec![
        canary.to_owned(),
        utf8_percent_encode(canary, NON_ALPHANUMERIC).to_string(),
        canary.bytes().map(percent_encode_byte).collect(),
        HEXLOWER.encode(canary.as_bytes()),
    ];
    for before in 0..3 {
        let shifted = [&vec![b' '; before], canary.as_bytes()].concat();
        let encoded = BASE64.encode(&shifted);
        // What stands before and after decides about the characters at both ends.
        all.push(encoded[4..encoded.len() - 4].to_owned());
    }
    all.into_iter().map(|form| form.to_ascii_lowercase()).collect()
}
