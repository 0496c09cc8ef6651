//! gatepost: external authorization for Envoy.
fn main() {}
