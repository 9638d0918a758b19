//! The flusher: group commit, write-back, and the only writer of durable points.
