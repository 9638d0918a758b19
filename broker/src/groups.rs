//! Consumer groups: Kafka's classic group protocol and committed offsets, as a state machine.

pub(crate) mod answer;
pub(crate) mod coordinator;
pub(crate) mod event;
pub(crate) mod history;
pub(crate) mod record;
pub(crate) mod settings;

pub(crate) use coordinator::Coordinator;
