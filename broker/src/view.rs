//! What services see of topics: a snapshot, replaced as a whole.
