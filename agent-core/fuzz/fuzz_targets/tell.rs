//! See `targets::tell`.
#![no_main]
#![allow(dead_code, reason = "one of several targets")]

#[path = "../replay.rs"]
mod replay;
#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::tell(data));
