//! `gatepost check`: validate a policy exactly as the server loads it, and run table cases.

mod report;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cases::{self, Tally};
use super::{Environment, Exit, Format, environment, load_policy};
use crate::clock::Now;
use crate::policy::Snapshot;
use crate::policy::compile::Strictness;
use crate::policy::egress::Egress;
use crate::policy::load;
use crate::policy::locate::{self, Errors};
use crate::policy::secrets::Store;
use report::{Cases, Problem, Report};

/// `gatepost check`
#[expect(
    clippy::doc_markdown,
    reason = "these comments are the help text, where backticks are noise"
)]
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gatepost check policy/data --env development
  gatepost check policy/data --env development --cases policy/cases
  gatepost check /etc/gatepost --format json | jq -r .revision

A mistake, a warning and a case that fails each have a line: file:line:column: path: message.
Exit codes: 0 it loads and every case passes (warnings or not); 1 it does not; 2 usage.

A case file:
  { \"cases\": [ { \"name\": \"no key, no entry\",
                 \"request\": { \"method\": \"GET\", \"host\": \"api.test\", \"path\": \"/api/v1/agents\",
                              \"headers\": [\"accept: */*\"], \"source_ip\": \"10.0.0.1\" },
                 \"expect\": { \"decision\": \"deny\", \"reason\": \"credential_missing\", \"status\": 401 } } ] }
Only the fields of \"expect\" that are given are compared. \"policy\": DIR, or \"gateway\": {...} and \"egress\":
{...}, beside \"cases\" is used instead of the directory being checked.")]
pub struct Options {
    /// The directory of gateway_config.json and egress_config.json
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// How to print what was found
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    /// Requests with the decisions expected about them: a file, or a directory of *.json files; may
    /// be repeated
    #[arg(long, value_name = "FILE")]
    cases: Vec<PathBuf>,

    /// development lets weak settings load
    #[arg(long = "env", value_name = "production|development", env = "GATEPOST_ENV", default_value_t = Environment::Production, value_parser = environment)]
    environment: Environment,
}

/// Checks the policy and says what it found: the result on `out`, what is wrong on `err`; as JSON all
/// of it on `out`.
///
/// # Errors
/// The output cannot be written.
pub fn run(options: &Options, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let report = examine(options, Now::read());
    match options.format {
        Format::Text => report.write_text(out, err)?,
        Format::Json => writeln!(out, "{:#}", report.json())?,
    }
    Ok(if report.ok() { Exit::Done } else { Exit::Failed })
}

fn examine(options: &Options, now: Now) -> Report {
    let strictness = options.environment.into();
    let mut report = Report::new(&options.directory);
    let loaded = load_policy(&options.directory, strictness, &mut Store::live(&options.directory));
    let (files, snapshot) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            report.errors = problems(error);
            return report;
        }
    };
    match files.advice(&snapshot, strictness, now) {
        Ok(warnings) => report.warnings = located(warnings),
        Err(errors) => report.errors = located(errors),
    }
    if !options.cases.is_empty() {
        let mut tally = Cases::default();
        let policy = everywhere(&snapshot, now);
        for path in &options.cases {
            run_cases(path, &policy, strictness, now, &mut report.errors, &mut tally);
        }
        report.cases = Some(tally);
    }
    report.loaded(&snapshot);
    report
}

/// The same policy with placeholders for credentials: cases come out alike wherever they are run.
fn everywhere(snapshot: &Snapshot, now: Now) -> Snapshot {
    let egress = snapshot.egress.as_ref().map(|egress| {
        let map = Arc::clone(&egress.map);
        let wanted = Store::placeholders().supply(&map, now);
        Egress::new(map, wanted)
    });
    Snapshot { egress, ..snapshot.clone() }
}

/// Runs one case file, or all of a directory, in the order of their names.
fn run_cases(
    path: &Path,
    snapshot: &Snapshot,
    strictness: Strictness,
    now: Now,
    errors: &mut Vec<Problem>,
    sum: &mut Cases,
) {
    let files = match case_files(path) {
        Ok(files) => files,
        Err(error) => {
            errors.push(Problem::unplaced(format!("{}: {error}", path.display())));
            return;
        }
    };
    if files.is_empty() {
        errors.push(Problem::unplaced(format!("{}: has no *.json file", path.display())));
    }
    for file in files {
        match cases::run(&file, snapshot, strictness, now) {
            Ok(Tally { passed, failed, failures }) => {
                sum.passed += passed;
                sum.failed += failed;
                sum.failures.extend(located(failures));
            }
            Err(cases::Error::Invalid(invalid)) => errors.extend(located(invalid)),
            Err(cases::Error::Policy(directory, error)) => {
                let prefix = directory.display().to_string();
                errors.extend(problems(error).into_iter().map(|problem| problem.within(&prefix)));
            }
            Err(error @ cases::Error::Unreadable(..)) => {
                errors.push(Problem::unplaced(error.to_string()));
            }
        }
    }
}

fn case_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in path.read_dir()? {
        let file = entry?.path();
        if file.is_file() && file.extension().is_some_and(|extension| extension == "json") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn problems(error: load::Error) -> Vec<Problem> {
    match error {
        load::Error::Invalid(errors) => located(errors),
        load::Error::Nothing(_)
        | load::Error::Unreadable(..)
        | load::Error::Unsettled(_)
        | load::Error::Empty(_)
        | load::Error::Missing(_)
        | load::Error::TooLarge(_)
        | load::Error::Writable(_)
        | load::Error::Shrunk { .. } => vec![Problem::unplaced(error.to_string())],
    }
}

fn located(errors: Errors) -> Vec<Problem> {
    let Errors { listed, more } = errors;
    let mut problems: Vec<Problem> = listed.into_iter().map(locate::Error::into).collect();
    if more > 0 {
        problems.push(Problem::more(more));
    }
    problems
}
