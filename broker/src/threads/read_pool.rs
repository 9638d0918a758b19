//! The read pool: brings pages into memory before an event loop sends them.
