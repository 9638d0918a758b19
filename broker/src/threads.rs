//! The threads that may wait on a disk.

pub(crate) mod flusher;
pub(crate) mod lane;
pub(crate) mod maintenance;
pub(crate) mod read_pool;
pub(crate) mod reaper;
