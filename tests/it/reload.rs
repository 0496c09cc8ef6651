//! Edits to the policy of a running gatepost.

mod limits;
mod load;
mod refused;
mod styles;
