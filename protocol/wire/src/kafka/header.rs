//! What stands in front of every message, behind the length of the frame.
//!
//! ```text
//! request    | api key: i16 | version: i16 | correlation id: i32 | client id: i16 length, text | tags |
//! answer     | correlation id: i32 | tags |
//! ```
//! Tags stand there in flexible versions only, and never in the answer to ApiVersions: a client reads it
//! before it knows what the broker speaks. The client id keeps its old form for the same reason.
//!
//! These are request headers 1 and 2 and answer headers 0 and 1. Request header 0, without a client id,
//! went with ControlledShutdown 0.

use thiserror::Error;

use super::api::ApiKey;
use super::reader::{DecodeError, Reader};
use super::writer::Writer;

/// In front of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestHeader<'a> {
    /// What is asked.
    pub api: ApiKey,
    /// In which version; it need not be one that the API has.
    pub version: i16,
    /// Chosen by the client; the answer carries the same.
    pub correlation_id: i32,
    /// The name that the client gives itself.
    pub client_id: Option<&'a str>,
}

/// A header that cannot be read: the connection has no way to go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum HeaderError {
    /// No API has this key; how its header is written cannot be known.
    #[error("api key {key} is not known (version {version}, correlation id {correlation_id})")]
    UnknownApi {
        /// The key.
        key: i16,
        /// The version.
        version: i16,
        /// The correlation id.
        correlation_id: i32,
    },
    /// The bytes are no header.
    #[error("not a request header: {0}")]
    Decode(#[from] DecodeError),
}

impl<'a> RequestHeader<'a> {
    /// Reads a header and leaves the reader at the message. A version beyond the API's newest is read as
    /// that one's header would be, so that ApiVersions can be answered in any version.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, HeaderError> {
        let (key, version, correlation_id) = (reader.i16()?, reader.i16()?, reader.i32()?);
        let Some(api) = ApiKey::new(key) else {
            return Err(HeaderError::UnknownApi { key, version, correlation_id });
        };
        let client_id = reader.text(false)?;
        if api.spec().is_flexible(version) {
            reader.skip_tagged()?;
        }
        Ok(Self { api, version, correlation_id, client_id })
    }

    /// Writes it.
    pub fn encode(&self, writer: &mut Writer) {
        writer.put_i16(self.api.number());
        writer.put_i16(self.version);
        writer.put_i32(self.correlation_id);
        writer.put_text(self.client_id, false);
        if self.api.spec().is_flexible(self.version) {
            writer.put_uvarint(0);
        }
    }
}

/// In front of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResponseHeader {
    /// That of the request.
    pub correlation_id: i32,
}

impl ResponseHeader {
    /// Reads the header of an answer of this API and version.
    pub fn decode(reader: &mut Reader<'_>, api: ApiKey, version: i16) -> Result<Self, DecodeError> {
        let correlation_id = reader.i32()?;
        if Self::has_tags(api, version) {
            reader.skip_tagged()?;
        }
        Ok(Self { correlation_id })
    }

    /// Writes the header of an answer of this API and version.
    pub fn encode(&self, writer: &mut Writer, api: ApiKey, version: i16) {
        writer.put_i32(self.correlation_id);
        if Self::has_tags(api, version) {
            writer.put_uvarint(0);
        }
    }

    fn has_tags(api: ApiKey, version: i16) -> bool {
        api != ApiKey::ApiVersions && api.spec().is_flexible(version)
    }
}
