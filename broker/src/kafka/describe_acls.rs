//! DescribeAcls: nobody is asked who they are, so nothing is allowed or denied to anybody.

use folio_wire::kafka::KafkaError;
use folio_wire::kafka::describe_acls::{DescribeAclsRequest, DescribeAclsResponse};

use super::{KafkaResponder, KafkaService, Request};
use crate::shard::Shard;

pub(super) fn call(_: &mut KafkaService, _: &mut Shard, request: &mut Request, reply: KafkaResponder<'_>) {
    let Some((_, reply)) = request.decode::<DescribeAclsRequest<'_>>(reply) else { return };
    let answer = DescribeAclsResponse {
        error_code: KafkaError::SECURITY_DISABLED,
        error_message: Some("No Authorizer is configured.".into()),
        ..DescribeAclsResponse::default()
    };
    request.asked.respond(reply, &answer);
}
