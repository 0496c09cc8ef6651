//! Diagnostics for the operator, on standard error only: standard output belongs to the decision
//! log.

use std::fmt;
use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::TryInitError;

/// How diagnostics are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One line of text for each event, in colour on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Diagnostics could not be set up.
#[derive(Debug)]
pub enum DiagnosticsError {
    /// The filter is not valid.
    Filter(ParseError),
    /// The process already has diagnostics.
    AlreadySet(TryInitError),
}

/// Sends diagnostics to standard error from now on.
///
/// `filter` is a level (`error`, `warn`, `info`, `debug`, `trace`, `off`), or several for parts of
/// the program, separated by commas: `info,gatepost::policy=debug`.
pub fn init_tracing(format: Format, filter: &str) -> Result<(), DiagnosticsError> {
    use tracing_subscriber::util::SubscriberInitExt as _;

    let filter = EnvFilter::builder().parse(filter).map_err(DiagnosticsError::Filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(format == Format::Text && stderr().is_terminal())
        // A closed standard error must not stop the service, and the library would complain about
        // it on standard error, with a panic.
        .log_internal_errors(false);
    match format {
        Format::Text => builder.finish().try_init(),
        Format::Json => builder.json().flatten_event(true).finish().try_init(),
    }
    .map_err(DiagnosticsError::AlreadySet)
}

impl fmt::Display for DiagnosticsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filter(error) => write!(
                f,
                "the log filter is not valid ({error}); write a level such as \"info\", or \
                 \"info,gatepost::policy=debug\""
            ),
            Self::AlreadySet(error) => write!(f, "diagnostics are already set up: {error}"),
        }
    }
}

impl std::error::Error for DiagnosticsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Filter(error) => Some(error),
            Self::AlreadySet(error) => Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_is_refused_with_a_hint() {
        let error = init_tracing(Format::Text, "gatepost=loud").unwrap_err();
        assert!(matches!(error, DiagnosticsError::Filter(_)));
        assert!(error.to_string().contains("info,gatepost::policy=debug"), "{error}");
    }
}
