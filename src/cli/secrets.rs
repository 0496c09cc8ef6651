//! `gatepost secrets`: the file of credentials, made from the environment.

mod tree;
mod plan;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use self::tree::Node;
use super::policy_file::PolicyFile;
use super::streams::{Error, Streams};
use super::whole_file;
use crate::policy::credential::Secret;
use crate::policy::load::EGRESS;

/// The file of credentials beside [`EGRESS`].
const SECRETS: &str = "egress_secrets.json";

/// `gatepost secrets ...`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write `egress_secrets.json` from the environment, readable by its owner alone
    FromEnv(FromEnv),
}

/// `gatepost secrets from-env`
#[derive(Args, Debug)]
#[command(after_help = "\
With --policy it writes each credential of DIR/egress_config.json whose \"source\" is env:NAME, or whose
token or password is ${NAME} and nothing else. Without it, these four:
  openai     bearer   OPENAI_API_KEY
  anthropic  api_key  ANTHROPIC_API_KEY
  github     bearer   GITHUB_TOKEN
  slack      bearer   SLACK_BOT_TOKEN

The file is written whole: what stood in it before is gone. Nothing is written when a variable is
missing, unless --allow-missing says so.

Examples:
  gatepost secrets from-env --policy /etc/gatepost
  gatepost secrets from-env --policy /etc/gatepost --out /run/secrets/egress_secrets.json
  gatepost secrets from-env --allow-missing > policy/data/egress_secrets.json

Exit codes: 0 written; 1 a variable is missing, or the file cannot be written; 2 usage.")]
pub struct FromEnv {
    /// The directory of `egress_config.json`, which says which credentials there are
    #[arg(long, value_name = "DIR")]
    pub policy: Option<PathBuf>,
    /// Where to write; - is standard output [default: `DIR/egress_secrets.json`, else standard output]
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Write "" for a variable that is not set: the service of that credential answers 503
    #[arg(long)]
    pub allow_missing: bool,
}

/// What the command sees of the process that it runs in.
pub struct Surroundings<'a> {
    /// A variable of the environment.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// Whether standard output is a terminal.
    pub terminal: bool,
}

/// Runs the command. An error means exit code 1, and that nothing was written.
pub fn run(
    command: &Command,
    surroundings: &Surroundings<'_>,
    streams: &mut Streams<'_>,
) -> Result<(), Error> {
    match command {
        Command::FromEnv(args) => from_env(args, surroundings, streams),
    }
}

fn from_env(
    args: &FromEnv,
    surroundings: &Surroundings<'_>,
    streams: &mut Streams<'_>,
) -> Result<(), Error> {
    let out = match (&args.out, &args.policy) {
        (Some(out), _) if out == Path::new("-") => None,
        (Some(out), _) => Some(out.clone()),
        (None, Some(policy)) => Some(policy.join(SECRETS)),
        (None, None) if surroundings.terminal => {
            return Err(Error::new(
                "standard output is a terminal, and these are secrets: name a file with --out, or \
                 say --out - if that is meant",
            ));
        }
        (None, None) => None,
    };
    let plan = match &args.policy {
        Some(policy) => plan::of_policy(&PolicyFile::open(policy, EGRESS)?)?,
        None => plan::of_the_original(),
    };
    let count = plan.len();
    let text = text(plan, args.allow_missing, surroundings, streams)?;
    match out {
        None => streams.stdout.write_all(text.as_bytes())?,
        Some(path) => {
            whole_file::write_private(&path, &text)
                .map_err(|error| Error::new(format!("cannot write {}: {error}", path.display())))?;
            let what = if count == 1 { "credential" } else { "credentials" };
            writeln!(streams.stderr, "{}: {count} {what}", path.display())?;
        }
    }
    Ok(())
}

/// The file's text, once every variable has a value.
fn text(
    mut plan: Vec<(String, Node)>,
    allow_missing: bool,
    surroundings: &Surroundings<'_>,
    streams: &mut Streams<'_>,
) -> Result<Zeroizing<String>, Error> {
    let mut missing = 0;
    for (credential, node) in &mut plan {
        for variable in node.variables() {
            let Node::Variable(name) = &*variable else { continue };
            let value = value(name, credential, surroundings)?;
            if let Some(why) = value.fault() {
                writeln!(
                    streams.stderr,
                    "gatepost: warning: {name} {why}: credential {credential:?} {}",
                    if value.is_missing() && !allow_missing { "needs it" } else { "will not work" }
                )?;
            }
            missing += usize::from(value.is_missing());
            *variable = Node::Secret(value.into_secret());
        }
    }
    if missing > 0 && !allow_missing {
        let variables = if missing == 1 { "a variable is" } else { "variables are" };
        return Err(Error::new(format!(
            "nothing is written: {variables} missing; with --allow-missing they would be written \
             as \"\", and their services answer 503"
        )));
    }
    let file = Node::Object(vec![("egress_credentials".to_owned(), Node::Object(plan))]);
    Ok(file.render())
}

enum Value {
    Unset,
    Set(Secret),
}

fn value(name: &str, credential: &str, surroundings: &Surroundings<'_>) -> Result<Value, Error> {
    match (surroundings.variable)(name).map(OsString::into_string) {
        None => Ok(Value::Unset),
        Some(Ok(value)) => Ok(Value::Set(Secret::new(value))),
        Some(Err(_not_utf8)) => Err(Error::new(format!(
            "{name} is not UTF-8, which JSON cannot hold: credential {credential:?} needs it"
        ))),
    }
}

impl Value {
    fn text(&self) -> &str {
        match self {
            Self::Unset => "",
            Self::Set(secret) => secret.expose(),
        }
    }

    /// An empty variable, as a compose file may leave it, is an absent one.
    fn is_missing(&self) -> bool {
        self.text().is_empty()
    }

    /// Why no header can carry it, if so.
    fn fault(&self) -> Option<&'static str> {
        let text = self.text();
        match self {
            Self::Unset => Some("is not set"),
            Self::Set(_) if text.is_empty() => Some("is empty"),
            Self::Set(_) if text.trim_matches([' ', '\t', '\r', '\n']) != text => {
                Some("has white space at an end")
            }
            Self::Set(_) if !text.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b)) => {
                Some("has characters that are not visible ASCII")
            }
            Self::Set(_) => None,
        }
    }

    fn into_secret(self) -> Secret {
        match self {
            Self::Unset => Secret::new(""),
            Self::Set(secret) => secret,
        }
    }
}

impl fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Surroundings")
    }
}

#[cfg(test)]
mod tests;
