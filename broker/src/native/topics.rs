//! The native topics messages.
