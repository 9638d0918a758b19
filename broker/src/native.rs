//! The native protocol's adapters: message -> service call -> message, one file per kind.

pub(crate) mod codec;
pub(crate) mod fetch;
pub(crate) mod metadata;
pub(crate) mod offsets;
pub(crate) mod produce;
pub(crate) mod status;
pub(crate) mod topics;
