//! Whether the data directory can be trusted, and who ends the broker when not.
