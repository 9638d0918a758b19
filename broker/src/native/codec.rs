//! Frames to requests and answers to frames.
