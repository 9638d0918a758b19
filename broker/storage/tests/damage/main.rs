//! Claims about directories that are not as they were left.

#![expect(clippy::unwrap_used, reason = "a test may panic, and so may what it calls")]

mod compacted;
mod crashes;
#[path = "../simulator/environment.rs"]
mod environment;
mod indexes;
mod looking;
mod naming;
mod repair;
mod rig;
mod rot;
mod whole;
