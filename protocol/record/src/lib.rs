//! A record batch: the same bytes in memory, on the wire and on disk.
