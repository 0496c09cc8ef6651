//! Path and host patterns.
