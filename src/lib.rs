//! gatepost: external authorization for Envoy.
//!
//! Envoy asks about each request, [`authz`] answers from the [`policy`] that holds, and the policy
//! follows the files that operators edit. The modules stand in the order in which they depend on each
//! other, which is the order in which to read them: a module imports only what stands above it.

pub mod clock;
pub mod side;
pub mod open;
pub mod denial;
pub mod telemetry;
pub mod lifecycle;
pub mod audit;
pub mod policy;
pub mod ratelimit;
pub mod authz;
pub mod xds;
pub mod admin;
pub mod cli;
