//! gzip members (RFC 1952) around deflated data (RFC 1951).
//!
//! ```text
//!  1f 8b 08 | FLG | time u32 | XFL | OS | [extra] [name] [comment] [header crc u16] | deflated | crc32 u32 | size u32
//! ```
//!
//! Little-endian. FLG says which of the parts in brackets are there; nobody needs them here. `size` is that of the
//! content, modulo 2^32.
//!
//! We write one member with none of the optional parts. We read one or more members; their contents are one. Bytes
//! behind them that are no member are refused. (Java's reader leaves them unread; no client writes any.)
//!
//! Deflated data does not say what it becomes: it is inflated a room at a time, each as large as all before it.

use flate2::{Compress, Crc, Decompress, FlushCompress, FlushDecompress, Status};

use super::content::Content;
use super::{damaged, take};
use crate::{BatchError, DecompressLimit};

/// Compresses batches one after the other; keeps its memory between them.
#[derive(Debug)]
pub(crate) struct Compressor {
    deflate: Compress,
}

impl Compressor {
    /// Of a level from 1 to 9, or -1 for the usual one.
    pub(super) fn new(level: i32) -> Self {
        let level =
            u32::try_from(level).map_or_else(|_| flate2::Compression::default(), flate2::Compression::new);
        Self { deflate: Compress::new(level, false) }
    }

    /// Writes a member of `content` to the front of `room` and returns its size, `None` if it does not fit.
    pub(super) fn compress(&mut self, content: &[u8], room: &mut [u8]) -> Option<usize> {
        let (header, behind) = room.split_first_chunk_mut()?;
        let (deflated, trailer) = behind.split_at_mut(behind.len().checked_sub(TRAILER_SIZE)?);
        *header = HEADER;
        self.deflate.reset();
        let status = self.deflate.compress(content, deflated, FlushCompress::Finish);
        if !matches!(status, Ok(Status::StreamEnd)) {
            return None;
        }
        let size = self.deflate.total_out() as usize;
        trailer.copy_from_slice(&trailer_of(content));
        let end = HEADER.len() + size;
        room.copy_within(room.len() - TRAILER_SIZE.., end);
        Some(end + TRAILER_SIZE)
    }
}

/// The content of all members that `members` are.
pub(super) fn decompress(mut members: &[u8], limit: DecompressLimit) -> Result<Vec<u8>, BatchError> {
    let mut content = Content::new(limit, members.len());
    let mut inflate = Decompress::new(false);
    loop {
        let from = content.len();
        skip_header(&mut members)?;
        inflate.reset(false);
        inflate_into(&mut inflate, &mut members, &mut content)?;
        let trailer: [u8; TRAILER_SIZE] = take(&mut members).ok_or(CUT)?;
        if trailer != trailer_of(content.since(from)) {
            return Err(damaged("the checksum or the size of a gzip member does not match"));
        }
        if members.is_empty() {
            return Ok(content.finish());
        }
    }
}

fn skip_header(members: &mut &[u8]) -> Result<(), BatchError> {
    let [magic_1, magic_2, method, flags] = take(members).ok_or(CUT)?;
    if [magic_1, magic_2, method] != HEADER[..3] {
        return Err(damaged("it is not a gzip member"));
    }
    if flags & FLAGS_RESERVED != 0 {
        return Err(damaged("a gzip member with a reserved flag"));
    }
    let [..]: [u8; 6] = take(members).ok_or(CUT)?;
    if flags & FLAG_EXTRA != 0 {
        let size = u16::from_le_bytes(take(members).ok_or(CUT)?);
        members.split_off(..usize::from(size)).ok_or(CUT)?;
    }
    for text in [FLAG_NAME, FLAG_COMMENT] {
        if flags & text != 0 {
            let end = members.iter().position(|&byte| byte == 0).ok_or(CUT)?;
            *members = &members[end + 1..];
        }
    }
    if flags & FLAG_HEADER_CRC != 0 {
        let [..]: [u8; 2] = take(members).ok_or(CUT)?;
    }
    Ok(())
}

fn inflate_into(
    inflate: &mut Decompress,
    deflated: &mut &[u8],
    content: &mut Content,
) -> Result<(), BatchError> {
    loop {
        // With no room left, one more byte tells content that ends here from content that goes on.
        let mut beyond = [0];
        let is_full = content.left() == 0;
        let room = if is_full { &mut beyond[..] } else { content.more_room() };
        let (read, written) = (inflate.total_in(), inflate.total_out());
        let status = inflate.decompress(deflated, room, FlushDecompress::None);
        let read = (inflate.total_in() - read) as usize;
        let written = (inflate.total_out() - written) as usize;
        *deflated = &deflated[read..];
        if is_full && written > 0 {
            return Err(content.too_large());
        }
        content.advance(written);
        match status {
            Ok(Status::StreamEnd) => return Ok(()),
            Ok(_) if read > 0 || written > 0 => {}
            Ok(_) if deflated.is_empty() => return Err(CUT),
            Ok(_) | Err(_) => return Err(damaged("the deflated data of a gzip member is damaged")),
        }
    }
}

fn trailer_of(content: &[u8]) -> [u8; TRAILER_SIZE] {
    let mut crc = Crc::new();
    crc.update(content);
    (u64::from(crc.sum()) | u64::from(content.len() as u32) << 32).to_le_bytes()
}

const CUT: BatchError = damaged("a gzip member is cut short");

/// Deflated, no flags, no time, nothing said of level and system: what Java writes.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
const TRAILER_SIZE: usize = 8;
const FLAG_HEADER_CRC: u8 = 1 << 1;
const FLAG_EXTRA: u8 = 1 << 2;
const FLAG_NAME: u8 = 1 << 3;
const FLAG_COMMENT: u8 = 1 << 4;
const FLAGS_RESERVED: u8 = 0b1110_0000;

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use flate2::read::MultiGzDecoder;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::super::samples::{LIMIT, contents, noise, text};
    use super::*;

    #[test]
    fn a_member_with_every_optional_part_is_read() {
        let mut member = with_all_parts(b"content");
        assert_eq!(decompress(&member, LIMIT).unwrap(), b"content");
        member[3] |= 0x20;
        assert_eq!(decompress(&member, LIMIT), Err(damaged("a gzip member with a reserved flag")));
    }

    #[test]
    fn members_in_a_row_are_one_content() {
        let members = [with_all_parts(b"one "), member(b""), member(b"two")].concat();
        assert_eq!(decompress(&members, LIMIT).unwrap(), b"one two");
        for limit in 0..7 {
            let refused = decompress(&members, DecompressLimit::new(limit));
            assert_eq!(refused, Err(BatchError::DecompressedTooLarge { limit }));
        }
        assert_eq!(decompress(&members, DecompressLimit::new(7)).unwrap(), b"one two");
    }

    #[test]
    fn a_member_cut_anywhere_is_an_error_and_so_is_one_with_bytes_behind() {
        let member = with_all_parts(&text(1000));
        for len in 0..member.len() {
            let found = decompress(&member[..len], LIMIT);
            assert_eq!(found, Err(CUT), "{len} of {}", member.len());
        }
        for behind in [&b"\0\0\0\0"[..], b"garbage", &member[..1], &member[..12]] {
            let longer = [&member, behind].concat();
            assert!(
                matches!(decompress(&longer, LIMIT), Err(BatchError::Decompress { .. })),
                "{behind:02x?}"
            );
        }
    }

    #[test]
    fn a_wrong_checksum_a_wrong_size_and_another_method_are_refused() {
        let good = member(&text(1000));
        for at in [0, 1, 2, good.len() - 8, good.len() - 5, good.len() - 4, good.len() - 1] {
            let mut member = good.clone();
            member[at] ^= 1;
            assert!(matches!(decompress(&member, LIMIT), Err(BatchError::Decompress { .. })), "byte {at}");
        }
    }

    #[test]
    fn memory_follows_the_content_and_never_exceeds_the_limit() {
        let member = member(&vec![0; 10 << 20]);
        assert!(member.len() < 11_000, "a thousand to one");
        let exact = decompress(&member, DecompressLimit::new(10 << 20)).unwrap();
        assert!(exact.capacity() <= 10 << 20);
        for limit in [0, 1, 4096, 65_536, (10 << 20) - 1] {
            let refused = decompress(&member, DecompressLimit::new(limit));
            assert_eq!(refused, Err(BatchError::DecompressedTooLarge { limit }));
        }
        let small = decompress(&self::member(b"next to nothing"), LIMIT).unwrap();
        assert!(small.capacity() <= 4096);
    }

    #[test]
    fn a_higher_level_makes_less_of_it() {
        let line =
            |i: u32| format!("GET /page/{} 200 {}\n", i * i % 977, i.wrapping_mul(0x9e37_79b1) % 10_007);
        let content: Vec<u8> = (0..3000).flat_map(|i| line(i).into_bytes()).collect();
        let size = |level| {
            let mut room = vec![0; content.len()];
            Compressor::new(level).compress(&content, &mut room).unwrap()
        };
        assert!(size(9) < size(1));
        assert_eq!(size(-1), size(6));
    }

    proptest! {
        // Contents are large and codecs slow.
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn our_members_are_read_by_us_and_by_another(content in contents(), level in -1..=9i32) {
            let mut room = vec![0; content.len()];
            if let Some(size) = Compressor::new(level).compress(&content, &mut room) {
                let mut theirs = vec![];
                MultiGzDecoder::new(&room[..size]).read_to_end(&mut theirs).unwrap();
                prop_assert_eq!(&theirs, &content);
                prop_assert_eq!(decompress(&room[..size], DecompressLimit::new(content.len())).unwrap(), content);
            }
        }

        #[test]
        fn the_members_of_another_are_read(content in contents()) {
            prop_assert_eq!(decompress(&member(&content), DecompressLimit::new(content.len())).unwrap(), content);
        }
    }

    #[test]
    fn what_does_not_fit_is_not_compressed() {
        for len in [0, 10, 5000] {
            assert_eq!(Compressor::new(-1).compress(&noise(len), &mut vec![0; len]), None);
        }
    }

    fn with_all_parts(content: &[u8]) -> Vec<u8> {
        let plain = member(content);
        let mut member = plain[..10].to_vec();
        member[3] = FLAG_HEADER_CRC | FLAG_EXTRA | FLAG_NAME | FLAG_COMMENT;
        member.extend(b"\x05\0extraname\0comment\0\xab\xcd");
        member.extend(&plain[10..]);
        member
    }

    fn member(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(vec![], flate2::Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }
}
