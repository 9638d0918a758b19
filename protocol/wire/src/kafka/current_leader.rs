//! The leader to go to instead, in answers to Produce and Fetch, so that a client need not ask for metadata
//! first (KIP-951).

use std::borrow::Cow;

use folio_wire_derive::Message;

/// A leader and its epoch.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct LeaderIdAndEpoch {
    /// The broker that leads, or -1.
    #[kafka(default = -1)]
    pub leader_id: i32,
    /// The epoch of the leader, or -1 if unknown.
    #[kafka(default = -1)]
    pub leader_epoch: i32,
}

/// Where a broker is.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct NodeEndpoint<'a> {
    /// The id of the broker.
    pub node_id: i32,
    /// The host to connect to.
    pub host: Cow<'a, str>,
    /// The port to connect to.
    pub port: i32,
    /// The rack of the broker, if it has one.
    #[kafka(nullable, default = None)]
    pub rack: Option<Cow<'a, str>>,
}
