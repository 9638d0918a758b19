//! Claims about record batches.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod clients;
mod golden;
mod handmade;
mod oracle;
mod owned;
mod properties;
mod refusals;
mod rewriting;
