//! One destination as Envoy takes it: `envoy.config.cluster.v3.Cluster`.
//!
//! Everything in here is a function of the service's name and destination, and so are the bytes: the
//! same cluster is the same message on every host and after every restart, which is how Envoy tells
//! that nothing has changed.

use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, CustomClusterType, DiscoveryType,
};
use envoy_types::pb::envoy::config::cluster::v3::{CircuitBreakers, Cluster};
use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{
    Address, DataSource, Http1ProtocolOptions, SocketAddress, TransportSocket, transport_socket,
};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};
use envoy_types::pb::envoy::extensions::clusters::common::dns::v3::DnsLookupFamily;
use envoy_types::pb::envoy::extensions::clusters::dns::v3::{DnsCluster, dns_cluster};
use envoy_types::pb::envoy::extensions::filters::http::upstream_codec::v3::UpstreamCodec;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpFilter, http_filter,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, SdsSecretConfig, SubjectAltNameMatcher,
    TlsParameters, UpstreamTlsContext,
};
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    AutoHttpConfig, ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config,
};
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::google::protobuf::{self, Any, UInt32Value};
use envoy_types::util::pack_any;

use crate::policy::destination::{Destination, Host, Tls};
use crate::policy::egress::Target;

/// What clusters are in the discovery protocol.
pub const TYPE_URL: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";

/// The static secret of Envoy's bootstrap with the authorities that upstreams are verified by. The
/// path of that file is the operator's.
pub const UPSTREAM_CA: &str = "upstream-ca";

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a name is asked for whose answer does not say how long it is good.
const REFRESH: Duration = Duration::from_mins(1);
/// The same after an answer that did not come; up to [`FAILURE_MAX`].
const FAILURE: Duration = Duration::from_secs(2);
const FAILURE_MAX: Duration = Duration::from_secs(10);
/// Connections, waiting requests, and requests: of each at most so many to one service.
const BREAKER: u32 = 1024;

/// The key of [`HttpProtocolOptions`] in a cluster.
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// The cluster of a target.
pub fn cluster(target: &Target) -> Any {
    let destination = &target.destination;
    pack_any(Cluster {
        name: target.cluster.to_string(),
        // The series of one service go on while its destination changes.
        alt_stat_name: target.service.to_string(),
        connect_timeout: Some(duration(CONNECT_TIMEOUT)),
        cluster_discovery_type: Some(discovery(&destination.host)),
        load_assignment: Some(endpoint(&target.cluster, destination)),
        circuit_breakers: Some(breakers()),
        // A map of one entry: with more of them, the bytes would depend on the order of a hash map.
        typed_extension_protocol_options: [(HTTP_OPTIONS.to_owned(), http_options(destination))]
            .into(),
        transport_socket: destination.tls.as_ref().map(|tls| socket(tls, &destination.host)),
        ..Cluster::default()
    })
}

/// A name is resolved, and every address is an endpoint of its own: what is judged to be a public
/// address is then what is dialled. Envoy's other way (`LOGICAL_DNS`) judges the first address and
/// dials the others too.
fn discovery(host: &Host) -> ClusterDiscoveryType {
    if let Host::Address(_) = host {
        return ClusterDiscoveryType::Type(DiscoveryType::Static.into());
    }
    let dns = DnsCluster {
        dns_lookup_family: DnsLookupFamily::V4Preferred.into(),
        respect_dns_ttl: true,
        dns_refresh_rate: Some(duration(REFRESH)),
        dns_failure_refresh_rate: Some(dns_cluster::RefreshRate {
            base_interval: Some(duration(FAILURE)),
            max_interval: Some(duration(FAILURE_MAX)),
        }),
        all_addresses_in_single_endpoint: false,
        ..DnsCluster::default()
    };
    ClusterDiscoveryType::ClusterType(CustomClusterType {
        name: "envoy.cluster.dns".to_owned(),
        typed_config: Some(pack_any(dns)),
    })
}

fn endpoint(cluster: &str, destination: &Destination) -> ClusterLoadAssignment {
    let host = bare(&destination.host);
    let address = SocketAddress {
        address: host.clone(),
        port_specifier: Some(PortSpecifier::PortValue(destination.port.into())),
        ..SocketAddress::default()
    };
    let endpoint = Endpoint {
        hostname: host,
        address: Some(Address { address: Some(AddressKind::SocketAddress(address)) }),
        ..Endpoint::default()
    };
    ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: vec![LocalityLbEndpoints {
            lb_endpoints: vec![LbEndpoint {
                host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
                ..LbEndpoint::default()
            }],
            ..LocalityLbEndpoints::default()
        }],
        ..ClusterLoadAssignment::default()
    }
}

fn breakers() -> CircuitBreakers {
    let most = Some(UInt32Value { value: BREAKER });
    let thresholds = Thresholds {
        max_connections: most,
        max_pending_requests: most,
        max_requests: most,
        ..Thresholds::default()
    };
    CircuitBreakers { thresholds: vec![thresholds], ..CircuitBreakers::default() }
}

fn http_options(destination: &Destination) -> Any {
    let protocol = if destination.tls.is_some() {
        // ALPN decides: HTTP/2, else HTTP/1.1.
        UpstreamProtocolOptions::AutoConfig(AutoHttpConfig::default())
    } else {
        let http1 = Http1ProtocolOptions::default();
        UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(explicit_http_config::ProtocolConfig::HttpProtocolOptions(http1)),
        })
    };
    // A cluster that brings its own upstream filters goes without those of the router, and without
    // the one among them that refuses private addresses.
    let codec = || HttpFilter {
        name: "envoy.filters.http.upstream_codec".to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(pack_any(UpstreamCodec {}))),
        ..HttpFilter::default()
    };
    pack_any(HttpProtocolOptions {
        upstream_protocol_options: Some(protocol),
        http_filters: if destination.private_addresses { vec![codec()] } else { Vec::new() },
        ..HttpProtocolOptions::default()
    })
}

fn socket(tls: &Tls, host: &Host) -> TransportSocket {
    let context = UpstreamTlsContext {
        sni: match host {
            Host::Name(name) => name.to_string(),
            // RFC 6066 section 3: an address is no server name.
            Host::Address(_) => String::new(),
        },
        common_tls_context: Some(CommonTlsContext {
            tls_params: Some(TlsParameters {
                tls_minimum_protocol_version: TlsProtocol::TlSv12.into(),
                ..TlsParameters::default()
            }),
            validation_context_type: Some(validation(tls, host)),
            ..CommonTlsContext::default()
        }),
        ..UpstreamTlsContext::default()
    };
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(pack_any(context))),
    }
}

/// The certificate must be signed by one of the authorities and be made out to this host. Without
/// authorities Envoy would verify nothing; so there is no way through here that names none.
fn validation(tls: &Tls, host: &Host) -> ValidationContextType {
    let (san_type, name) = match host {
        Host::Name(name) => (SanType::Dns, name.to_string()),
        Host::Address(_) => (SanType::IpAddress, bare(host)),
    };
    let matcher = StringMatcher {
        match_pattern: Some(MatchPattern::Exact(name)),
        ..StringMatcher::default()
    };
    let names = CertificateValidationContext {
        match_typed_subject_alt_names: vec![SubjectAltNameMatcher {
            san_type: san_type.into(),
            matcher: Some(matcher),
            ..SubjectAltNameMatcher::default()
        }],
        ..CertificateValidationContext::default()
    };
    match &tls.ca_file {
        Some(path) => {
            let file = Specifier::Filename(path.to_string());
            ValidationContextType::ValidationContext(CertificateValidationContext {
                trusted_ca: Some(DataSource { specifier: Some(file), ..DataSource::default() }),
                ..names
            })
        }
        None => {
            ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
                default_validation_context: Some(names),
                validation_context_sds_secret_config: Some(SdsSecretConfig {
                    name: UPSTREAM_CA.to_owned(),
                    sds_config: None,
                }),
                ..CombinedCertificateValidationContext::default()
            })
        }
    }
}

/// As it stands outside of URLs: an IPv6 address without brackets.
fn bare(host: &Host) -> String {
    match host {
        Host::Name(name) => name.to_string(),
        Host::Address(address) => address.to_string(),
    }
}

/// Whole seconds.
fn duration(length: Duration) -> protobuf::Duration {
    let seconds = i64::try_from(length.as_secs()).unwrap_or(i64::MAX);
    protobuf::Duration { seconds, nanos: 0 }
}

#[cfg(test)]
mod tests;
