//! What the bytes of a file say, or everything that is wrong with them.

use super::{EGRESS, GATEWAY, SECRETS};
use crate::policy::Gateway;
use crate::policy::compile::{self, EgressFaults, Strictness};
use crate::policy::egress::ServiceMap;
use crate::policy::locate::{self, Errors, Explanation};
use crate::policy::raw::{self, EgressFile, GatewayFile, ParseError, SecretsFile};

/// A file as the fast pass read it.
pub(super) struct Written<'t, T> {
    name: &'static str,
    text: &'t str,
    parsed: Result<T, ParseError>,
}

impl<'t, T: raw::Document<'t>> Written<'t, T> {
    pub(super) fn decode(name: &'static str, bytes: &'t [u8]) -> Result<Self, Errors> {
        let text = locate::decode_utf8(name, bytes)?;
        Ok(Self { name, text, parsed: raw::parse(text) })
    }

    pub(super) fn file(&self) -> Result<&T, Errors> {
        self.parsed.as_ref().map_err(|_error| self.explain().place(&[]))
    }

    /// The second pass, which says everything that is wrong and where.
    pub(super) fn explain(&self) -> Explanation<'t> {
        locate::explain::<T>(self.name, self.text, self.parsed.as_ref().err())
    }
}

/// The fast pass; on failure the second one. What is wrong with the sense is told together with what
/// is wrong with the shape.
pub(super) fn gateway(bytes: &[u8], strictness: Strictness) -> Result<Gateway, Errors> {
    let written = Written::<GatewayFile<'_>>::decode(GATEWAY, bytes)?;
    let findings = match &written.parsed {
        Ok(file) => match compile::gateway(file, strictness) {
            Ok(gateway) => return Ok(gateway),
            Err(findings) => findings,
        },
        Err(_) => Vec::new(),
    };
    let why = written.explain();
    let findings = match why.salvaged::<GatewayFile<'_>>() {
        Some(file) => compile::gateway(&file, strictness).err().unwrap_or_default(),
        None => findings,
    };
    Err(why.place(&findings))
}

/// The same for the two files of the egress, which are judged together.
pub(super) fn egress(
    bytes: &[u8],
    secrets: &[u8],
    strictness: Strictness,
) -> Result<ServiceMap, Errors> {
    let written = Written::<EgressFile<'_>>::decode(EGRESS, bytes)?;
    let secrets = Written::<SecretsFile<'_>>::decode(SECRETS, secrets)?;
    let faults = match (&written.parsed, &secrets.parsed) {
        (Ok(file), Ok(secrets)) => match compile::egress(file, Some(secrets), strictness) {
            Ok(map) => return Ok(map),
            Err(faults) => faults,
        },
        (Err(_), _) | (_, Err(_)) => EgressFaults::default(),
    };
    let (why, why_secrets) = (written.explain(), secrets.explain());
    let secrets = why_secrets.salvaged::<SecretsFile<'_>>();
    let faults = match why.salvaged::<EgressFile<'_>>() {
        Some(file) => {
            compile::egress(&file, secrets.as_ref(), strictness).err().unwrap_or_default()
        }
        None => faults,
    };
    Err(why.place(&faults.config).and(why_secrets.place(&faults.secrets)))
}
