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
    35 UNKNOWN_SUBSCRIPTION    final "unknown subscription";
    36 SUBSCRIPTION_EXISTS     final "subscription exists";
    40 INVALID_GROUP           final "invalid group id";
    41 UNKNOWN_GROUP           final "unknown group";
    42 GROUP_NOT_EMPTY         final "group has members";
    43 GROUP_FULL              final "group is full";
    44 UNKNOWN_MEMBER          final "unknown member";
    45 MEMBER_ID_REQUIRED      again "member id required";
    46 FENCED_INSTANCE         final "fenced instance id";
    47 ILLEGAL_GENERATION      final "illegal generation";
    48 REBALANCE_IN_PROGRESS   again "rebalance in progress";
    49 INCONSISTENT_PROTOCOL   final "inconsistent group protocol";
    50 INVALID_SESSION_TIMEOUT final "invalid session timeout";
    51 GROUP_SUBSCRIBED        final "group is subscribed to the topic";
    52 OFFSET_NOTE_TOO_LARGE   final "note beside an offset too large";
    53 COORDINATOR_LOADING     again "coordinator is loading";
    54 COORDINATOR_NOT_AVAILABLE again "coordinator not available";
}
