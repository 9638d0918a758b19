//! Values of every message to test with: made at random, and told field by field under Kafka's names.
//!
//! Only in the tests of this room; the derive macro writes an implementation for every message.

use std::borrow::Cow;

use serde_json::{Value, json};
use uuid::Uuid;

use super::error_code::KafkaError;
use super::field::Form;
use super::records::Records;

/// A value to test with.
pub(crate) trait Specimen: Sized {
    /// Any value that the form can say.
    fn arbitrary(dice: &mut Dice, form: Form) -> Self;

    /// What Kafka's own JSON of the message says at this place.
    fn json(&self, form: Form) -> Value;
}

/// Numbers that a seed determines (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound as u64) as usize
    }

    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// A small number more often than not.
    fn number(&mut self) -> i64 {
        if self.once_in(2) { self.below(300) as i64 - 2 } else { self.roll() as i64 }
    }
}

/// Lengths on both sides of where a varint grows.
const SIZES: [usize; 8] = [0, 1, 3, 9, 20, 126, 127, 128];
static BYTES: [u8; 128] = {
    let mut bytes = [0; 128];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = (at * 37 + 11) as u8;
        at += 1;
    }
    bytes
};
static TEXT: &str = "orders-über.v2_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ\
                     0123456789abcdefghijklmnopqrstuvwxyz-0123456789abcdefgh";

fn text(dice: &mut Dice) -> &'static str {
    // Shorter ones are likelier.
    let most = 1 + dice.below(SIZES.len());
    let size = SIZES[dice.below(most)];
    &TEXT[..(size..).find(|&end| TEXT.is_char_boundary(end)).expect("the end is one")]
}

fn bytes(dice: &mut Dice) -> &'static [u8] {
    let most = 1 + dice.below(SIZES.len());
    &BYTES[..SIZES[dice.below(most)]]
}

macro_rules! numbers {
    ($($ty:ty),*) => {$(
        impl Specimen for $ty {
            fn arbitrary(dice: &mut Dice, _: Form) -> Self {
                dice.number() as $ty
            }

            fn json(&self, _: Form) -> Value {
                json!(self)
            }
        }
    )*};
}

numbers!(i8, i16, u16, i32, i64);

impl Specimen for bool {
    fn arbitrary(dice: &mut Dice, _: Form) -> Self {
        dice.once_in(2)
    }

    fn json(&self, _: Form) -> Value {
        json!(self)
    }
}

impl Specimen for KafkaError {
    fn arbitrary(dice: &mut Dice, form: Form) -> Self {
        Self::new(i16::arbitrary(dice, form))
    }

    fn json(&self, _: Form) -> Value {
        json!(self.number())
    }
}

impl Specimen for Uuid {
    fn arbitrary(dice: &mut Dice, _: Form) -> Self {
        Self::from_u64_pair(dice.roll(), dice.roll())
    }

    fn json(&self, _: Form) -> Value {
        json!(base64(self.as_bytes(), b"-_", false))
    }
}

macro_rules! borrowed {
    ($($ty:ty, $make:expr, $show:expr;)*) => {$(
        impl Specimen for $ty {
            fn arbitrary(dice: &mut Dice, _: Form) -> Self {
                $make(dice)
            }

            fn json(&self, _: Form) -> Value {
                $show(self)
            }
        }
    )*};
}

borrowed! {
    &str, text, |text: &str| json!(text);
    Cow<'_, str>, |dice| Cow::Borrowed(text(dice)), |text: &str| json!(text);
    &[u8], bytes, |bytes: &[u8]| json!(base64(bytes, b"+/", true));
    Cow<'_, [u8]>, |dice| Cow::Borrowed(bytes(dice)), |bytes: &[u8]| json!(base64(bytes, b"+/", true));
    Records<'_>, |dice| Records::Held(bytes(dice)), |records: &Records<'_>| json!(base64(records.held().expect("held"), b"+/", true));
}

impl<T: Specimen> Specimen for Vec<T> {
    fn arbitrary(dice: &mut Dice, form: Form) -> Self {
        let count = dice.below(4);
        (0..count).map(|_| T::arbitrary(dice, form.nullable(false))).collect()
    }

    fn json(&self, form: Form) -> Value {
        Value::Array(self.iter().map(|element| element.json(form.nullable(false))).collect())
    }
}

impl<T: Specimen> Specimen for Option<T> {
    fn arbitrary(dice: &mut Dice, form: Form) -> Self {
        if form.nullable && dice.once_in(4) { None } else { Some(T::arbitrary(dice, form)) }
    }

    fn json(&self, form: Form) -> Value {
        self.as_ref().map_or(Value::Null, |value| value.json(form))
    }
}

/// `leader_epoch` as Kafka writes it: `leaderEpoch`.
pub(crate) fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| name + &word[..1].to_uppercase() + &word[1..])
}

fn base64(bytes: &[u8], last_two: &[u8; 2], padded: bool) -> String {
    let alphabet = |six: u32| match six {
        0..=25 => b'A' + six as u8,
        26..=51 => b'a' + (six - 26) as u8,
        52..=61 => b'0' + (six - 52) as u8,
        last => last_two[last as usize - 62],
    };
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = (0..3).fold(0, |word, at| word << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        for at in 0..=chunk.len() {
            text.push(char::from(alphabet(word >> (18 - 6 * at) & 63)));
        }
        if padded {
            text.extend(std::iter::repeat_n('=', 3 - chunk.len()));
        }
    }
    text
}
