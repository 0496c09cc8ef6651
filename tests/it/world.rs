//! The world around gatepost: a policy directory, gatepost, the demo upstream and a real Envoy, on
//! ports the system picks. Dropped, all of it is gone.
//!
//! Tests are ordinary blocking functions. Those that only send requests share one world (a
//! `OnceLock`); those that edit the policy or stop a process start their own.

pub(crate) mod answer;
pub(crate) mod certificates;
pub(crate) mod check;
pub(crate) mod dns;
pub(crate) mod egress;
pub(crate) mod envoy;
pub(crate) mod gatepost;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod patience;
pub(crate) mod process;
pub(crate) mod upstream_tls;

use std::net::SocketAddr;
use std::path::PathBuf;

use ::gatepost::cli::demo_upstream;
use ::gatepost::side::Side;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use self::answer::{Answer, Request};
use self::envoy::{Config, Envoy, replace_once};
use self::gatepost::{Gatepost, Launch, Socket, replace_file};
use self::http1::Http1;
use self::http2::{Http2, runtime};
use self::process::Guard;

/// The ways a client may speak to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    pub(crate) const BOTH: [Self; 2] = [Self::Http1, Self::Http2];
}

/// What a world is to be like.
#[derive(Debug)]
pub(crate) struct Builder {
    policy: String,
    config: Config,
    edits: Vec<(String, String)>,
    unix_socket: bool,
    env: Vec<(String, String)>,
    args: Vec<String>,
}

impl Builder {
    pub(crate) fn envoy(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// A change to Envoy's configuration: `from` must be in it exactly once.
    pub(crate) fn edit_envoy(mut self, from: &str, to: &str) -> Self {
        self.edits.push((from.to_owned(), to.to_owned()));
        self
    }

    /// Check calls go over a Unix socket instead of TCP.
    pub(crate) fn unix_socket(mut self) -> Self {
        self.unix_socket = true;
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }

    /// Starts all of it, and returns when the gateway takes requests.
    pub(crate) fn start(self) -> World {
        let dir = TempDir::new().unwrap();
        let policy = dir.path().join("policy");
        std::fs::create_dir(&policy).unwrap();
        replace_file(&policy.join(POLICY_FILE), &self.policy);
        let socket = format!("unix:{}", dir.path().join("gateway.sock").display());
        let listen = if self.unix_socket { socket } else { "127.0.0.1:0".to_owned() };
        let (env, args) = (self.env, self.args);
        let mut launch = Launch { policy, side: Side::Gateway, listen, env, args };
        let gatepost = Gatepost::start(&launch);
        if let Socket::Tcp(address) = &gatepost.socket {
            // Started again, it must be where Envoy looks for it.
            launch.listen = address.to_string();
        }
        let upstream = Upstream::start();
        let mut yaml = self.config.yaml(&gatepost.socket, upstream.address);
        for (from, to) in &self.edits {
            yaml = replace_once(&yaml, from, to);
        }
        let envoy = Envoy::start(dir.path(), &yaml);
        let guard = Guard::new("rm -rf \"$1\"", dir.path().to_str().unwrap());
        World { envoy, gatepost, launch, _upstream: upstream, _dir: dir, _guard: guard }
    }
}

/// The file that the gateway's policy is read from.
pub(crate) const POLICY_FILE: &str = "gateway_config.json";

/// Everything, running. Fields are dropped in this order: the one that calls before the called.
pub(crate) struct World {
    pub(crate) envoy: Envoy,
    pub(crate) gatepost: Gatepost,
    launch: Launch,
    _upstream: Upstream,
    _dir: TempDir,
    _guard: Guard,
}

impl World {
    /// A world with this policy, behind the shipped Envoy configuration unless told otherwise.
    pub(crate) fn with_policy(policy: &Value) -> Builder {
        Self::with_policy_text(&policy.to_string())
    }

    /// The same, with the file's text as it is.
    pub(crate) fn with_policy_text(policy: &str) -> Builder {
        Builder {
            policy: policy.to_owned(),
            config: Config::Shipped,
            edits: Vec::new(),
            unix_socket: false,
            env: Vec::new(),
            args: Vec::new(),
        }
    }

    /// Sends one request through the gateway on a connection of its own.
    pub(crate) fn send(&self, protocol: Protocol, request: &Request) -> Answer {
        match protocol {
            Protocol::Http1 => self.http1().send(request),
            Protocol::Http2 => self.http2().send(request),
        }
    }

    /// A connection to the gateway.
    pub(crate) fn http1(&self) -> Http1 {
        Http1::connect(self.envoy.gateway)
    }

    /// A connection to the gateway; gRPC calls go over it too.
    pub(crate) fn http2(&self) -> Http2 {
        Http2::connect(self.envoy.gateway)
    }

    /// Replaces the policy with a rename. Does not wait until it holds.
    pub(crate) fn replace_policy(&self, policy: &Value) {
        replace_file(&self.policy_file(), &policy.to_string());
    }

    pub(crate) fn policy_file(&self) -> PathBuf {
        self.launch.policy.join(POLICY_FILE)
    }

    /// Starts gatepost again on the same address, with a kill -9 first if it still runs.
    pub(crate) fn restart_gatepost(&mut self) {
        self.gatepost.process.kill();
        self.gatepost = Gatepost::start(&self.launch);
    }
}

/// The demo upstream, inside this process.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl Upstream {
    pub(crate) fn start() -> Self {
        let listener = runtime().block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        runtime().spawn(demo_upstream::serve(listener, async move {
            // Dropped is the signal.
            let _dropped = stopped.await;
        }));
        Self { address, _stop: stop }
    }
}
