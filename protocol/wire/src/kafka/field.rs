//! How a value of each type stands in the bytes, of old and in flexible versions.
//!
//! | type | of old | flexible |
//! |---|---|---|
//! | `bool`, `i8` | one byte; a bool is false if it is 0 | same |
//! | `i16`, `u16`, `i32`, `i64` | big-endian | same |
//! | `Uuid` | 16 bytes | same |
//! | `&str`, `Cow<str>` | `i16` length (-1: null), UTF-8 | length + 1 as a varint (0: null), UTF-8 |
//! | `&[u8]`, `Cow<[u8]>`, `Records` | `i32` length (-1: null), bytes | length + 1 as a varint (0: null), bytes |
//! | `Vec<T>` | `i32` count (-1: null), elements | count + 1 as a varint (0: null), elements |
//! | a struct | its fields | its fields, then its tagged fields |
//! | `Option` of a struct | one byte (-1: null), the struct | same |

use std::borrow::Cow;

use uuid::Uuid;

use super::error_code::KafkaError;
use super::reader::{DecodeError, DecodeFault, Reader};
use super::records::Records;
use super::writer::Writer;

/// How the message at hand is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Form {
    /// The version of the message.
    pub version: i16,
    /// Whether it is a flexible version: compact lengths, tagged fields.
    pub flexible: bool,
    /// Whether an `Option` may be `None` at this place.
    pub nullable: bool,
}

impl Form {
    /// The same message, at a place that may or may not be null.
    #[inline]
    #[must_use]
    pub const fn nullable(self, nullable: bool) -> Self {
        Self { nullable, ..self }
    }
}

/// A type that a field may have.
pub trait Field<'a>: Sized {
    /// No value takes fewer bytes. What a count announces is held against it.
    fn size_min(form: Form) -> usize;

    /// Reads one value.
    fn read(reader: &mut Reader<'a>, form: Form) -> Result<Self, DecodeError>;

    /// Writes one value.
    fn write(&self, writer: &mut Writer, form: Form);
}

/// A type with a null among its bytes: its `Option` is a field, too.
pub trait Nullable<'a>: Sized {
    /// What a null takes.
    fn size_null(form: Form) -> usize;

    /// Reads one value or null.
    fn read_nullable(reader: &mut Reader<'a>, form: Form) -> Result<Option<Self>, DecodeError>;

    /// Writes one value or null.
    fn write_nullable(this: Option<&Self>, writer: &mut Writer, form: Form);
}

/// Whether a value is other than its default. For derived code, where both sides must be of one type.
#[inline]
pub fn differs<T: PartialEq>(value: &T, default: &T) -> bool {
    value != default
}

impl<'a, T: Nullable<'a>> Field<'a> for Option<T> {
    fn size_min(form: Form) -> usize {
        T::size_null(form)
    }

    #[inline]
    fn read(reader: &mut Reader<'a>, form: Form) -> Result<Self, DecodeError> {
        let here = reader.error(DecodeFault::Null);
        match T::read_nullable(reader, form)? {
            None if !form.nullable => Err(here),
            value => Ok(value),
        }
    }

    #[inline]
    fn write(&self, writer: &mut Writer, form: Form) {
        if self.is_none() && !form.nullable {
            return writer.refuse_null();
        }
        T::write_nullable(self.as_ref(), writer, form);
    }
}

macro_rules! plain {
    ($($ty:ty, $size:literal, $reader:ident, $writer:ident;)*) => {$(
        impl<'a> Field<'a> for $ty {
            fn size_min(_: Form) -> usize {
                $size
            }

            #[inline]
            fn read(reader: &mut Reader<'a>, _: Form) -> Result<Self, DecodeError> {
                reader.$reader()
            }

            #[inline]
            fn write(&self, writer: &mut Writer, _: Form) {
                writer.$writer(*self);
            }
        }
    )*};
}

plain! {
    i8, 1, i8, put_i8;
    i16, 2, i16, put_i16;
    u16, 2, u16, put_u16;
    i32, 4, i32, put_i32;
    i64, 8, i64, put_i64;
    Uuid, 16, uuid, put_uuid;
}

impl<'a> Field<'a> for KafkaError {
    fn size_min(_: Form) -> usize {
        2
    }

    #[inline]
    fn read(reader: &mut Reader<'a>, _: Form) -> Result<Self, DecodeError> {
        reader.i16().map(Self::new)
    }

    #[inline]
    fn write(&self, writer: &mut Writer, _: Form) {
        writer.put_i16(self.number());
    }
}

impl<'a> Field<'a> for bool {
    fn size_min(_: Form) -> usize {
        1
    }

    #[inline]
    fn read(reader: &mut Reader<'a>, _: Form) -> Result<Self, DecodeError> {
        Ok(reader.i8()? != 0)
    }

    #[inline]
    fn write(&self, writer: &mut Writer, _: Form) {
        writer.put_i8(i8::from(*self));
    }
}

/// A type whose null is a length, as itself: never null.
macro_rules! never_null {
    ($([$($parameter:tt)*] $ty:ty;)*) => {$(
        impl<'a, $($parameter)*> Field<'a> for $ty {
            fn size_min(form: Form) -> usize {
                Self::size_null(form)
            }

            #[inline]
            fn read(reader: &mut Reader<'a>, form: Form) -> Result<Self, DecodeError> {
                read_some(reader, form)
            }

            #[inline]
            fn write(&self, writer: &mut Writer, form: Form) {
                Self::write_nullable(Some(self), writer, form);
            }
        }
    )*};
}

never_null! {
    [] &'a str;
    [] Cow<'a, str>;
    [] &'a [u8];
    [] Cow<'a, [u8]>;
    [] Records<'a>;
    [T: Field<'a>] Vec<T>;
}

impl<'a> Nullable<'a> for &'a str {
    fn size_null(form: Form) -> usize {
        if form.flexible { 1 } else { 2 }
    }

    #[inline]
    fn read_nullable(reader: &mut Reader<'a>, form: Form) -> Result<Option<Self>, DecodeError> {
        reader.text(form.flexible)
    }

    #[inline]
    fn write_nullable(this: Option<&Self>, writer: &mut Writer, form: Form) {
        writer.put_text(this.copied(), form.flexible);
    }
}

impl<'a> Nullable<'a> for Cow<'a, str> {
    fn size_null(form: Form) -> usize {
        <&str>::size_null(form)
    }

    #[inline]
    fn read_nullable(reader: &mut Reader<'a>, form: Form) -> Result<Option<Self>, DecodeError> {
        Ok(reader.text(form.flexible)?.map(Cow::Borrowed))
    }

    #[inline]
    fn write_nullable(this: Option<&Self>, writer: &mut Writer, form: Form) {
        writer.put_text(this.map(AsRef::as_ref), form.flexible);
    }
}

impl<'a> Nullable<'a> for &'a [u8] {
    fn size_null(form: Form) -> usize {
        if form.flexible { 1 } else { 4 }
    }

    #[inline]
    fn read_nullable(reader: &mut Reader<'a>, form: Form) -> Result<Option<Self>, DecodeError> {
        reader.bytes(form.flexible)
    }

    #[inline]
    fn write_nullable(this: Option<&Self>, writer: &mut Writer, form: Form) {
        writer.put_bytes(this.copied(), form.flexible);
    }
}

impl<'a> Nullable<'a> for Cow<'a, [u8]> {
    fn size_null(form: Form) -> usize {
        <&[u8]>::size_null(form)
    }

    #[inline]
    fn read_nullable(reader: &mut Reader<'a>, form: Form) -> Result<Option<Self>, DecodeError> {
        Ok(reader.bytes(form.flexible)?.map(Cow::Borrowed))
    }

    #[inline]
    fn write_nullable(this: Option<&Self>, writer: &mut Writer, form: Form) {
        writer.put_bytes(this.map(AsRef::as_ref), form.flexible);
    }
}

impl<'a> Nullable<'a> for Records<'a> {
    fn size_null(form: Form) -> usize {
        <&[u8]>::size_null(form)
    }

    #[inline]
    fn read_nullable(reader: &mut Reader<'a>, form: Form) -> Result<Option<Self>, DecodeError> {
        Ok(reader.bytes(form.flexible)?.map(Records::Held))
    }

    #[inline]
    fn write_nullable(this: Option<&Self>, writer: &mut Writer, form: Form) {
        match this {
            Some(&Records::Spliced(size)) => {
                writer.put_length(Some(size), form.flexible);
                writer.splice(size);
            }
            held => writer.put_bytes(held.and_then(Records::held), form.flexible),
        }
    }
}

impl<'a, T: Field<'a>> Nullable<'a> for Vec<T> {
    fn size_null(form: Form) -> usize {
        if form.flexible { 1 } else { 4 }
    }

    fn read_nullable(reader: &mut Reader<'a>, form: Form) -> Result<Option<Self>, DecodeError> {
        const { assert!(size_of::<T>() > 0) };
        let form = form.nullable(false);
        let Some(count) = reader.count(form.flexible, T::size_min(form))? else { return Ok(None) };
        // An element in memory may be many times its bytes: what was announced is believed only so far.
        let mut list = Vec::with_capacity(count.min(ROOM_FIRST_BYTES / size_of::<T>()));
        for _ in 0..count {
            list.push(T::read(reader, form)?);
        }
        Ok(Some(list))
    }

    fn write_nullable(this: Option<&Self>, writer: &mut Writer, form: Form) {
        let form = form.nullable(false);
        writer.put_length(this.map(Vec::len), form.flexible);
        for element in this.into_iter().flatten() {
            element.write(writer, form);
        }
    }
}

#[inline]
fn read_some<'a, T: Nullable<'a>>(reader: &mut Reader<'a>, form: Form) -> Result<T, DecodeError> {
    let here = reader.error(DecodeFault::Null);
    T::read_nullable(reader, form)?.ok_or(here)
}

/// What a count may set aside before an element was read.
const ROOM_FIRST_BYTES: usize = 4 << 10;
