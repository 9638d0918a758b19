//! Read-only mappings of files whose bytes reach a socket without being copied; the one unsafe island.
