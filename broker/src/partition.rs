//! One partition: its log, its role, and who waits for it.
