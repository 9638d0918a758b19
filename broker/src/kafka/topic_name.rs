//! What requests call topics by: their names, or their ids.

use std::sync::Arc;

use uuid::Uuid;

use crate::engine::{Disk, Engine};
use crate::error::ServiceError;
use crate::service::topics;
use crate::view::Topic;

/// A topic's name, or its id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum TopicName {
    Name(String),
    Id(Uuid),
}

impl TopicName {
    /// Of a request that has room for both.
    pub(super) fn of(name: Option<&str>, id: Uuid) -> Self {
        match name {
            Some(name) if id.is_nil() => Self::Name(name.to_owned()),
            _ => Self::Id(id),
        }
    }

    /// The topic.
    ///
    /// # Errors
    /// There is none, or none may be called so.
    pub(super) fn find(&self, engine: &Engine) -> Result<Arc<Topic<Disk>>, ServiceError> {
        match self {
            Self::Name(name) => topics::check_name(name).and_then(|()| topics::find(engine, name)),
            Self::Id(id) => topics::with_id(engine, *id),
        }
    }

    /// For an answer that has room for both.
    pub(super) fn parts(self) -> (Option<String>, Uuid) {
        match self {
            Self::Name(name) => (Some(name), Uuid::nil()),
            Self::Id(id) => (None, id),
        }
    }
}
