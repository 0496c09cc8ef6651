//! The egress side in `/status`.

use serde_json::{Value, json};

use super::timestamp;
use crate::policy::egress::{Egress, Identity};
use crate::policy::secrets::{Report, State};
use crate::xds::nodes::{Nack, Node};

/// What holds, what waits for Envoy, and how each credential stands.
pub(super) fn describe(egress: &Egress, credentials: &[Report], envoys: &[Node]) -> Value {
    let map = &egress.map;
    let pending: Vec<&str> = egress.pending().map(|(live, _wanted)| &*live.service).collect();
    let credentials: Vec<Value> = credentials.iter().map(credential).collect();
    json!({
        "services": map.services.len(),
        "tiers": map.tiers.len(),
        "sandboxes": map.sandboxes.len(),
        "tokens": map.tokens.len(),
        "identity": identity(map.options.identity),
        "pending": pending,
        "credentials": credentials,
        "envoys": envoys.iter().map(envoy).collect::<Vec<_>>(),
    })
}

fn envoy(node: &Node) -> Value {
    let Node { id, cluster, since, version, clusters, waiting, refused, nack } = node;
    let nack = nack.as_ref().map(|Nack { at, text }| json!({ "at": timestamp(*at), "text": text }));
    json!({
        "node": id,
        "cluster": cluster,
        "since": timestamp(*since),
        "version": version.as_deref(),
        "clusters": clusters,
        "pending": waiting,
        "refused": refused,
        "nack": nack,
    })
}

fn identity(Identity { token, mtls, header }: Identity) -> Vec<&'static str> {
    let ways = [(token, "token"), (mtls, "mtls"), (header, "header")];
    ways.into_iter().filter_map(|(on, name)| on.then_some(name)).collect()
}

fn credential(report: &Report) -> Value {
    let Report { credential, service, source, state, error } = report;
    let since = match state {
        State::Kept { since } => Some(timestamp(*since)),
        State::Ok | State::Unavailable(_) => None,
    };
    json!({
        "credential": credential,
        "service": service,
        "source": source,
        "state": state.name(),
        "since": since,
        "error": error,
    })
}

#[cfg(test)]
mod tests;
