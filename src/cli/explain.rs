//! `gatepost explain`: what would be decided about one request, every step and why.
//!
//! The request goes the way of a real check, and what is told is read off the decision and off the
//! bytes that Envoy would get. No key is ever printed, whatever was typed where.

mod caller;
mod trace;
mod egress;
mod render;

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{Environment, Exit, Format, environment, load_policy};
use crate::authz::decide;
use crate::authz::respond::answer::Answer;
use crate::authz::sample::Sample;
use crate::clock::{Now, rfc3339};
use crate::policy::Snapshot;
use crate::policy::header::SANDBOX_TOKEN;
use crate::policy::rule::CredentialHeaders;
use crate::policy::secrets::Store;
use crate::ratelimit::memory::Counters;
use render::Explanation;

/// Stands for the id that every decision gets anew.
const DECISION_ID: &str = "<new for each decision>";

/// A header as long as this is cut by no proxy; what is longer is no key.
const MAX_KEY_BYTES: u64 = 8192;

/// `gatepost explain`
#[expect(
    clippy::doc_markdown,
    reason = "these comments are the help text, where backticks are noise"
)]
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gatepost explain policy/data --env development --path /api/v1/agents
  gatepost explain /etc/gatepost --method DELETE --host api.example.com --path /api/v1/agents/7 \\
      --source-ip 10.1.2.3 --key-stdin < key.txt
  gatepost explain /etc/gatepost --side egress --method POST --host openai \\
      --path /v1/chat/completions --key-stdin < token.txt

Headers are taken as gatepost sees them, that is after Envoy, which appends the address of its peer
to x-forwarded-for and sets x-forwarded-proto. Limits are counted from nothing: what a running
gatepost has counted is not known here.
Exit codes: 0 explained, whatever the decision; 1 the policy does not load; 2 usage.")]
pub struct Options {
    /// The directory of gateway_config.json
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    // Without this, what follows an unquoted header would be repeated in the complaint about it.
    #[arg(hide = true, value_name = "NOTHING")]
    unexpected: Vec<String>,

    /// Which proxy asks
    #[arg(long, value_enum, default_value_t = Side::Gateway)]
    side: Side,

    /// The HTTP method
    #[arg(long, default_value = "GET")]
    method: String,

    /// The host that the client asks for, with its port if it sends one
    #[arg(long, default_value = "gateway.test")]
    host: String,

    /// The request target, with its query
    #[arg(long)]
    path: String,

    /// A request header, NAME: VALUE; the value - is read from standard input; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,

    /// Read a credential from standard input: at the gateway an API key, sent in the first of
    /// credential_headers; at the egress a sandbox token, sent in X-Sandbox-Token
    // Every user of the machine can read the arguments of a process, and the shell keeps them.
    #[arg(long)]
    key_stdin: bool,

    /// The address at the other end of the TCP connection to Envoy
    #[arg(long, value_name = "IP")]
    source_ip: Option<IpAddr>,

    /// The SPIFFE ID in the certificate that the sandbox has shown to Envoy (egress)
    #[arg(long, value_name = "URI")]
    spiffe_id: Option<String>,

    /// The rule that the route names (context_extensions gatepost.rule)
    #[arg(long, value_name = "ID")]
    rule: Option<String>,

    /// When, as in 2027-01-31T00:00:00Z [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    time: Option<Duration>,

    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    /// development lets weak settings load
    #[arg(long = "env", value_name = "production|development", env = "GATEPOST_ENV", default_value_t = Environment::Production, value_parser = environment)]
    environment: Environment,
}

/// Which proxy asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Side {
    /// The one in front of our services.
    Gateway,
    /// The one behind our agents.
    Egress,
}

impl From<Side> for crate::side::Side {
    fn from(side: Side) -> Self {
        match side {
            Side::Gateway => Self::Gateway,
            Side::Egress => Self::Egress,
        }
    }
}

fn moment(text: &str) -> Result<Duration, &'static str> {
    rfc3339(text).ok_or("expected a date such as 2027-01-31T00:00:00Z (RFC 3339)")
}

/// Explains one request.
///
/// # Errors
/// The output cannot be written.
pub fn run(
    options: &Options,
    stdin: &mut dyn Read,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    if !options.unexpected.is_empty() {
        writeln!(
            err,
            "gatepost: expected one DIR and then options; quote a header as a whole: -H 'name: value'"
        )?;
        return Ok(Exit::Usage);
    }
    let strictness = options.environment.into();
    let snapshot = match load_policy(&options.directory, strictness, &mut Store::placeholders()) {
        Ok((_files, snapshot)) => snapshot,
        Err(error) => {
            writeln!(err, "{error}")?;
            return Ok(Exit::Failed);
        }
    };
    let sample = match sample(options, &snapshot, stdin) {
        Ok(sample) => sample,
        Err(message) => {
            writeln!(err, "gatepost: {message}")?;
            return Ok(Exit::Usage);
        }
    };
    let now = Now::read();
    let now = Now { unix: options.time.unwrap_or(now.unix), ..now };
    let bytes = sample.encode();
    let decision =
        decide(options.side.into(), &snapshot, &Counters::new(), now, DECISION_ID, &bytes);
    let Ok(answer) = Answer::read(&decision.response()) else {
        writeln!(err, "gatepost: the response cannot be read: this is a mistake in gatepost")?;
        return Ok(Exit::Failed);
    };
    let steps = match options.side {
        Side::Gateway => trace::steps(&decision, now),
        Side::Egress => egress::steps(&decision, now),
    };
    let explanation = Explanation { sample: &sample, decision: &decision, answer: &answer, steps };
    match options.format {
        Format::Text => explanation.write_text(out)?,
        Format::Json => writeln!(out, "{:#}", explanation.json())?,
    }
    Ok(Exit::Done)
}

/// The request, with what stands on standard input in its place. An error repeats no value.
fn sample(options: &Options, snapshot: &Snapshot, stdin: &mut dyn Read) -> Result<Sample, String> {
    let mut headers = Vec::with_capacity(options.headers.len() + 1);
    let mut from_stdin = Vec::new();
    for (line, number) in options.headers.iter().zip(1..) {
        let header = Sample::header(line)
            .ok_or_else(|| format!("-H, number {number}: expected 'NAME: VALUE'"))?;
        if header.1 == "-" {
            from_stdin.push(headers.len());
        }
        headers.push(header);
    }
    if options.key_stdin {
        from_stdin.push(headers.len());
        headers.push((key_header(options.side, snapshot).to_owned(), String::new()));
    }
    match from_stdin.as_slice() {
        [] => {}
        [place] => {
            let key = read_key(stdin)?;
            if let Some((name, value)) = headers.get_mut(*place) {
                let bare = options.key_stdin && name == "authorization";
                *value = if bare { format!("Bearer {key}") } else { key };
            }
        }
        _ => return Err("standard input can be read once only".to_owned()),
    }
    Ok(Sample {
        method: options.method.clone(),
        host: options.host.clone(),
        path: options.path.clone(),
        headers,
        source_ip: options.source_ip.map(|address| address.to_string()),
        principal: options.spiffe_id.clone(),
        rule: options.rule.clone(),
        raw_headers: false,
    })
}

fn key_header(side: Side, snapshot: &Snapshot) -> &str {
    if side == Side::Egress {
        return SANDBOX_TOKEN;
    }
    let gateway = snapshot.gateway.as_ref();
    let headers = gateway.map(|gateway| &gateway.options.credential_headers);
    headers.and_then(|CredentialHeaders(names)| names.first()).map_or("x-api-key", |name| name)
}

fn read_key(stdin: &mut dyn Read) -> Result<String, String> {
    let mut input = String::new();
    let read = stdin.take(MAX_KEY_BYTES + 1).read_to_string(&mut input);
    read.map_err(|error| format!("standard input: {error}"))?;
    let key = input.trim_matches(['\r', '\n', ' ', '\t']);
    if key.is_empty() {
        return Err("expected a key on standard input, and found nothing".to_owned());
    }
    if key.contains(char::is_control) || u64::try_from(input.len()).is_ok_and(|n| n > MAX_KEY_BYTES)
    {
        return Err(format!("expected a key of one line, at most {MAX_KEY_BYTES} bytes"));
    }
    Ok(key.to_owned())
}
