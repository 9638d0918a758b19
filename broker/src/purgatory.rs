//! Requests that wait for something, with their deadlines.
