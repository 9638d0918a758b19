//! Channels, pipelines, handlers and event loops over mio.
