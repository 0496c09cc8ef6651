//! A real Envoy, with the shipped configuration or the least that an operator would write.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::answer::{Answer, Request};
use super::gatepost::Socket;
use super::http1::Http1;
use super::patience::eventually;
use super::process::Process;

/// Which configuration Envoy runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Config {
    /// `envoy/gateway.yaml`, with nothing but the ports replaced.
    Shipped,
    /// `envoy/minimal.yaml`, with or without what an operator may or may not have thought of.
    Minimal { raw_headers: bool, normalized_paths: bool },
}

impl Config {
    /// The configuration for these addresses. Every port literal of the file must be there exactly
    /// once, so that a change of the file cannot leave the tests testing something else.
    pub(crate) fn yaml(self, gatepost: &Socket, upstream: SocketAddr) -> String {
        let upstream = format!("port_value: {}", upstream.port());
        let file = match self {
            Self::Shipped => "envoy/gateway.yaml",
            Self::Minimal { .. } => "envoy/minimal.yaml",
        };
        let mut yaml = std::fs::read_to_string(root().join(file)).unwrap();
        let mut edit = |from: &str, to: &str| yaml = replace_once(&yaml, from, to);
        edit("address: 0.0.0.0, port_value: 8080", "address: 127.0.0.1, port_value: 0");
        edit("port_value: 9901", "port_value: 0");
        edit("port_value: 8090", &upstream);
        let check = "socket_address: { address: 127.0.0.1, port_value: 9191 }";
        match gatepost {
            Socket::Tcp(address) => {
                edit(check, &check.replace("9191", &address.port().to_string()));
            }
            Socket::Unix(path) => edit(check, &format!("pipe: {{ path: {} }}", path.display())),
        }
        match self {
            Self::Shipped => edit("port_value: 9500", &upstream),
            Self::Minimal { raw_headers, normalized_paths } => {
                edit(
                    "\n              transport_api_version: V3\n",
                    &format!(
                        "\n              transport_api_version: V3\
                         \n              encode_raw_headers: {raw_headers}\n"
                    ),
                );
                edit(
                    "\n          stat_prefix: gateway\n",
                    &format!(
                        "\n          stat_prefix: gateway\
                         \n          normalize_path: {normalized_paths}\
                         \n          merge_slashes: {normalized_paths}\n"
                    ),
                );
            }
        }
        yaml
    }
}

/// An Envoy that is ready.
pub(crate) struct Envoy {
    pub(crate) process: Process,
    /// Where clients connect: the first listener of the file.
    pub(crate) gateway: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Envoy {
    /// Starts it with this configuration and waits until it takes requests. `dir` is a place for
    /// its files.
    pub(crate) fn start(dir: &Path, yaml: &str) -> Self {
        Self::listening(dir, yaml, "gateway")
    }

    /// The same, where the listener that clients connect to has another name.
    pub(crate) fn listening(dir: &Path, yaml: &str, listener: &str) -> Self {
        let (config, address) = (dir.join("envoy.yaml"), dir.join("envoy-admin-address"));
        std::fs::write(&config, yaml).unwrap();
        // What another Envoy has left here is not where this one is.
        if address.exists() {
            std::fs::remove_file(&address).unwrap();
        }
        let mut command = Command::new(binary());
        command.arg("-c").arg(config).arg("--admin-address-path").arg(&address);
        // Many Envoys run at once on this machine; none of them hands over to another.
        command.args(["--disable-hot-restart", "--use-dynamic-base-id"]);
        command.args(["--concurrency", "2", "--log-level", "warning"]);
        // Tests wait for access log lines; by default they come after up to 10 s.
        command.args(["--file-flush-interval-msec", "50"]);
        let mut process = Process::start("envoy", &mut command);
        let admin = eventually("Envoy's admin address", || {
            assert!(!process.has_ended(), "Envoy ended: {}", process.stderr.all().join("\n"));
            let text = std::fs::read_to_string(&address).unwrap_or_default();
            (!text.is_empty()).then(|| text.trim().parse().unwrap())
        });
        let get = |path: &str| Http1::connect(admin).send(&Request::get(path));
        eventually("Envoy to be ready", || (get("/ready").status == 200).then_some(()));
        let gateway = listener_address(admin, listener);
        Self { process, gateway, admin }
    }

    /// Where another of its listeners is.
    pub(crate) fn listener(&self, name: &str) -> SocketAddr {
        listener_address(self.admin, name)
    }

    /// GET on the admin port.
    pub(crate) fn admin(&self, path: &str) -> Answer {
        Http1::connect(self.admin).send(&Request::get(path))
    }

    /// One counter or gauge, by its full name; 0 when Envoy does not have it yet.
    pub(crate) fn stat(&self, name: &str) -> u64 {
        let stats = self.admin(&format!("/stats?filter=^{}$", name.replace('.', "\\.")));
        let value = stats.text().trim().strip_prefix(name).and_then(|it| it.strip_prefix(": "));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits for the access log line from `mark` on for which `wanted` holds.
    pub(crate) fn access_log(
        &self,
        mark: usize,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        self.process.stdout.wait_from(mark, &format!("the access log line of {what}"), |line| {
            let line: Value = serde_json::from_str(line).unwrap();
            wanted(&line).then_some(line)
        })
    }
}

fn listener_address(admin: SocketAddr, name: &str) -> SocketAddr {
    eventually("Envoy's listener", || {
        let listeners = Http1::connect(admin).send(&Request::get("/listeners?format=json")).json();
        let all = listeners["listener_statuses"].as_array()?.clone();
        let found = all.iter().find(|listener| listener["name"] == name)?;
        let port = found["local_address"]["socket_address"]["port_value"].as_u64()?;
        Some(SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap())))
    })
}

/// `$ENVOY`, or what `scripts/envoy.sh` has fetched.
pub(crate) fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("ENVOY") {
        return path.into();
    }
    let path = root().join(".tools/envoy-1.40.0/envoy");
    assert!(path.exists(), "no Envoy: run scripts/envoy.sh, or set ENVOY to a binary");
    path
}

/// What `envoy --mode validate` says: empty when it accepts the file.
pub(crate) fn rejected(yaml: &str) -> String {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("envoy.yaml");
    std::fs::write(&file, yaml).unwrap();
    let mut envoy = Command::new(binary());
    let envoy = envoy.args(["--mode", "validate", "--log-level", "warning"]).arg("-c").arg(file);
    let output = envoy.output().unwrap();
    if output.status.success() {
        String::new()
    } else {
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

/// The version of that binary, as numbers: `[1, 40, 0]`.
pub(crate) fn version() -> Vec<u32> {
    let output = Command::new(binary()).arg("--version").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // "<path>  version: <commit>/<version>/Clean/RELEASE/BoringSSL"
    let (_, build) = text.split_once("version: ").unwrap_or_else(|| panic!("{text:?}"));
    let version = build.split('/').nth(1).unwrap_or_else(|| panic!("no version in {build:?}"));
    version.split('.').map(|number| number.parse().unwrap()).collect()
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Replaces a text that must be there, and only once.
pub(crate) fn replace_once(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "wanted exactly one {from:?} in:\n{text}");
    text.replace(from, to)
}
