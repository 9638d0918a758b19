//! The one table of error codes: number, name, whether asking again may help.

use serde::{Deserialize, Serialize};

use crate::error_table::error_table;

/// The outcome of a request or of one part of it. 0 is success.
///
/// A number, not an enum: a newer broker may answer with a code that this build has no name for.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ErrorCode(u16);

error_table! {
    ErrorCode(u16):
    0  NONE                    final "none";
    1  UNSUPPORTED             final "unsupported kind or version";
    2  INVALID_REQUEST         final "invalid request";
    3  INTERNAL                final "internal error";
    4  SHUTTING_DOWN           again "shutting down";
    5  TOO_BUSY                again "too busy";
    6  TIMED_OUT               again "timed out";
    7  NOT_READY               again "not ready";
    10 UNKNOWN_TOPIC           final "unknown topic";
    11 UNKNOWN_PARTITION       final "unknown partition";
    12 TOPIC_EXISTS            final "topic exists";
    13 INVALID_TOPIC_NAME      final "invalid topic name";
    14 INVALID_PARTITIONS      final "invalid number of partitions";
    15 INVALID_CONFIG          final "invalid configuration";
    16 LIMIT_REACHED           final "limit reached";
    17 INVALID_REPLICAS        final "invalid replicas";
    18 NOT_ALLOWED             final "not allowed by the topic's policy";
    20 OFFSET_OUT_OF_RANGE     final "offset out of range";
    21 MESSAGE_TOO_LARGE       final "message too large";
    22 CORRUPT_BATCH           final "corrupt batch";
    23 INVALID_RECORD          final "invalid record";
    24 INVALID_TIMESTAMP       final "invalid timestamp";
    25 UNSUPPORTED_COMPRESSION final "unsupported compression";
    26 FENCED_LEADER_EPOCH     again "fenced leader epoch";
    27 UNKNOWN_LEADER_EPOCH    again "unknown leader epoch";
    28 OUT_OF_ORDER_SEQUENCE   final "out of order sequence";
    29 DUPLICATE_SEQUENCE      final "duplicate sequence";
    30 STORAGE_FULL            again "storage full";
    31 STORAGE_FAILED          final "storage failed";
    32 PARTITION_OFFLINE       final "partition offline";
    33 INVALID_PRODUCER_EPOCH  final "invalid producer epoch";
    34 TRANSACTIONS_UNSUPPORTED final "transactions are not supported";
    40 GROUP_LOADING           again "the group is being loaded";
    41 INVALID_GROUP           final "invalid group";
    42 UNKNOWN_GROUP           final "unknown group";
    43 GROUP_NOT_EMPTY         final "the group has members";
    44 GROUP_SUBSCRIBED        final "the group is subscribed to the topic";
    45 GROUP_FULL              final "the group is full";
    46 UNKNOWN_MEMBER          final "unknown member";
    47 MEMBER_ID_REQUIRED      final "a member id is required";
    48 ILLEGAL_GENERATION      final "illegal generation";
    49 REBALANCING             final "the group is rebalancing";
    50 FENCED_INSTANCE         final "fenced instance";
    51 INCONSISTENT_PROTOCOL   final "inconsistent group protocol";
    52 INVALID_SESSION_TIMEOUT final "invalid session timeout";
    53 OFFSET_METADATA_TOO_LARGE final "offset metadata too large";
    54 UNSTABLE_OFFSETS        again "offsets are not settled yet";
}
