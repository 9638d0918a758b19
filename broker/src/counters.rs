//! What the broker counts about itself.
