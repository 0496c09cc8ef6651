//! Integration tests: real processes, real sockets, a real Envoy.
#![cfg(test)]

mod world;

mod envoy_config;
mod gateway;
mod tidy;

mod admin;
mod decisions;
mod drain;
mod faults;
mod reload;
mod solo;
mod startup;
