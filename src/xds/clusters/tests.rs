use data_encoding::HEXLOWER;
use prost::{Message, Name};
use sha2::{Digest, Sha256};

use super::*;
use crate::xds::tests::{https, target};

fn decoded<T: Message + Name + Default>(any: &Any) -> T {
    assert_eq!(any.type_url, T::type_url());
    T::decode(&*any.value).unwrap()
}

fn cluster_of(destination: &Destination) -> Cluster {
    decoded(&cluster(&target("openai", destination)))
}

fn options(cluster: &Cluster) -> HttpProtocolOptions {
    decoded(&cluster.typed_extension_protocol_options[HTTP_OPTIONS])
}

fn tls(cluster: &Cluster) -> Option<UpstreamTlsContext> {
    let transport_socket::ConfigType::TypedConfig(any) =
        cluster.transport_socket.as_ref()?.config_type.as_ref().unwrap();
    Some(decoded(any))
}

/// Host and port to dial, as text.
fn dialled(cluster: &Cluster) -> (String, u32) {
    let endpoints = &cluster.load_assignment.as_ref().unwrap().endpoints[0];
    let Some(HostIdentifier::Endpoint(endpoint)) = &endpoints.lb_endpoints[0].host_identifier
    else {
        panic!("{cluster:?}")
    };
    match &endpoint.address.as_ref().unwrap().address {
        Some(AddressKind::SocketAddress(SocketAddress {
            address,
            port_specifier: Some(PortSpecifier::PortValue(port)),
            ..
        })) => (address.clone(), *port),
        other => panic!("{other:?}"),
    }
}

/// How certificates are verified: the authorities, the type of the name, the name, the server name.
fn verified(cluster: &Cluster) -> Option<(String, SanType, String, String)> {
    let UpstreamTlsContext { sni, common_tls_context, .. } = tls(cluster)?;
    let common = common_tls_context.unwrap();
    assert_eq!(
        common.tls_params.unwrap().tls_minimum_protocol_version(),
        TlsProtocol::TlSv12,
        "{cluster:?}"
    );
    let kind = common.validation_context_type.unwrap();
    let (authorities, context) = if let ValidationContextType::ValidationContext(context) = kind {
        let Some(Specifier::Filename(file)) = &context.trusted_ca.as_ref().unwrap().specifier
        else {
            panic!("{context:?}")
        };
        (file.clone(), context)
    } else if let ValidationContextType::CombinedValidationContext(combined) = kind {
        let secret = combined.validation_context_sds_secret_config.unwrap();
        (secret.name, combined.default_validation_context.unwrap())
    } else {
        panic!("{kind:?}")
    };
    let [name] = context.match_typed_subject_alt_names.as_slice() else { panic!("{context:?}") };
    let Some(MatchPattern::Exact(exact)) = &name.matcher.as_ref().unwrap().match_pattern else {
        panic!("{name:?}")
    };
    Some((authorities, name.san_type(), exact.clone(), sni))
}

#[test]
fn destinations_become_clusters() {
    let name = https("api.openai.com", 443);
    let own_ca = Destination { tls: Some(Tls { ca_file: Some("/ca.pem".into()) }), ..name.clone() };
    let plain = Destination { tls: None, ..https("demo.internal", 80) };
    for (destination, dns, dial, verify) in [
        (
            &name,
            true,
            ("api.openai.com", 443),
            Some(("upstream-ca", SanType::Dns, "api.openai.com", "api.openai.com")),
        ),
        (
            &own_ca,
            true,
            ("api.openai.com", 443),
            Some(("/ca.pem", SanType::Dns, "api.openai.com", "api.openai.com")),
        ),
        (
            &https("192.0.2.1", 8443),
            false,
            ("192.0.2.1", 8443),
            Some(("upstream-ca", SanType::IpAddress, "192.0.2.1", "")),
        ),
        (
            &https("2001:db8::1", 443),
            false,
            ("2001:db8::1", 443),
            Some(("upstream-ca", SanType::IpAddress, "2001:db8::1", "")),
        ),
        (&plain, true, ("demo.internal", 80), None),
        (&Destination { tls: None, ..https("::1", 81) }, false, ("::1", 81), None),
    ] {
        let cluster = cluster_of(destination);
        assert_eq!(cluster.name, *destination.cluster("openai"));
        assert_eq!(cluster.load_assignment.as_ref().unwrap().cluster_name, cluster.name);
        assert_eq!(cluster.alt_stat_name, "openai");
        assert_eq!(dialled(&cluster), (dial.0.to_owned(), dial.1));
        let found = verified(&cluster);
        let found = found.as_ref().map(|(ca, kind, name, sni)| (&**ca, *kind, &**name, &**sni));
        assert_eq!(found, verify, "{destination:?}");
        match cluster.cluster_discovery_type.clone().unwrap() {
            ClusterDiscoveryType::ClusterType(custom) => {
                assert!(dns && custom.name == "envoy.cluster.dns", "{destination:?}");
                let config: DnsCluster = decoded(custom.typed_config.as_ref().unwrap());
                assert!(config.respect_dns_ttl && !config.all_addresses_in_single_endpoint);
                assert_eq!(config.dns_lookup_family(), DnsLookupFamily::V4Preferred);
            }
            ClusterDiscoveryType::Type(kind) => {
                assert!(!dns && kind == i32::from(DiscoveryType::Static), "{destination:?}");
            }
        }
        let auto = matches!(
            options(&cluster).upstream_protocol_options,
            Some(UpstreamProtocolOptions::AutoConfig(_))
        );
        assert_eq!(auto, destination.tls.is_some(), "ALPN is there only with TLS");
    }
}

/// Only what is meant to reach private addresses goes without the router's upstream filters.
#[test]
fn private_addresses_are_for_those_who_ask() {
    let public = https("api.openai.com", 443);
    assert!(options(&cluster_of(&public)).http_filters.is_empty());
    let private = Destination { private_addresses: true, ..public };
    let filters = options(&cluster_of(&private)).http_filters;
    let names: Vec<_> = filters.iter().map(|filter| &*filter.name).collect();
    assert_eq!(names, ["envoy.filters.http.upstream_codec"]);
}

/// Pinned: other bytes under the same name make every Envoy replace the cluster and open its
/// connections anew.
#[test]
fn the_bytes_do_not_change() {
    let bytes = || cluster(&target("openai", &https("api.openai.com", 443))).value;
    assert_eq!(bytes(), bytes());
    assert_eq!(
        HEXLOWER.encode(&Sha256::digest(bytes())),
        "cd0a1d12817c854bb8da26b58f5b4248ac85a5602b899f84a305cfc34a58efc9"
    );
}
