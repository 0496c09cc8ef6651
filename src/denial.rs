//! Every way to say no: one closed set, and what each means to the caller, to Envoy and to the log.
//!
//! Two messages per denial. [`Denial::reason`] and [`Denial::title`] are what the caller may know;
//! [`Denial::detail`] is what the decision log and the metrics keep. Nothing here has a `_` arm: a
//! new reason does not compile before it has chosen its status, its code and its words.

use crate::side::Side;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Denial {
    /// The request carries no credential where one is required.
    CredentialMissing,
    /// The credential is not good for this request, here and now. The caller learns no more.
    CredentialInvalid(Invalid),
    /// Two different credentials in one request: which one would be meant is a guess.
    CredentialAmbiguous,
    /// The request cannot be judged, or not without a guess about what the upstream would see.
    RequestMalformed(Malformed),
    /// The caller is known, and this is not for them.
    Forbidden(Forbidden),
    /// The sandbox is known, and this is not for it. Which of the reasons it is, it is not told:
    /// that would show which services and paths there are.
    EgressDenied(Outbound),
    /// The caller has used up what its tier allows.
    RateLimited(Window),
    /// The caller has been refused so often that it is no longer told why.
    DenialsLimited,
    /// The service's own credential cannot be had, and no call goes out without it.
    CredentialUnavailable(Unavailable),
    /// This side has no policy: it was asked for by a flag and its file is absent.
    NotConfigured,
}

/// What is wrong with a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Invalid {
    /// No configured key has this value.
    Unknown,
    /// The key is switched off (`enabled: false`).
    Disabled,
    /// The key, or this one of its two values, has expired.
    Expired,
    /// `not_before` lies ahead.
    NotYetValid,
    /// The client address is in none of the key's `allowed_cidrs`.
    WrongNetwork,
}

/// Why a request cannot be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// The bytes are not a `CheckRequest`.
    Undecodable,
    /// The `CheckRequest` has no HTTP attributes.
    NoHttp,
    /// The path could mean something else to the upstream than to us.
    PathAmbiguous,
    /// The host is empty, or no host name or address.
    HostInvalid,
    /// No headers, too many, or one that folds to the name of a header we vouch for.
    HeaderInvalid,
    /// `require_https` is set and the client's connection was not TLS.
    HttpsRequired,
}

/// Which requirement a known caller does not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Forbidden {
    /// No rule covers this host and path.
    NoRule,
    /// The rule does not allow the method.
    Method,
    /// The rule asks for another role.
    Role,
    /// The rule asks for a scope that the caller lacks.
    Scope,
    /// The rule belongs to another tenant.
    Tenant,
    /// The route names a rule that does not exist, or that does not cover this request.
    RuleUnknown,
}

/// Why a sandbox may not make a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outbound {
    /// Nothing is configured under this name.
    UnknownService,
    /// The sandbox's tier does not have the service.
    Tier,
    /// The service does not allow the method.
    Method,
    /// The service does not allow the path.
    Path,
    /// What proves the identity is contradicted by what else the request claims.
    Identity,
}

/// Why a service's credential cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unavailable {
    /// Its source is not there, or no credential of the service is for this sandbox.
    Unresolved,
    /// Its source is there and has nothing in it.
    Empty,
    /// It holds what no header can carry.
    Malformed,
    /// Its source cannot be read, and the last good value is too old.
    Stale,
}

/// A rate-limit window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Window {
    /// Any 60 seconds.
    Minute,
    /// Any 3,600 seconds.
    Hour,
}

impl Denial {
    /// Every denial there is: what metrics are made from and what tests walk over.
    pub const ALL: [Self; 32] = [
        Self::CredentialMissing,
        Self::CredentialInvalid(Invalid::Unknown),
        Self::CredentialInvalid(Invalid::Disabled),
        Self::CredentialInvalid(Invalid::Expired),
        Self::CredentialInvalid(Invalid::NotYetValid),
        Self::CredentialInvalid(Invalid::WrongNetwork),
        Self::CredentialAmbiguous,
        Self::RequestMalformed(Malformed::Undecodable),
        Self::RequestMalformed(Malformed::NoHttp),
        Self::RequestMalformed(Malformed::PathAmbiguous),
        Self::RequestMalformed(Malformed::HostInvalid),
        Self::RequestMalformed(Malformed::HeaderInvalid),
        Self::RequestMalformed(Malformed::HttpsRequired),
        Self::Forbidden(Forbidden::NoRule),
        Self::Forbidden(Forbidden::Method),
        Self::Forbidden(Forbidden::Role),
        Self::Forbidden(Forbidden::Scope),
        Self::Forbidden(Forbidden::Tenant),
        Self::Forbidden(Forbidden::RuleUnknown),
        Self::EgressDenied(Outbound::UnknownService),
        Self::EgressDenied(Outbound::Tier),
        Self::EgressDenied(Outbound::Method),
        Self::EgressDenied(Outbound::Path),
        Self::EgressDenied(Outbound::Identity),
        Self::RateLimited(Window::Minute),
        Self::RateLimited(Window::Hour),
        Self::DenialsLimited,
        Self::CredentialUnavailable(Unavailable::Unresolved),
        Self::CredentialUnavailable(Unavailable::Empty),
        Self::CredentialUnavailable(Unavailable::Malformed),
        Self::CredentialUnavailable(Unavailable::Stale),
        Self::NotConfigured,
    ];

    /// The reason the caller is told: the last part of the problem type `urn:gatepost:denial:…`.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::CredentialMissing => "credential_missing",
            Self::CredentialInvalid(_) => "credential_invalid",
            Self::CredentialAmbiguous => "credential_ambiguous",
            Self::RequestMalformed(_) => "request_malformed",
            Self::Forbidden(_) => "forbidden",
            Self::EgressDenied(_) => "egress_denied",
            Self::RateLimited(_) | Self::DenialsLimited => "rate_limited",
            Self::CredentialUnavailable(_) => "credential_unavailable",
            Self::NotConfigured => "not_configured",
        }
    }

    /// The reason behind the reason, for the decision log and the metrics. Empty where there is
    /// nothing to add.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::CredentialMissing | Self::CredentialAmbiguous | Self::NotConfigured => "",
            Self::CredentialInvalid(invalid) => invalid.detail(),
            Self::RequestMalformed(malformed) => malformed.detail(),
            Self::Forbidden(forbidden) => forbidden.detail(),
            Self::EgressDenied(outbound) => outbound.detail(),
            Self::RateLimited(window) => window.name(),
            Self::DenialsLimited => "denials",
            Self::CredentialUnavailable(unavailable) => unavailable.detail(),
        }
    }

    /// The HTTP status of the denial.
    pub const fn http_status(self) -> u16 {
        match self {
            Self::CredentialAmbiguous | Self::RequestMalformed(_) => 400,
            Self::CredentialMissing | Self::CredentialInvalid(_) => 401,
            Self::Forbidden(_) | Self::EgressDenied(_) => 403,
            Self::RateLimited(_) | Self::DenialsLimited => 429,
            Self::CredentialUnavailable(_) | Self::NotConfigured => 503,
        }
    }

    /// The gRPC status code of the denial (`google.rpc.Code`).
    pub const fn grpc_code(self) -> u8 {
        match self {
            Self::CredentialAmbiguous | Self::RequestMalformed(_) => 3, // INVALID_ARGUMENT
            Self::Forbidden(_) | Self::EgressDenied(_) => 7,            // PERMISSION_DENIED
            Self::RateLimited(_) | Self::DenialsLimited => 8,           // RESOURCE_EXHAUSTED
            Self::CredentialUnavailable(_) | Self::NotConfigured => 14, // UNAVAILABLE
            Self::CredentialMissing | Self::CredentialInvalid(_) => 16, // UNAUTHENTICATED
        }
    }

    /// One sentence for the caller on this side: what happened and what to do about it.
    pub const fn title(self, side: Side) -> &'static str {
        match (self, side) {
            (Self::CredentialMissing, Side::Gateway) => "This request needs an API key.",
            (Self::CredentialMissing, Side::Egress) => "This request needs a sandbox token.",
            (Self::CredentialInvalid(_), Side::Gateway) => {
                "The API key is not valid for this request."
            }
            (Self::CredentialInvalid(_), Side::Egress) => {
                "The sandbox token is not valid for this request."
            }
            (Self::CredentialAmbiguous, _) => {
                "The request carries two different credentials; send one."
            }
            (Self::RequestMalformed(Malformed::HttpsRequired), _) => {
                "This API answers over HTTPS only."
            }
            (
                Self::RequestMalformed(
                    Malformed::Undecodable
                    | Malformed::NoHttp
                    | Malformed::PathAmbiguous
                    | Malformed::HostInvalid
                    | Malformed::HeaderInvalid,
                ),
                _,
            ) => "The request is malformed.",
            (Self::Forbidden(_), _) => "This API key does not allow this request.",
            (Self::EgressDenied(_), _) => "This sandbox may not make this request.",
            (Self::RateLimited(_), _) => "The rate limit is reached; try again later.",
            (Self::DenialsLimited, _) => "Too many requests were refused; try again later.",
            (Self::CredentialUnavailable(_), _) => {
                "The credential of this service is not available; the operator has been told."
            }
            (Self::NotConfigured, Side::Gateway) => "This gateway has no policy yet.",
            (Self::NotConfigured, Side::Egress) => "This egress proxy has no policy yet.",
        }
    }

    /// The place of this denial in [`Denial::ALL`], for tables that have one entry for each.
    pub fn index(self) -> usize {
        // ALL is complete (tested), so the search always ends at a match.
        Self::ALL.iter().position(|&other| other == self).unwrap_or(Self::ALL.len() - 1)
    }
}

impl Invalid {
    const fn detail(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongNetwork => "wrong_network",
        }
    }
}

impl Malformed {
    const fn detail(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::NoHttp => "no_http",
            Self::PathAmbiguous => "path_ambiguous",
            Self::HostInvalid => "host_invalid",
            Self::HeaderInvalid => "header_invalid",
            Self::HttpsRequired => "https_required",
        }
    }
}

impl Forbidden {
    const fn detail(self) -> &'static str {
        match self {
            Self::NoRule => "no_rule",
            Self::Method => "method",
            Self::Role => "role",
            Self::Scope => "scope",
            Self::Tenant => "tenant",
            Self::RuleUnknown => "rule_unknown",
        }
    }
}

impl Outbound {
    const fn detail(self) -> &'static str {
        match self {
            Self::UnknownService => "unknown_service",
            Self::Tier => "tier",
            Self::Method => "method",
            Self::Path => "path",
            Self::Identity => "identity",
        }
    }
}

impl Unavailable {
    /// The name in logs, metrics and `/status`.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Unresolved => "unresolved",
            Self::Empty => "empty",
            Self::Malformed => "malformed",
            Self::Stale => "stale",
        }
    }
}

impl Window {
    /// The window's name in headers, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
        }
    }

    /// The window's length in seconds.
    pub const fn seconds(self) -> u32 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3600,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn all_lists_every_denial_once_under_its_own_label() {
        let labels: HashSet<_> = Denial::ALL.iter().map(|d| (d.reason(), d.detail())).collect();
        assert_eq!(labels.len(), Denial::ALL.len());
        for (place, denial) in Denial::ALL.iter().enumerate() {
            assert_eq!(denial.index(), place);
        }
    }

    #[test]
    fn every_denial_is_an_error_to_http_and_to_grpc() {
        for denial in Denial::ALL {
            assert!((400..=599).contains(&denial.http_status()), "{denial:?}");
            assert!((1..=16).contains(&denial.grpc_code()), "{denial:?}");
            for side in Side::ALL {
                assert!(!denial.title(side).is_empty(), "{denial:?}");
            }
        }
    }
}
