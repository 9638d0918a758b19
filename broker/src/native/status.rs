//! The native status messages.
