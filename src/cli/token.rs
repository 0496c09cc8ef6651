//! New keys and tokens, and what a policy keeps of them.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use sha2::{Digest, Sha256};

use super::streams::Error;
use crate::policy::credential::Secret;

/// `prefix` and 256 random bits in base64url.
///
/// # Errors
/// The system has no random numbers.
pub(super) fn random(prefix: &str) -> Result<Secret, Error> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)
        .map_err(|error| Error::new(format!("no random numbers: {error}")))?;
    Ok(Secret::new(format!("{prefix}{}", BASE64URL_NOPAD.encode(&random))))
}

/// 64 hexadecimal digits, as the files want them.
pub(super) fn sha256(secret: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(secret))
}
