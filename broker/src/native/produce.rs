//! The native produce messages.
