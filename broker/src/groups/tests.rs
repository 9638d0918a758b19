//! What the state machine does, step by step; no test waits for anything.

mod bench;
mod expiry;
mod inspect;
mod interleavings;
mod join;
mod load;
mod offsets;
mod presence;
mod static_members;
mod sync;
