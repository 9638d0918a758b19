//! What the members of a consumer group tell each other through the broker, which passes it on unread: who wants which
//! topics, and who gets which partitions. The bytes are Kafka's, in both protocols, so that members of both share a
//! group.
//!
//! ```text
//! subscription  | version | topics: [text] | user data | owned: [topic, [partition]] | generation | rack |
//!                 i16                                     version 1 on                  2 on         3 on
//! assignment    | version | [topic, [partition]] | user data |
//! ```
//!
//! Big-endian, with Kafka's lengths of old. A version above 3 reads as 3, and what follows it is passed over: later
//! versions only add. Some clients say a version and end before the fields that it has: those read as not said.
//! Invariants: no bytes panic, and nothing is allocated by a count.

use bytes::Bytes;

use crate::kafka::{DecodeError, DecodeFault, EncodeError, Reader, Writer};

/// The newest version of both.
pub const VERSION_MAX: i16 = 3;

/// What a member says of itself when it joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription<'a> {
    /// The topics that it wants.
    pub topics: Vec<&'a str>,
    /// What only the assignor understands.
    pub user_data: Option<&'a [u8]>,
    /// What it has, and will not have given up when it joins.
    pub owned: Vec<TopicPartitions<'a>>,
    /// The generation in which it got them; -1: not said.
    pub generation: i32,
    /// Where it is.
    pub rack: Option<&'a str>,
}

/// Partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPartitions<'a> {
    /// Its name.
    pub topic: &'a str,
    /// Their numbers; nobody has checked that they are none below 0.
    pub partitions: Vec<i32>,
}

/// What a member gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment<'a> {
    /// Its partitions.
    pub partitions: Vec<TopicPartitions<'a>>,
    /// What only the assignor understands.
    pub user_data: Option<&'a [u8]>,
}

impl Default for Subscription<'_> {
    fn default() -> Self {
        Self { topics: Vec::new(), user_data: None, owned: Vec::new(), generation: -1, rack: None }
    }
}

impl<'a> Subscription<'a> {
    /// Reads a subscription.
    ///
    /// # Errors
    /// The bytes are none; where, it says.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let version = read_version(&mut reader)?;
        let mut subscription = Self {
            topics: read_list(&mut reader, 2, |reader| read_text(reader))?,
            user_data: reader.bytes(false)?,
            ..Self::default()
        };
        if version >= 1 && reader.left() > 0 {
            subscription.owned = read_partitions(&mut reader)?;
        }
        if version >= 2 && reader.left() > 0 {
            subscription.generation = reader.i32()?;
        }
        if version >= 3 && reader.left() > 0 {
            subscription.rack = reader.text(false)?;
        }
        Ok(subscription)
    }

    /// Reads what subscriptions of all versions begin with: the topics. What follows may be in any form.
    ///
    /// # Errors
    /// The bytes do not begin like a subscription; where, it says.
    pub fn decode_topics(bytes: &'a [u8]) -> Result<Vec<&'a str>, DecodeError> {
        let mut reader = Reader::new(bytes);
        read_version(&mut reader)?;
        let topics = read_list(&mut reader, 2, |reader| read_text(reader))?;
        reader.bytes(false)?;
        Ok(topics)
    }

    /// Writes it in `version`, without what that does not have.
    ///
    /// # Errors
    /// Something is longer than its length can say.
    pub fn encode(&self, version: i16) -> Result<Bytes, EncodeError> {
        let mut writer = Writer::new();
        writer.put_i16(version);
        writer.put_length(Some(self.topics.len()), false);
        self.topics.iter().for_each(|topic| writer.put_text(Some(topic), false));
        writer.put_bytes(self.user_data, false);
        if version >= 1 {
            write_partitions(&mut writer, &self.owned);
        }
        if version >= 2 {
            writer.put_i32(self.generation);
        }
        if version >= 3 {
            writer.put_text(self.rack, false);
        }
        writer.finish().map(|encoded| encoded.heap().clone())
    }
}

impl<'a> Assignment<'a> {
    /// Reads an assignment. No bytes at all are none: so a leader leaves out a member that gets nothing.
    ///
    /// # Errors
    /// The bytes are none; where, it says.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let mut reader = Reader::new(bytes);
        read_version(&mut reader)?;
        Ok(Self { partitions: read_partitions(&mut reader)?, user_data: reader.bytes(false)? })
    }

    /// Writes it in `version`.
    ///
    /// # Errors
    /// Something is longer than its length can say.
    pub fn encode(&self, version: i16) -> Result<Bytes, EncodeError> {
        let mut writer = Writer::new();
        writer.put_i16(version);
        write_partitions(&mut writer, &self.partitions);
        writer.put_bytes(self.user_data, false);
        writer.finish().map(|encoded| encoded.heap().clone())
    }
}

/// Reads partitions by topic from the front of what an assignor said, as they stand in both messages.
///
/// # Errors
/// The bytes are none; where, it says.
pub fn read_partitions<'a>(reader: &mut Reader<'a>) -> Result<Vec<TopicPartitions<'a>>, DecodeError> {
    read_list(reader, 2 + 4, |reader| {
        let topic = read_text(reader)?;
        Ok(TopicPartitions { topic, partitions: read_list(reader, 4, Reader::i32)? })
    })
}

/// Writes partitions by topic.
pub fn write_partitions(writer: &mut Writer, topics: &[TopicPartitions<'_>]) {
    writer.put_length(Some(topics.len()), false);
    for of in topics {
        writer.put_text(Some(of.topic), false);
        writer.put_length(Some(of.partitions.len()), false);
        of.partitions.iter().for_each(|partition| writer.put_i32(*partition));
    }
}

fn read_version(reader: &mut Reader<'_>) -> Result<i16, DecodeError> {
    let here = reader.clone();
    match reader.i16()? {
        version @ 0.. => Ok(version),
        version => Err(here.error(DecodeFault::Version { version })),
    }
}

fn read_text<'a>(reader: &mut Reader<'a>) -> Result<&'a str, DecodeError> {
    let here = reader.error(DecodeFault::Null);
    reader.text(false)?.ok_or(here)
}

/// A list whose elements take `size_min` bytes at least; memory follows the elements that are there.
fn read_list<'a, T>(
    reader: &mut Reader<'a>,
    size_min: usize,
    mut read: impl FnMut(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let here = reader.error(DecodeFault::Null);
    let count = reader.count(false, size_min)?.ok_or(here)?;
    let mut list = Vec::new();
    for _ in 0..count {
        list.push(read(reader)?);
    }
    Ok(list)
}

#[cfg(test)]
mod tests;
