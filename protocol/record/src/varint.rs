//! Numbers of variable length, as records use them.
//!
//! A number is first folded (zig-zag: 0, -1, 1, -2, 2 become 0, 1, 2, 3, 4), then written seven bits a
//! byte, lowest first, with the top bit set on all bytes but the last:
//!
//! ```text
//!   300 -> folded 600 = 0b100_1011000 -> 1|1011000 0|0000100 = D8 04
//! ```
//!
//! A reader takes at most five bytes for 32 bits and ten for 64, and refuses bits beyond. It accepts
//! numbers written with more bytes than they need, as other readers of the format do.

/// Why there is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VarintFault {
    /// The bytes end inside of the number.
    Cut,
    /// The number has more bits than its type.
    TooLarge,
}

/// Takes a 32-bit number off the front of `bytes`.
#[inline]
pub(crate) fn take_i32(bytes: &mut &[u8]) -> Result<i32, VarintFault> {
    match take_short(bytes) {
        Some(folded) => Ok(unfold(folded) as i32),
        None => take_long(bytes, VARINT_SIZE_MAX, u64::from(u32::MAX)).map(|folded| unfold(folded) as i32),
    }
}

/// Takes a 64-bit number off the front of `bytes`.
#[inline]
pub(crate) fn take_i64(bytes: &mut &[u8]) -> Result<i64, VarintFault> {
    match take_short(bytes) {
        Some(folded) => Ok(unfold(folded)),
        None => take_long(bytes, VARLONG_SIZE_MAX, u64::MAX).map(unfold),
    }
}

/// Writes a number; one that fits 32 bits reads back as either type.
#[inline]
pub(crate) fn put(out: &mut Vec<u8>, number: i64) {
    let mut folded = fold(number);
    while folded >= u64::from(MORE) {
        out.push(folded as u8 | MORE);
        folded >>= 7;
    }
    out.push(folded as u8);
}

/// How many bytes [`put`] writes.
#[inline]
pub(crate) const fn size(number: i64) -> usize {
    let bits = u64::BITS - (fold(number) | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// A number of one or two bytes, as nearly all lengths and deltas are; else `None`, and nothing taken.
#[inline]
fn take_short(bytes: &mut &[u8]) -> Option<u64> {
    match **bytes {
        [first, ref rest @ ..] if first & MORE == 0 => {
            *bytes = rest;
            Some(u64::from(first))
        }
        [first, second, ref rest @ ..] if second & MORE == 0 => {
            *bytes = rest;
            Some(u64::from(first & !MORE) | u64::from(second) << 7)
        }
        _ => None,
    }
}

#[cold]
fn take_long(bytes: &mut &[u8], size_max: usize, max: u64) -> Result<u64, VarintFault> {
    let mut folded: u64 = 0;
    for (at, &byte) in bytes.iter().enumerate().take(size_max) {
        let shift = 7 * at as u32;
        let low = u64::from(byte & !MORE);
        // The last byte of ten has room for one bit only.
        if low << shift >> shift != low {
            return Err(VarintFault::TooLarge);
        }
        folded |= low << shift;
        if byte & MORE == 0 {
            *bytes = &bytes[at + 1..];
            return if folded <= max { Ok(folded) } else { Err(VarintFault::TooLarge) };
        }
    }
    Err(if bytes.len() < size_max { VarintFault::Cut } else { VarintFault::TooLarge })
}

const fn fold(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

const fn unfold(folded: u64) -> i64 {
    (folded >> 1) as i64 ^ -((folded & 1) as i64)
}

const MORE: u8 = 0x80;
const VARINT_SIZE_MAX: usize = 5;
const VARLONG_SIZE_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOLDEN: &[(i64, &[u8])] = &[
        (0, &[0x00]),
        (-1, &[0x01]),
        (1, &[0x02]),
        (-64, &[0x7f]),
        (64, &[0x80, 0x01]),
        (300, &[0xd8, 0x04]),
        (i32::MAX as i64, &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
        (i32::MIN as i64, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        (i64::MAX, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
    ];

    #[test]
    fn the_bytes_of_a_number_are_kafkas() {
        for &(number, golden) in GOLDEN {
            let mut out = Vec::new();
            put(&mut out, number);
            assert_eq!(out, golden, "{number}");
            assert_eq!(size(number), golden.len(), "{number}");
            assert_eq!(take_i64(&mut &out[..]), Ok(number));
        }
    }

    #[test]
    fn what_is_not_a_number_is_refused() {
        let too_large = Err(VarintFault::TooLarge);
        let cases: &[(&[u8], Result<i32, VarintFault>)] = &[
            (&[], Err(VarintFault::Cut)),
            (&[0x80], Err(VarintFault::Cut)),
            (&[0xff; 4], Err(VarintFault::Cut)),
            (&[0xff; 5], too_large),
            (&[0xff, 0xff, 0xff, 0xff, 0x10], too_large),
            (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00], too_large),
            // More bytes than needed, but within five: taken.
            (&[0x82, 0x80, 0x00], Ok(1)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(take_i32(&mut &bytes[..]), *expected, "{bytes:02x?}");
        }
        assert_eq!(take_i64(&mut &[0xff; 9][..]), Err(VarintFault::Cut));
        assert_eq!(take_i64(&mut &[0xff; 10][..]), too_large.map(i64::from));
        let two_bits_in_the_tenth = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(take_i64(&mut &two_bits_in_the_tenth[..]), too_large.map(i64::from));
    }

    proptest! {
        #[test]
        fn every_number_reads_back_and_leaves_what_follows(number: i64, rest: Vec<u8>) {
            let mut out = Vec::new();
            put(&mut out, number);
            prop_assert_eq!(out.len(), size(number));
            out.extend_from_slice(&rest);
            let mut bytes = &out[..];
            prop_assert_eq!(take_i64(&mut bytes), Ok(number));
            prop_assert_eq!(bytes, &rest[..]);
        }

        #[test]
        fn every_32_bit_number_reads_back(number: i32) {
            let mut out = Vec::new();
            put(&mut out, i64::from(number));
            prop_assert_eq!(take_i32(&mut &out[..]), Ok(number));
        }
    }
}
