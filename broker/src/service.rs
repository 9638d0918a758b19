//! What the broker can do, in house words: one file per verb, no protocol.

pub(crate) mod configs;
pub(crate) mod fetch;
pub(crate) mod group_admin;
pub(crate) mod groups;
pub(crate) mod offsets;
pub(crate) mod produce;
pub(crate) mod producers;
pub(crate) mod subscribe;
pub(crate) mod topics;
