//! What one event loop owns.
