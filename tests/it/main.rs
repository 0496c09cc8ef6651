//! Integration tests: real processes, real sockets, a real Envoy.
#![cfg(test)]

mod world;

mod cli;
mod docs;
mod envoy_config;
mod gateway;
mod tidy;

mod admin;
mod decisions;
mod drain;
mod egress;
mod faults;
mod reload;
mod solo;
mod xds;
mod startup;
mod denials;
mod limits_told;
mod credentials;
mod identity_headers;
mod paths;
mod requests;
mod rules;
mod network;
mod tls;
mod raw_check;
mod mutations;
mod scene;
