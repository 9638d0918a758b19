//! Lists in headers: memory follows the elements that are there, not the count that announces them.
//!
//! Invariants: an element takes memory, so that a count cannot make work without bytes (a list of `()`
//! would run for as long as its count says); before the first element is read at most
//! [`ROOM_FIRST_BYTES`] are set aside, and room grows with what was read.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

/// What a count may set aside before an element was read: enough for the lists of everyday requests.
const ROOM_FIRST_BYTES: usize = 4 << 10;

/// For `#[serde(deserialize_with)]` on every list of a message.
pub(super) fn deserialize<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    List::deserialize(deserializer).map(|list| list.0)
}

/// The same for a list that may be absent.
pub(super) fn deserialize_option<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<List<T>>::deserialize(deserializer).map(|list| list.map(|list| list.0))
}

struct List<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const { assert!(size_of::<T>() > 0) };
        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = List<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let room = elements.size_hint().unwrap_or(0).min(ROOM_FIRST_BYTES / size_of::<T>());
        let mut list = Vec::with_capacity(room);
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(List(list))
    }
}

#[cfg(test)]
mod tests {
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, U64Deserializer};

    use super::*;

    /// Says that there are as many elements as fit a `usize`; there are three.
    struct Boastful(u64);

    impl<'de> SeqAccess<'de> for Boastful {
        type Error = Error;

        fn next_element_seed<S: serde::de::DeserializeSeed<'de>>(
            &mut self,
            seed: S,
        ) -> Result<Option<S::Value>, Error> {
            if self.0 == 3 {
                return Ok(None);
            }
            self.0 += 1;
            let element: U64Deserializer<Error> = self.0.into_deserializer();
            seed.deserialize(element).map(Some)
        }

        fn size_hint(&self) -> Option<usize> {
            Some(usize::MAX)
        }
    }

    #[test]
    fn a_count_sets_aside_no_more_than_a_fixed_room() {
        let list = ListVisitor::<u64>(PhantomData).visit_seq(Boastful(0)).unwrap().0;
        assert_eq!(list, [1, 2, 3]);
        assert!(list.capacity() * size_of::<u64>() <= ROOM_FIRST_BYTES, "{}", list.capacity());
    }
}
