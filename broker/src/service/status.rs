//! Status: how the broker is doing.
