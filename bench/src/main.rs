//! Reeve's footprint, scale and speed, beside its peers.

fn main() {}
