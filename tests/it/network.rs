//! Where a request comes from: the client's address, and whether it came over TLS.

use std::fmt::Write as _;
use std::net::SocketAddr;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::scene::{builder, decision, key, shipped};
use crate::world::answer::Request;
use crate::world::check::{check, check_request};
use crate::world::envoy::{Config, Envoy, root};
use crate::world::http1::Http1;
use crate::world::http2::Http2;
use crate::world::{Protocol, World};

/// A policy with a key for one network each, behind this many trusted proxies.
fn policy(hops: usize) -> Value {
    let of =
        |id: &str, network: &str| json!({ "id": id, "key": key(id), "allowed_cidrs": [network] });
    json!({
        "gateway_config": { "trusted_hops": hops },
        "api_keys": [
            of("office", "198.51.100.0/24"), of("six", "2001:db8::/32"), of("local", "127.0.0.0/8"),
            of("all", "0.0.0.0/0"), { "id": "free", "key": key("free") },
        ],
        "rate_limit_tiers": { "default": {} },
    })
}

/// Status and the client as the log has it, for a key and the `x-forwarded-for` lines of a client.
fn ask(world: &World, id: &str, forwarded: &[&str]) -> (u16, Option<String>) {
    let mut request = Request::get("/api/v1/x").header("x-api-key", key(id));
    for line in forwarded {
        request = request.header("x-forwarded-for", line);
    }
    let answer = world.send(Protocol::Http1, &request);
    let client = decision(world, &answer)["client"].as_str().map(str::to_owned);
    (answer.status, client)
}

#[test]
fn a_key_holds_in_its_networks_alone() {
    let world = builder(&policy(0), Config::Shipped).start();
    // Nobody stands before Envoy: what the client says about itself counts for nothing.
    for forwarded in [&[][..], &["198.51.100.7"], &["2001:db8::1", "198.51.100.7, 198.51.100.7"]] {
        for (id, status) in
            [("local", 200), ("all", 200), ("free", 200), ("office", 401), ("six", 401)]
        {
            let wanted = (status, Some("127.0.0.1".to_owned()));
            assert_eq!(ask(&world, id, forwarded), wanted, "{id} {forwarded:?}");
        }
    }
    for name in ["x-real-ip", "forwarded", "x-envoy-external-address", "true-client-ip"] {
        let request = Request::get("/api/v1/x").header("x-api-key", key("office"));
        let answer = world.send(Protocol::Http2, &request.header(name, "198.51.100.7"));
        assert_eq!(answer.status, 401, "{name}: {answer:?}");
    }
}

/// Envoy appends the peer to `x-forwarded-for` (for a peer on the loopback, the machine's own
/// address), so that N proxies before it put the client N places further left.
#[test]
fn behind_trusted_proxies_the_client_is_counted_from_the_right() {
    let one = builder(&policy(1), Config::Shipped).start();
    let two = builder(&policy(2), Config::Shipped).start();
    let cases: [(&World, &[&str], u16, Option<&str>); 16] = [
        (&one, &["198.51.100.7"], 200, Some("198.51.100.7")),
        (&one, &["203.0.113.9, 198.51.100.7"], 200, Some("198.51.100.7")),
        // What the client wrote stands further left.
        (&one, &["198.51.100.7, 203.0.113.9"], 401, Some("203.0.113.9")),
        (&one, &["198.51.100.7", "203.0.113.9"], 401, Some("203.0.113.9")),
        (&one, &["203.0.113.9", "198.51.100.7"], 200, Some("198.51.100.7")),
        (&one, &["203.0.113.9,198.51.100.7\t"], 200, Some("198.51.100.7")),
        (&one, &["::ffff:198.51.100.7"], 200, Some("198.51.100.7")),
        // No address, or too few of them, is in no network.
        (&one, &[], 401, None),
        (&one, &["unknown"], 401, None),
        (&one, &["198.51.100.7:1234"], 200, Some("198.51.100.7")),
        (&one, &["198.51.100.7:"], 401, None),
        (&one, &["198.51.100.7, "], 401, None),
        (&one, &["198.51.100.007"], 401, None),
        (&two, &["198.51.100.7, 203.0.113.9"], 200, Some("198.51.100.7")),
        (&two, &["198.51.100.7, 198.51.100.8, 203.0.113.9"], 200, Some("198.51.100.8")),
        (&two, &["198.51.100.7"], 401, None),
    ];
    for (world, forwarded, status, client) in cases {
        let wanted = (status, client.map(str::to_owned));
        assert_eq!(ask(world, "office", forwarded), wanted, "{forwarded:?}");
        // A key for every IPv4 network is not a key for no address.
        let everywhere = if client.is_some() { 200 } else { 401 };
        assert_eq!(ask(world, "all", forwarded).0, everywhere, "{forwarded:?}");
        assert_eq!(ask(world, "free", forwarded).0, 200, "{forwarded:?}");
    }
    assert_eq!(ask(&one, "six", &["2001:db8::7"]), (200, Some("2001:db8::7".to_owned())));
    assert_eq!(ask(&one, "six", &["[2001:db8::7]"]).0, 401);
}

#[test]
fn past_envoy_the_peer_is_the_address_of_the_socket() {
    use envoy_types::pb::envoy::config::core::v3::{Pipe, address};
    let mut client = shipped().gatepost.connect();
    let mut code = |id: &str, address: Option<address::Address>| {
        let key = key(id);
        let forwarded: [(&str, &[u8]); 2] =
            [("x-api-key", key.as_bytes()), ("x-forwarded-for", b"203.0.113.1, 203.0.113.1")];
        let mut request = check_request("GET", "/api/v1/x", &forwarded);
        let source = request.attributes.as_mut().unwrap().source.as_mut().unwrap();
        source.address.as_mut().unwrap().address = address;
        check(&mut client, &request).response.unwrap().status.unwrap().code
    };
    let socket = |text: &str| {
        let address = text.to_owned();
        let socket = envoy_types::pb::envoy::config::core::v3::SocketAddress {
            address,
            ..Default::default()
        };
        Some(address::Address::SocketAddress(socket))
    };
    for (text, code_here) in [
        ("203.0.113.1", 0),
        ("203.0.113.255", 0),
        ("::ffff:203.0.113.1", 0),
        ("::1", 0),
        ("203.0.114.1", 16),
        ("::2", 16),
        ("::203.0.113.1", 16),
        ("", 16),
        ("203.0.113.1:80", 16),
        ("203.0.113.1/24", 16),
        ("localhost", 16),
    ] {
        assert_eq!(code("elsewhere", socket(text)), code_here, "{text:?}");
        assert_eq!(code("customer", socket(text)), 0, "{text:?}");
    }
    let pipe = Pipe { path: "203.0.113.1".to_owned(), mode: 0 };
    assert_eq!(code("elsewhere", Some(address::Address::Pipe(pipe))), 16);
    assert_eq!(code("elsewhere", None), 16);
}

/// The TLS listener of the shipped file, uncommented, on a port that the system picks.
fn tls_listener() -> (String, String) {
    let yaml = std::fs::read_to_string(root().join("envoy/gateway.yaml")).unwrap();
    let mut commented = String::new();
    for line in yaml.lines().filter(|line| line.starts_with("  #tls ")) {
        writeln!(commented, "{line}").unwrap();
    }
    let certificates = root().join("tests/it/certificates");
    let block = commented.replace("  #tls ", "  ");
    let block = block.replace("/etc/gatepost/tls", certificates.to_str().unwrap());
    (commented, block.replace("0.0.0.0, port_value: 8443", "127.0.0.1, port_value: 0"))
}

/// A second Envoy, which speaks TLS to the first: bytes in, bytes out.
fn tls_client(dir: &TempDir, gateway: SocketAddr, protocol: &str) -> Envoy {
    let port = gateway.port();
    let yaml = format!(
        r#"
admin: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: 0 }} }} }}
static_resources:
  listeners:
  - name: gateway
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: 0 }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tls
          cluster: tls
  clusters:
  - name: tls
    type: STATIC
    load_assignment:
      cluster_name: tls
      endpoints: [ {{ lb_endpoints: [ {{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }} }} ] }} ]
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        common_tls_context: {{ alpn_protocols: [ {protocol} ] }}
"#
    );
    let dir = dir.path().join(protocol.replace('/', ""));
    std::fs::create_dir(&dir).unwrap();
    Envoy::start(&dir, &yaml)
}

#[test]
fn where_tls_is_required_only_the_tls_listener_passes() {
    let mut policy = policy(0);
    policy["gateway_config"] = json!({ "require_https": true });
    let (commented, block) = tls_listener();
    let world = builder(&policy, Config::Shipped).edit_envoy(&commented, &block).start();
    let listeners = world.envoy.admin("/listeners?format=json").json();
    let all = listeners["listener_statuses"].as_array().unwrap();
    let tls = all.iter().find(|listener| listener["name"] == "gateway-tls").unwrap();
    let port = tls["local_address"]["socket_address"]["port_value"].as_u64().unwrap();
    let tls = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()));
    let dir = TempDir::new().unwrap();

    let request = Request::get("/api/v1/x").header("x-api-key", key("free"));
    let claims = request.clone().header("x-forwarded-proto", "https");
    let claims = claims.header("x-forwarded-ssl", "on").header("front-end-https", "on");
    for protocol in Protocol::BOTH {
        for request in [&request, &claims] {
            let plain = world.send(protocol, request);
            assert_eq!(plain.status, 400, "{protocol:?}: {plain:?}");
            assert_eq!(plain.json()["title"], "This API answers over HTTPS only.");
        }
    }
    let client = tls_client(&dir, tls, "http/1.1");
    let answer = Http1::connect(client.gateway).send(&request);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.upstream_header("x-forwarded-proto"), ["https"]);
    // Nor can a client talk itself out of it.
    let denies = request.header("x-forwarded-proto", "http");
    assert_eq!(Http1::connect(client.gateway).send(&denies).status, 200);
    drop(client);
    let client = tls_client(&dir, tls, "h2");
    let grpc = Request::grpc("/agentd.v1.Agents/List").header("x-api-key", key("free"));
    let answer = Http2::connect(client.gateway).send(&grpc);
    assert_eq!(answer.grpc_status(), Some(0), "{answer:?}");
}

/// `:scheme` is the client's to choose, and so is every header but the one that Envoy writes.
#[test]
fn past_envoy_only_the_header_that_envoy_writes_says_tls() {
    let mut policy = policy(0);
    policy["gateway_config"] = json!({ "require_https": true });
    let config = Config::Minimal { raw_headers: true, normalized_paths: false };
    let world = builder(&policy, config).start();
    let mut client = world.gatepost.connect();
    let free = key("free");
    for (headers, code) in [
        (vec![("x-forwarded-proto", "https")], 0),
        (vec![("x-forwarded-proto", "HTTPS")], 0),
        (vec![("x-forwarded-proto", "http")], 3),
        (vec![("x-forwarded-proto", "")], 3),
        (vec![("x-forwarded-proto", "https,http")], 3),
        (vec![("x-forwarded-proto", "http, https")], 3),
        (vec![("x-forwarded-proto", "https"), ("x-forwarded-proto", "http")], 3),
        (vec![("x-forwarded-proto", "https"), ("x-forwarded-proto", "https")], 3),
        (vec![("x_forwarded_proto", "https")], 3),
        (vec![("x-forwarded-scheme", "https"), ("forwarded", "proto=https")], 3),
        (vec![], 3),
    ] {
        let mut all: Vec<(&str, &[u8])> =
            vec![("x-api-key", free.as_bytes()), (":scheme", b"https")];
        all.extend(headers.iter().map(|(name, value)| (*name, value.as_bytes())));
        let mut request = check_request("GET", "/api/v1/x", &all);
        let http = request.attributes.as_mut().unwrap().request.as_mut().unwrap();
        http.http.as_mut().unwrap().scheme = "https".to_owned();
        let status = check(&mut client, &request).response.unwrap().status.unwrap();
        assert_eq!(status.code, code, "{headers:?}");
    }
}
