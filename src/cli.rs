//! One file for each subcommand.

pub mod demo_upstream;
pub mod keys;
