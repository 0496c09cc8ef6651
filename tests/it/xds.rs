//! The egress proxy's clusters, as Envoys get them over ADS: against a client that says what it
//! likes, and against a real Envoy.

mod edits;
mod names;
mod raw;
mod refused;
mod server;
mod side;
mod thousand;

use std::path::Path;

use tempfile::TempDir;

use self::names::Names;
use self::server::Server;
use crate::world::envoy::Envoy;
use crate::world::process::Guard;

/// An Envoy that gets its clusters from a server in this process, and its names from another.
/// A request with `x-gatepost-route: CLUSTER` goes to that cluster.
struct Scene {
    envoy: Envoy,
    server: Server,
    dir: TempDir,
    _names: Names,
    _guard: Guard,
}

impl Scene {
    /// With these services from the start.
    fn start(services: &[side::Service]) -> Self {
        let dir = TempDir::new().unwrap();
        let socket = dir.path().join("egress.sock");
        let server = Server::start(&format!("unix:{}", socket.display()), side::live(services));
        let names = Names::start();
        let ca = dir.path().join("upstream-ca.pem");
        std::fs::write(&ca, side::authority()).unwrap();
        let yaml = bootstrap(&socket, &ca, names.port);
        let envoy = Envoy::start(dir.path(), &yaml);
        let guard = Guard::new("rm -rf \"$1\"", dir.path().to_str().unwrap());
        Self { envoy, server, dir, _names: names, _guard: guard }
    }

    /// The clusters of ours that Envoy uses, in order.
    fn clusters(&self) -> Vec<String> {
        let text = self.envoy.admin("/clusters").text().to_owned();
        let ours = text.lines().filter_map(|line| {
            let (name, rest) = line.split_once("::")?;
            (name.starts_with("svc/") && rest.starts_with("added_via_api::true"))
                .then(|| name.to_owned())
        });
        let mut ours: Vec<_> = ours.collect();
        ours.sort();
        ours
    }
}

/// As little as it takes.
fn bootstrap(socket: &Path, ca: &Path, dns: u16) -> String {
    let (socket, ca) = (socket.display(), ca.display());
    format!(
        r#"
node: {{ id: egress-1, cluster: gatepost-egress }}
admin: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: 0 }} }} }}
dynamic_resources:
  ads_config:
    api_type: GRPC
    transport_api_version: V3
    set_node_on_first_message_only: true
    grpc_services:
    - envoy_grpc:
        cluster_name: gatepost
        retry_policy: {{ retry_back_off: {{ base_interval: 0.1s, max_interval: 0.5s }} }}
  cds_config: {{ ads: {{}}, resource_api_version: V3, initial_fetch_timeout: 1s }}
typed_dns_resolver_config:
  name: envoy.network.dns_resolver.cares
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig
    resolvers: [ {{ socket_address: {{ address: 127.0.0.1, port_value: {dns}, protocol: UDP }} }} ]
    dns_resolver_options: {{ no_default_search_domain: true }}
    query_timeout_seconds: 1
    query_tries: 2
static_resources:
  secrets:
  - name: upstream-ca
    validation_context: {{ trusted_ca: {{ filename: "{ca}" }} }}
  listeners:
  - name: gateway
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: 0 }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: egress
          route_config:
            virtual_hosts:
            - name: egress
              domains: ["*"]
              routes:
              - match: {{ prefix: "/" }}
                route: {{ cluster_header: x-gatepost-route, cluster_not_found_response_code: SERVICE_UNAVAILABLE }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
  clusters:
  - name: gatepost
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http2_protocol_options: {{}} }}
    load_assignment:
      cluster_name: gatepost
      endpoints: [ {{ lb_endpoints: [ {{ endpoint: {{ address: {{ pipe: {{ path: "{socket}" }} }} }} }} ] }} ]
"#
    )
}
