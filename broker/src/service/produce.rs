//! Produce: what is refused, and what becomes of the rest.
