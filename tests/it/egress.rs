//! The egress: real Envoy with the shipped file, real gatepost, services of the outside world behind
//! TLS. A test named `row_NN` shows that attack NN of the list that the egress was designed against
//! does not work.

mod scene;

mod alone;
mod attacks_destination;
mod attacks_headers;
mod attacks_identity;
mod attacks_leaks;
mod attacks_limits;
mod attacks_network;
mod attacks_path;
mod attacks_policy;
mod attacks_secrets;
mod edits;
mod git;
mod mtls;
mod sdk;
mod streams;
