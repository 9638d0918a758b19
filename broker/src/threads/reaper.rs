//! The reaper: unmaps, closes and unlinks, which can take tens of milliseconds.
