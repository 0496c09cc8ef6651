//! `gatepost authz`: the policy sidecar.

mod tls;
mod serve;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::ValueEnum;

use super::{Environment, Exit, environment};
use crate::audit::QUEUE_BYTES;
use crate::lifecycle::address::Address;
use crate::telemetry;

/// `gatepost authz`
#[expect(
    clippy::doc_markdown,
    reason = "these comments are the help text, where backticks are noise"
)]
#[derive(Debug, clap::Args)]
#[command(after_help = "SIGHUP reads the policy at once; SIGTERM drains; a second one stops.")]
pub struct Options {
    /// The directory of gateway_config.json; edits there hold within a second
    #[arg(long, value_name = "DIR", env = "GATEPOST_POLICY")]
    policy: PathBuf,

    /// Where the gateway's Envoy asks: host:port or unix:/path [default: 127.0.0.1:9191]
    #[arg(long, value_name = "ADDR", env = "GATEPOST_GATEWAY_LISTEN")]
    gateway_listen: Option<Address>,

    /// Where the egress's Envoy asks: unix:/path, or host:port with all four flags of TLS
    /// [default: unix:/run/gatepost/egress.sock]
    #[arg(long, value_name = "ADDR", env = "GATEPOST_EGRESS_LISTEN")]
    egress_listen: Option<Address>,

    #[command(flatten)]
    tls: tls::Flags,

    /// Where operators ask: /health, /ready, /status, /metrics
    #[arg(long, value_name = "ADDR", env = "GATEPOST_ADMIN", default_value = "127.0.0.1:8181")]
    admin: Address,

    /// Another address for /metrics and /health alone
    #[arg(long, value_name = "ADDR", env = "GATEPOST_METRICS")]
    metrics: Option<Address>,

    /// The mode of Unix sockets, in octal
    #[arg(long, value_name = "MODE", env = "GATEPOST_SOCKET_MODE", default_value = "0600", value_parser = octal)]
    socket_mode: u32,

    /// Where decisions are written, a line of JSON each: a file, - for standard output, or off
    #[arg(long, value_name = "FILE|-|off", env = "GATEPOST_AUDIT_LOG", default_value = "-")]
    audit_log: String,

    /// How much of the decision log may wait to be written, in bytes; past it lines are dropped, and
    /// counted
    #[arg(long, value_name = "BYTES", env = "GATEPOST_AUDIT_QUEUE", default_value_t = QUEUE_BYTES)]
    audit_queue: usize,

    /// Diagnostics on standard error: a level (error, warn, info, debug, trace) or a filter
    #[arg(long, value_name = "FILTER", env = "GATEPOST_LOG", default_value = "info")]
    log_level: String,

    /// How diagnostics are written
    #[arg(long, value_enum, env = "GATEPOST_LOG_FORMAT", default_value_t = LogFormat::Text)]
    log_format: LogFormat,

    /// From "not ready" to the end of accepting, in milliseconds: what Envoy's health checks need to
    /// notice
    #[arg(long, value_name = "MS", env = "GATEPOST_DRAIN_NOTICE", default_value_t = 0)]
    drain_notice: u64,

    /// From there until what is still open is cut, in milliseconds
    #[arg(long, value_name = "MS", env = "GATEPOST_DRAIN_GRACE", default_value_t = 5000)]
    drain_grace: u64,

    /// development lets weak settings load: keys that everybody knows, short keys, allow_any_key
    #[arg(long = "env", value_name = "production|development", env = "GATEPOST_ENV", default_value_t = Environment::Production, value_parser = environment)]
    environment: Environment,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

fn octal(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        Ok(_) | Err(_) => Err("expected a file mode in octal, such as 0600".to_owned()),
    }
}

/// Serves until a signal. What went wrong is said on `err`.
///
/// # Errors
/// `err` cannot be written.
pub fn run(options: Options, err: &mut dyn Write) -> io::Result<Exit> {
    let format = match options.log_format {
        LogFormat::Text => telemetry::Format::Text,
        LogFormat::Json => telemetry::Format::Json,
    };
    if let Err(error) = telemetry::init_tracing(format, &options.log_level) {
        writeln!(err, "gatepost: --log-level: {error}")?;
        return Ok(Exit::Usage);
    }
    if let Err(error) = options.tls.files(options.egress_listen.as_ref()) {
        writeln!(err, "gatepost: {error}")?;
        return Ok(Exit::Usage);
    }
    let served = tokio::runtime::Runtime::new().map_err(Into::into).and_then(|runtime| {
        let served = runtime.block_on(serve::serve(options, err));
        // Whatever still hangs has been named; waiting for it would undo the deadline.
        runtime.shutdown_background();
        served
    });
    match served {
        Ok(()) => Ok(Exit::Done),
        Err(error) => {
            writeln!(err, "gatepost: {error}")?;
            Ok(Exit::Failed)
        }
    }
}
