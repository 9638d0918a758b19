//! The native fetch messages.
