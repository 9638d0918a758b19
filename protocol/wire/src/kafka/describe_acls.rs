//! DescribeAcls: who may do what.

use std::borrow::Cow;

use folio_wire_derive::Message;

use super::error_code::KafkaError;

/// Asks for rules that match.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = DescribeAcls, versions = 1..=3, flexible = 2..)]
pub struct DescribeAclsRequest<'a> {
    /// What the rule is about: 0 unknown, 1 any, 2 topic, 3 group, 4 cluster, 5 transactional id, 6 delegation token, 7
    /// user.
    pub resource_type_filter: i8,
    /// Its name, or null: any.
    #[kafka(nullable)]
    pub resource_name_filter: Option<&'a str>,
    /// How the name is meant: 1 any, 2 whatever matches, 3 literally, 4 as the beginning.
    #[kafka(default = 3)]
    pub pattern_type_filter: i8,
    /// For whom, or null: for anybody.
    #[kafka(nullable)]
    pub principal_filter: Option<&'a str>,
    /// From where, or null: from anywhere.
    #[kafka(nullable)]
    pub host_filter: Option<&'a str>,
    /// To do what, by Kafka's number; 1: anything.
    pub operation: i8,
    /// 1: either, 2: denied, 3: allowed.
    pub permission_type: i8,
}

/// The rules.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = DescribeAcls, versions = 1..=3, flexible = 2..)]
pub struct DescribeAclsResponse<'a> {
    /// Milliseconds for which the client should be quiet, because of a quota.
    pub throttle_time_ms: i32,
    /// How it went.
    pub error_code: KafkaError,
    /// What went wrong, for people.
    #[kafka(nullable)]
    pub error_message: Option<Cow<'a, str>>,
    /// By what they are about.
    pub resources: Vec<DescribeAclsResource<'a>>,
}

/// What rules are about.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct DescribeAclsResource<'a> {
    /// What it is, as in the request.
    pub resource_type: i8,
    /// Its name.
    pub resource_name: Cow<'a, str>,
    /// How the name is meant, as in the request.
    #[kafka(default = 3)]
    pub pattern_type: i8,
    /// The rules.
    pub acls: Vec<AclDescription<'a>>,
}

/// A rule.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct AclDescription<'a> {
    /// For whom.
    pub principal: Cow<'a, str>,
    /// From where.
    pub host: Cow<'a, str>,
    /// To do what, by Kafka's number.
    pub operation: i8,
    /// 2: denied, 3: allowed.
    pub permission_type: i8,
}
