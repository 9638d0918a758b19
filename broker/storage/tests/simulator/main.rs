//! The storage engine on a simulated machine whose seed decides everything: what a broker does, when and how it dies,
//! what a power cut takes, which calls fail.
//!
//! ```text
//! seed -> workload + faults -> engine over the seam -> simulated disk
//!             |                                             |
//!           model  <-------- checks after recovery ---------+
//! ```
//!
//! ```sh
//! cargo test -p folio-storage --test simulator                           # the short run
//! FOLIO_SIM_RUNS=20000 cargo test --release -p folio-storage --test simulator whatever -- --nocapture
//! FOLIO_SIM_SEED=7 cargo test -p folio-storage --test simulator one_seed -- --nocapture      # one seed, call by call
//! ```

#![expect(clippy::unwrap_used, reason = "a test may panic, and so may what it calls")]

mod check;
mod controls;
mod environment;
mod holes;
mod ledger;
mod lying;
mod model;
mod order;
mod replacing;
mod resuming;
mod retention;
mod rig;
mod rolls;
mod runs;
mod seam;
mod sectors;
mod stats;
mod steps;
mod topics;
mod torn_slots;
mod trouble;
mod weakness;
mod world;
