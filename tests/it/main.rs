//! Integration tests: real processes, real sockets, a real Envoy.
#![cfg(test)]

mod world;

mod cli;
mod docs;
mod envoy_config;
mod gateway;
mod tidy;
