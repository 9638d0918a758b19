//! The native offsets messages.
