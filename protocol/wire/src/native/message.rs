//! Which messages there are, and what ties a struct to its kind and version.

use serde::{Deserialize, Serialize};

use super::ErrorCode;
use super::header::HEADER_MAX;

/// A request of one (kind, version), or its answer.
pub trait Message {
    /// The kind.
    const KIND: Kind;
    /// The version of that kind.
    const VERSION: u8;
}

/// A request, and what answers it.
pub trait Request: Message {
    /// The answer of the same kind and version.
    type Answer: Answer;
}

/// An answer.
pub trait Answer: Message + Serialize {
    /// An answer that says only why there is no other.
    #[must_use]
    fn refused(error: ErrorCode, message: String) -> Self;
}

/// The kinds of this build. Numbers left free are for what belongs together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Kind {
    /// Answers a (kind, version) that the broker lacks.
    Unsupported = 0,
    /// Topics with their partitions, for who produces and fetches.
    Metadata = 1,
    /// Makes a topic.
    TopicCreate = 2,
    /// Names all topics.
    TopicList = 3,
    /// Everything about one topic.
    TopicDescribe = 4,
    /// Deletes a topic with its records.
    TopicDelete = 5,
    /// Gives a topic more partitions.
    PartitionsCreate = 6,
    /// Deletes the oldest records of partitions.
    RecordsDelete = 7,
    /// Tells settings.
    ConfigDescribe = 8,
    /// Changes settings.
    ConfigAlter = 9,
    /// Appends record batches.
    Produce = 16,
    /// Reads record batches.
    Fetch = 17,
    /// Finds offsets: the ends, or by time.
    ListOffsets = 18,
    /// Gives an idempotent producer its id.
    InitProducer = 19,
    /// Names the idempotent producers of a partition.
    DescribeProducers = 20,
    /// Makes a member of a group, or keeps it one.
    JoinGroup = 21,
    /// Gives a member its work.
    SyncGroup = 22,
    /// Says that a member is still there.
    Heartbeat = 23,
    /// Takes members out of their group.
    LeaveGroup = 24,
    /// Stores where a group is.
    CommitOffsets = 25,
    /// Tells where a group is.
    FetchOffsets = 26,
    /// Names all consumer groups.
    GroupList = 30,
    /// Everything about one group.
    GroupDescribe = 31,
    /// How the broker is.
    Status = 32,
    /// Sends a group to other offsets.
    GroupReset = 33,
    /// Takes back what an administrator did to a group.
    GroupUndo = 34,
    /// Removes a group.
    GroupDelete = 35,
    /// Begins a subscription.
    Subscribe = 40,
    /// Pushed: record batches of a subscription.
    Batches = 41,
    /// Gives a subscription more credit.
    Credit = 42,
    /// Ends a subscription.
    Unsubscribe = 43,
    /// Pushed: a subscription has ended.
    SubscriptionEnd = 44,
}

impl Kind {
    /// Every kind, by its number, with the lowest and the highest version that this build knows.
    pub const ALL: &[(Self, u8, u8)] = &[
        (Self::Unsupported, 1, 1),
        (Self::Metadata, 1, 1),
        (Self::TopicCreate, 1, 1),
        (Self::TopicList, 1, 1),
        (Self::TopicDescribe, 1, 1),
        (Self::TopicDelete, 1, 1),
        (Self::PartitionsCreate, 1, 1),
        (Self::RecordsDelete, 1, 1),
        (Self::ConfigDescribe, 1, 1),
        (Self::ConfigAlter, 1, 1),
        (Self::Produce, 1, 1),
        (Self::Fetch, 1, 1),
        (Self::ListOffsets, 1, 1),
        (Self::InitProducer, 1, 1),
        (Self::DescribeProducers, 1, 1),
        (Self::JoinGroup, 1, 1),
        (Self::SyncGroup, 1, 1),
        (Self::Heartbeat, 1, 1),
        (Self::LeaveGroup, 1, 1),
        (Self::CommitOffsets, 1, 1),
        (Self::FetchOffsets, 1, 1),
        (Self::GroupList, 1, 1),
        (Self::GroupDescribe, 1, 1),
        (Self::Status, 1, 1),
        (Self::GroupReset, 1, 1),
        (Self::GroupUndo, 1, 1),
        (Self::GroupDelete, 1, 1),
        (Self::Subscribe, 1, 1),
        (Self::Batches, 1, 1),
        (Self::Credit, 1, 1),
        (Self::Unsubscribe, 1, 1),
        (Self::SubscriptionEnd, 1, 1),
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The kind of this number, if this build has it.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::row(number).map(|&(kind, ..)| kind)
    }

    fn row(number: u16) -> Option<&'static (Self, u8, u8)> {
        Self::ALL.binary_search_by_key(&number, |(kind, ..)| kind.number()).ok().map(|at| &Self::ALL[at])
    }

    /// Whether it is something that is asked for; the others only ever come.
    #[must_use]
    pub const fn is_request(self) -> bool {
        !matches!(self, Self::Unsupported | Self::Batches | Self::SubscriptionEnd)
    }

    /// The largest header, in bytes, of a request of this kind: what names one topic needs little.
    #[must_use]
    pub const fn request_header_max(self) -> u32 {
        match self {
            Self::TopicCreate
            | Self::ConfigDescribe
            | Self::ConfigAlter
            | Self::LeaveGroup
            // Groups may have names of 32 KiB.
            | Self::GroupDescribe
            | Self::GroupUndo
            | Self::GroupDelete => 64 << 10,
            Self::TopicList
            | Self::TopicDescribe
            | Self::TopicDelete
            | Self::PartitionsCreate
            | Self::InitProducer
            | Self::DescribeProducers
            | Self::Heartbeat
            | Self::GroupList
            | Self::Status
            | Self::Subscribe
            | Self::Batches
            | Self::Credit
            | Self::Unsubscribe
            | Self::SubscriptionEnd => 4 << 10,
            Self::RecordsDelete
            | Self::Unsupported
            | Self::Metadata
            | Self::Produce
            | Self::Fetch
            | Self::ListOffsets
            | Self::JoinGroup
            | Self::SyncGroup
            | Self::CommitOffsets
            | Self::FetchOffsets
            | Self::GroupReset => HEADER_MAX,
        }
    }

    /// The kind, when a request of (number, version) can be read by this build; else what to answer.
    ///
    /// # Errors
    /// The answer: the versions that there are, 0 and 0 when the kind is unknown.
    pub fn supported(number: u16, version: u8) -> Result<Self, UnsupportedV1> {
        match Self::row(number).filter(|(kind, ..)| kind.is_request()) {
            Some(&(kind, lowest, highest)) if (lowest..=highest).contains(&version) => Ok(kind),
            Some(&(_, lowest, highest)) => Err(UnsupportedV1::new(number, lowest, highest)),
            None => Err(UnsupportedV1::new(number, 0, 0)),
        }
    }
}

const _: () = {
    let mut at = 1;
    while at < Kind::ALL.len() {
        assert!(
            Kind::ALL[at - 1].0.number() < Kind::ALL[at].0.number(),
            "kinds are looked up by their number"
        );
        at += 1;
    }
};

/// Ties a request and its answer to their kind and version, and to one another.
macro_rules! messages {
    ($($request:ty => $answer:ty: $kind:ident $version:literal;)*) => {
        $(
            impl $crate::native::Message for $request {
                const KIND: $crate::native::Kind = $crate::native::Kind::$kind;
                const VERSION: u8 = $version;
            }

            impl $crate::native::Message for $answer {
                const KIND: $crate::native::Kind = $crate::native::Kind::$kind;
                const VERSION: u8 = $version;
            }

            impl $crate::native::Request for $request {
                type Answer = $answer;
            }

            impl $crate::native::Answer for $answer {
                #[allow(clippy::needless_update, reason = "one of the answers has no other fields")]
                fn refused(error: $crate::native::ErrorCode, message: String) -> Self {
                    Self { error, message: Some(message), ..Self::default() }
                }
            }
        )*
    };
}
pub(super) use messages;

/// Kind 0: the broker lacks what was asked for. The connection stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnsupportedV1 {
    /// [`ErrorCode::UNSUPPORTED`].
    pub error: ErrorCode,
    /// The kind that was asked for.
    pub kind: u16,
    /// The lowest version of it that the broker knows; 0 with `highest` 0: none.
    pub lowest: u8,
    /// The highest.
    pub highest: u8,
}

impl UnsupportedV1 {
    const fn new(kind: u16, lowest: u8, highest: u8) -> Self {
        Self { error: ErrorCode::UNSUPPORTED, kind, lowest, highest }
    }
}

impl Message for UnsupportedV1 {
    const KIND: Kind = Kind::Unsupported;
    const VERSION: u8 = 1;
}
