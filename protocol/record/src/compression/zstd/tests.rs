//! Every claim holds of both libraries.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use zstd::zstd_safe::{CCtx, CParameter};

use super::super::content::Content;
use super::super::samples::{LIMIT, contents, noise, text};
use super::*;

const LIBRARIES: [(&str, DecompressFrame); 2] =
    [("in C", libzstd::decompress), ("in Rust", pure::decompress)];

/// What both libraries make of `frames`, which has to be the same, but for the words of what is damaged.
fn both(frames: &[u8], limit: DecompressLimit) -> Result<Vec<u8>, BatchError> {
    let [c, rust] = LIBRARIES.map(|(_, library)| decompress_with(library, frames, limit));
    match (&c, &rust) {
        (Err(BatchError::Decompress { .. }), Err(BatchError::Decompress { .. })) => {}
        _ => assert_eq!(c, rust),
    }
    rust
}

fn is_damaged(frames: &[u8]) -> bool {
    matches!(both(frames, LIMIT), Err(BatchError::Decompress { .. }))
}

#[test]
fn frames_with_and_without_the_size_of_their_content_are_read() {
    for content in [vec![], b"x".to_vec(), text(1000), text(1 << 20), noise(300_000), vec![0; 1 << 20]] {
        for level in [-5, 1, 3, 19] {
            for options in [&[][..], &[SIZED], &[CHECKED], &[SIZED, CHECKED]] {
                let frame = framed(&content, level, options);
                assert_eq!(
                    both(&frame, LIMIT).as_ref(),
                    Ok(&content),
                    "{} bytes, {options:?}",
                    content.len()
                );
            }
        }
    }
}

#[test]
fn frames_in_a_row_are_one_content_and_skippable_ones_none() {
    let skippable = [&0x184d_2a57u32.to_le_bytes()[..], &[3, 0, 0, 0], b"any"].concat();
    let one = framed(b"one ", 3, &[CHECKED]);
    let two = framed(b"two", 3, &[SIZED]);
    let frames =
        [&skippable, &one, &skippable, &two, &framed(b"", 3, &[]), &skippable].map(Vec::as_slice).concat();
    assert_eq!(both(&frames, LIMIT).unwrap(), b"one two");
    assert_eq!(both(&frames, DecompressLimit::new(7)).unwrap(), b"one two");
    for limit in 0..7 {
        assert_eq!(
            both(&frames, DecompressLimit::new(limit)),
            Err(BatchError::DecompressedTooLarge { limit })
        );
    }
    assert_eq!(both(&skippable, LIMIT), Ok(vec![]));
}

#[test]
fn a_frame_cut_anywhere_is_an_error_and_so_is_one_with_bytes_behind() {
    let frame = framed(&text(5000), 3, &[SIZED, CHECKED]);
    for len in 0..frame.len() {
        assert!(is_damaged(&frame[..len]), "{len} of {}", frame.len());
    }
    for behind in [&[0][..], b"garbage", &frame[..1], &frame[..9], &0x184d_2a50u32.to_le_bytes()] {
        assert!(is_damaged(&[&frame, behind].concat()), "{behind:02x?}");
    }
}

#[test]
fn a_wrong_checksum_and_a_wrong_size_are_found() {
    let mut frame = framed(&text(5000), 3, &[CHECKED]);
    *frame.last_mut().unwrap() ^= 1;
    assert!(is_damaged(&frame));
    let mut frame = framed(&text(5000), 3, &[SIZED]);
    assert_eq!(frame[4] >> 6, 1, "a size of two bytes");
    frame[5] ^= 1;
    assert!(is_damaged(&frame));
}

#[test]
fn dictionaries_reserved_bits_and_other_formats_are_refused() {
    let with_descriptor =
        |descriptor: u8, rest: &[u8]| [&MAGIC[..], &[descriptor], rest, &LAST_EMPTY].concat();
    assert_eq!(both(&with_descriptor(0x00, &[0x00]), LIMIT), Ok(vec![]));
    assert_eq!(both(&with_descriptor(0x01, &[0x00, 0]), LIMIT), Ok(vec![]), "dictionary 0 is none");
    assert!(is_damaged(&with_descriptor(0x01, &[0x00, 7])), "a dictionary");
    assert!(is_damaged(&with_descriptor(0x03, &[0x00, 0, 0, 0, 7])), "a dictionary of four bytes");
    assert!(is_damaged(&with_descriptor(0x08, &[0x00])), "a reserved flag");
    assert!(is_damaged(&[&MAGIC[..], &[0x00, 0x00], &[7, 0, 0]].concat()), "a block of a reserved kind");
    assert!(is_damaged(b"not zstd"));
    assert!(is_damaged(&[0x27, 0xb5, 0x2f, 0xfd, 0, 0, 1, 0, 0]), "a frame of an older format");
}

#[test]
fn a_window_of_gigabytes_is_neither_needed_nor_allocated() {
    let content = text(200_000);
    // As a client at the highest level has it: a window of 128 MiB around a batch.
    let frame = framed(&content, 22, &[]);
    assert_eq!(frame[5] >> 3, 17, "2^27 bytes");
    assert_eq!(both(&frame, LIMIT).as_ref(), Ok(&content));

    // 2^31 bytes, the most that both libraries know; then the most that there is.
    for (window, is_read) in [(21 << 3, true), (0xff, cfg!(target_pointer_width = "64"))] {
        let mut frame = framed(&content, 3, &[]);
        frame[5] = window;
        let mut read = Content::new(LIMIT, 0);
        let found = Frame::take(&mut &frame[..]).unwrap().unwrap();
        assert_eq!(found.content_max, 2 * 128 * 1024);
        pure::decompress(&found, &mut read).unwrap();
        assert!(read.capacity() <= found.content_max, "{}", read.capacity());
        assert_eq!(read.finish(), content);
        if window == 21 << 3 {
            assert_eq!(both(&frame, LIMIT).is_ok(), is_read);
        }
    }
}

#[test]
fn a_content_of_exabytes_is_announced_and_not_allocated() {
    // A single segment of 2^60 bytes, that is a window as large, and one block of nothing.
    let mut frame = [&MAGIC[..], &[0xe0], &(1u64 << 60).to_le_bytes(), &LAST_EMPTY].concat();
    assert!(is_damaged(&frame));
    // A block says that it repeats one byte two million times: more than a block may become.
    frame.truncate(13);
    frame.extend([0xfb, 0xff, 0xff, b'a']);
    assert!(is_damaged(&frame));
}

#[test]
fn the_most_that_a_frame_can_expand_is_read_within_the_limit() {
    let content = vec![7; 10 << 20];
    let frame = framed(&content, 3, &[]);
    assert!(frame.len() < 1000, "{}", frame.len());
    let exact = both(&frame, DecompressLimit::new(content.len())).unwrap();
    assert!(exact.capacity() <= content.len());
    for limit in [0, 1, 65_536, 200_000, content.len() - 1] {
        let refused = Err(BatchError::DecompressedTooLarge { limit });
        assert_eq!(both(&frame, DecompressLimit::new(limit)), refused);
    }
}

#[test]
fn what_does_not_fit_is_not_compressed() {
    for len in [0, 10, 5000, 200_000] {
        assert_eq!(libzstd::Compressor::new(3).compress(&noise(len), &mut vec![0; len]), None);
        assert_eq!(pure::Compressor::new(3).compress(&noise(len), &mut vec![0; len]), None);
    }
}

#[test]
fn a_higher_level_makes_less_of_it_in_c() {
    let content = text(300_000);
    let size =
        |level| libzstd::Compressor::new(level).compress(&content, &mut vec![0; content.len()]).unwrap();
    assert!(size(19) < size(1));
    assert!(size(1) < size(-50));
    assert_eq!(size(0), size(3));
}

proptest! {
    // Contents are large and codecs slow.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_either_writes_both_read(content in contents(), level in -3..8i32) {
        let limit = DecompressLimit::new(content.len());
        let mut room = vec![0; content.len()];
        if let Some(size) = libzstd::Compressor::new(level).compress(&content, &mut room) {
            prop_assert_eq!(&both(&room[..size], limit).unwrap(), &content);
        }
        if let Some(size) = pure::Compressor::new(level).compress(&content, &mut room) {
            prop_assert_eq!(&both(&room[..size], limit).unwrap(), &content);
        }
    }

    #[test]
    fn damaged_frames_are_an_error_or_content_within_the_limit(
        len in 0..20_000usize, sized: bool, damage in vec((any::<Index>(), any::<u8>()), 1..4),
    ) {
        let mut frame = framed(&text(len), 3, if sized { &[SIZED] } else { &[] });
        for (at, byte) in damage {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        let limit = DecompressLimit::new(30_000);
        for (_, library) in LIBRARIES {
            if let Ok(content) = decompress_with(library, &frame, limit) {
                prop_assert!(content.len() <= limit.get());
            }
        }
    }
}

/// A frame by the library in C with what `options` say; as a stream whose end nobody knows.
fn framed(content: &[u8], level: i32, options: &[CParameter]) -> Vec<u8> {
    let mut context = CCtx::create();
    context.set_parameter(CParameter::CompressionLevel(level)).unwrap();
    context.set_parameter(CParameter::ContentSizeFlag(false)).unwrap();
    for option in options {
        context.set_parameter(*option).unwrap();
    }
    if options.contains(&SIZED) {
        let mut frame = Vec::with_capacity(zstd::zstd_safe::compress_bound(content.len()));
        context.compress2(&mut frame, content).unwrap();
        return frame;
    }
    let mut encoder = zstd::stream::write::Encoder::with_context(vec![], &mut context);
    std::io::Write::write_all(&mut encoder, content).unwrap();
    encoder.finish().unwrap()
}

const SIZED: CParameter = CParameter::ContentSizeFlag(true);
const CHECKED: CParameter = CParameter::ChecksumFlag(true);
const MAGIC: [u8; 4] = frame::MAGIC.to_le_bytes();
const LAST_EMPTY: [u8; 3] = [1, 0, 0];
