//! `policy/cases/*.json`: requests and the decisions expected about them.

use super::egress::EgressFile;
use super::gateway::GatewayFile;
use super::object::object;
use super::text::{Entries, Secret, Text};

object! {
    /// The whole of a case file.
    pub struct CaseFile<'a> {
        /// For the reader of the file.
        description: Text<'a>,
        /// A policy directory, relative to the case file; absent, the directory being checked.
        policy: Text<'a>,
        /// Instead of `policy`: what `gateway_config.json` would hold.
        gateway: GatewayFile<'a>,
        /// Beside or instead of `gateway`: what `egress_config.json` would hold.
        egress: EgressFile<'a>,
        /// `production` or `development`: how a policy of the file's own is loaded.
        env: Text<'a>,
        /// The cases. Each begins with nothing counted.
        cases: Vec<Case<'a>>,
    }
}

object! {
    /// One of `cases`.
    pub struct Case<'a> {
        /// What it shows.
        name: Text<'a>,
        /// Which proxy asks: `gateway` unless given, or `egress`.
        side: Text<'a>,
        /// What is sent.
        request: CaseRequest<'a>,
        /// How often it is sent at one moment; the last decision counts.
        repeat: i64,
        /// What is decided.
        expect: Expectation<'a>,
    }
}

object! {
    /// `request`: what Envoy would ask about.
    pub struct CaseRequest<'a> {
        /// `GET` unless given.
        method: Text<'a>,
        /// `gateway.test` unless given.
        host: Text<'a>,
        /// With its query.
        path: Text<'a>,
        /// `name: value` each, as Envoy shows them. They may hold keys.
        headers: Vec<Secret<'a>>,
        /// The TCP peer of Envoy; unknown unless given.
        source_ip: Text<'a>,
        /// The SPIFFE ID in the certificate that Envoy has verified.
        spiffe_id: Text<'a>,
        /// The rule that the route names.
        rule: Text<'a>,
        /// RFC 3339: when; now unless given.
        time: Text<'a>,
    }
}

object! {
    /// `expect`: only what is given is compared. `""` expects that there is none.
    pub struct Expectation<'a> {
        /// `allow`, `deny` or `shadow`.
        decision: Text<'a>,
        /// The public reason.
        reason: Text<'a>,
        /// The reason behind it.
        detail: Text<'a>,
        /// The HTTP status of a denial.
        status: i64,
        /// The gRPC code of the decision.
        grpc_status: i64,
        /// The id of the rule that decides.
        rule: Text<'a>,
        /// The id of the caller's key.
        key_id: Text<'a>,
        /// The role of the caller.
        role: Text<'a>,
        /// The tier of the caller.
        tier: Text<'a>,
        /// The tenant of the caller.
        tenant: Text<'a>,
        /// The sandbox that calls.
        sandbox: Text<'a>,
        /// The outside service that is called.
        service: Text<'a>,
        /// The name of the credential that the call goes with.
        credential: Text<'a>,
        /// The host as it is matched.
        host: Text<'a>,
        /// The path as it is matched.
        path: Text<'a>,
        /// Headers that the upstream gets from us, with their values.
        set_headers: Entries<'a, Text<'a>>,
        /// Headers that the upstream does not get.
        removed_headers: Vec<Text<'a>>,
        /// Headers that the upstream gets as they were sent.
        kept_headers: Vec<Text<'a>>,
        /// Headers that the client gets, with their values.
        response_headers: Entries<'a, Text<'a>>,
    }
}
