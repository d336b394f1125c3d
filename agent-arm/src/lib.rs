//! What runs on the board: no allocator, no operating system.
#![no_std]
