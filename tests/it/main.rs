//! Integration tests: real processes, real sockets, a real Envoy.
#![cfg(test)]

mod envoy_config;
mod gateway;
mod world;
