//! Work is linear.
