//! Offsets: the first, the last, and the first at or after a time.
