//! See `targets::head`.
#![no_main]
#![allow(dead_code, reason = "one of several targets")]

#[path = "../../../agent-core/fuzz/replay.rs"]
mod replay;
#[path = "../targets.rs"]
mod targets;
#[path = "../world.rs"]
mod world;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::head(data));
