//! The native metadata messages.
