//! A whole message: which API it belongs to, in which versions, and how it goes on a connection.

use super::api::{ApiKey, Versions};
use super::field::{Field, Form};
use super::header::{RequestHeader, ResponseHeader};
use super::reader::{DecodeError, DecodeFault, Reader};
use super::writer::{EncodeError, Encoded, Writer};

/// A request or an answer. Derived, with what the struct declares.
pub trait Message<'a>: Field<'a> + Default {
    /// Its API; a request and its answer share one.
    const API: ApiKey;

    /// The versions that the struct describes.
    const VERSIONS: Versions;

    /// The first flexible version, if there is one.
    const FLEXIBLE_FROM: Option<i16>;

    /// How a version is written; `None` if the message has no such version.
    #[must_use]
    fn form(version: i16) -> Option<Form> {
        let flexible = Self::FLEXIBLE_FROM.is_some_and(|first| version >= first);
        Self::VERSIONS.contains(version).then_some(Form { version, flexible, nullable: false })
    }

    /// Reads one message. Bytes behind it stay in the reader.
    fn decode(reader: &mut Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        match Self::form(version) {
            Some(form) => Self::read(reader, form),
            None => Err(reader.error(DecodeFault::Version { version })),
        }
    }

    /// Writes the message. Whether it could be written, [`Writer::finish`] says.
    fn encode(&self, writer: &mut Writer, version: i16) {
        match Self::form(version) {
            Some(form) => self.write(writer, form),
            None => writer.fail(EncodeError::Version { version }),
        }
    }
}

/// A request as it goes on a connection: length, header, message. The API is the message's.
pub fn encode_request<'a, M: Message<'a>>(
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
    request: &M,
) -> Result<Encoded, EncodeError> {
    let mut writer = Writer::framed();
    RequestHeader { api: M::API, version, correlation_id, client_id }.encode(&mut writer);
    request.encode(&mut writer, version);
    writer.finish()
}

/// An answer as it goes on a connection: length, header, message.
pub fn encode_response<'a, M: Message<'a>>(
    version: i16,
    correlation_id: i32,
    response: &M,
) -> Result<Encoded, EncodeError> {
    let mut writer = Writer::framed();
    ResponseHeader { correlation_id }.encode(&mut writer, M::API, version);
    response.encode(&mut writer, version);
    writer.finish()
}
