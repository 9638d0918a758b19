//! Consumer groups: Kafka's classic group protocol and the offsets that groups commit, as a state machine.
//!
//! Nothing here has a thread, a socket, a file or a clock. A [`Coordinator`] holds all groups of one partition of
//! `__consumer_offsets`; [`Coordinator::step`] is told what has happened ([`event::Event`]) and says what is to be done
//! ([`event::Effect`]): answers, and records to be written. It behaves as Kafka's `GroupMetadataManager`,
//! `ClassicGroup` and `OffsetMetadataManager` do.
//!
//! * Every caller is answered once. What has to be stored first, a commit, the work of a generation, that a group is
//!   empty or gone, is answered when it is below the high watermark; what others see changes then.
//! * What members say to each other, and the work that they are given, is bytes; only the topics that consumers want
//!   are looked for in them, since offsets of those may not be deleted and do not expire.
//! * Nothing grows by a number that a peer has sent, and everything a peer can make more of has a bound in
//!   [`settings::GroupSettings`].
//! * Heartbeats write nothing, and allocate nothing here.

pub(crate) mod answer;
mod commit;
pub(crate) mod coordinator;
pub(crate) mod event;
mod expiry;
mod group;
pub(crate) mod history;
mod inspect;
mod join;
mod load;
mod member;
mod offsets;
mod pending;
mod presence;
mod rebalance;
pub(crate) mod record;
mod roster;
pub(crate) mod settings;
mod sync;
mod timers;
mod writes;

pub(crate) use coordinator::Coordinator;

#[cfg(test)]
mod tests;
