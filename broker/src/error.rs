//! Service errors, and the one table that maps each to its protocol code.
