//! # The life of a request
//!
//! The modules stand in the order in which a request meets them, which is also the order in which
//! they depend on each other: a module imports only what stands above it.

pub mod clock;
pub mod denial;
pub mod telemetry;
pub mod lifecycle;
pub mod audit;
pub mod policy;
pub mod ratelimit;
pub mod authz;
pub mod admin;
pub mod cli;
