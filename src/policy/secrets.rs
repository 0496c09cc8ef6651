//! Where credential values come from: the environment, files, literals.

use std::collections::HashMap;
use std::sync::Arc;

use super::credential::{Credential, Supply};
use super::egress::{ServiceMap, Target};
use crate::clock::Now;
use crate::denial::Unavailable;

/// The values of all sources, and the last good ones of those that cannot be read any more.
#[derive(Debug, Default)]
pub struct Store {
    placeholders: bool,
}

impl Store {
    /// Reads the real sources.
    pub fn live() -> Self {
        Self::default()
    }

    /// Reads nothing: every value is `<credential NAME>`. For `explain` and for table cases, which
    /// must come out alike wherever they are run.
    pub fn placeholders() -> Self {
        Self { placeholders: true }
    }

    /// The targets of a map with the values of this moment, by the service's number.
    pub fn supply(&mut self, map: &ServiceMap, now: Now) -> Arc<[Arc<Target>]> {
        let mut credentials: Vec<HashMap<Box<str>, Arc<Supply>>> =
            map.services.iter().map(|_| HashMap::new()).collect();
        for credential in &map.credentials {
            let supply = Arc::new(self.read(credential, now));
            if let Some(of_service) = credentials.get_mut(credential.service.0) {
                of_service.insert(credential.name.clone(), supply);
            }
        }
        let targets = map.services.iter().zip(credentials);
        targets.map(|(service, credentials)| Arc::new(service.target(credentials))).collect()
    }

    fn read(&mut self, _credential: &Credential, _now: Now) -> Supply {
        Err(Unavailable::Unresolved)
    }
}
