//! CRC-32C (Castagnoli), the checksum of record batches.

/// The CRC-32C of `bytes`, at memory speed where the processor has the instructions.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, one byte and one table look-up at a time, to hold the fast kernels against.
    fn crc32c_by_table(bytes: &[u8]) -> u32 {
        const TABLE: [u32; 256] = {
            let mut table = [0; 256];
            let mut byte = 0;
            while byte < 256 {
                let mut crc = byte as u32;
                let mut bit = 0;
                while bit < 8 {
                    crc = if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0x82f6_3b78 };
                    bit += 1;
                }
                table[byte] = crc;
                byte += 1;
            }
            table
        };
        !bytes.iter().fold(!0, |crc, &byte| crc >> 8 ^ TABLE[((crc ^ u32::from(byte)) & 0xff) as usize])
    }

    #[test]
    fn published_values_are_met() {
        // RFC 3720, B.4, and the check value of the CRC catalogues.
        let ascending: Vec<u8> = (0..32).collect();
        let descending: Vec<u8> = (0..32).rev().collect();
        let cases: [(&[u8], u32); 6] = [
            (b"", 0),
            (b"123456789", 0xe306_9283),
            (&[0; 32], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&ascending, 0x46dd_794e),
            (&descending, 0x113f_db5c),
        ];
        for (bytes, crc) in cases {
            assert_eq!(crc32c(bytes), crc, "{bytes:02x?}");
            assert_eq!(crc32c_by_table(bytes), crc, "{bytes:02x?}");
        }
    }

    #[test]
    fn every_length_and_alignment_agrees_with_the_table() {
        // The kernels change with length (scalar, one lane, folded lanes) and handle the unaligned
        // ends apart: every length up to several folds, and the places around larger powers of two.
        let bytes: Vec<u8> = (0..1u32 << 17).map(|i| (i.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect();
        for start in 0..9 {
            for len in 0..1200 {
                let part = &bytes[start..start + len];
                assert_eq!(crc32c(part), crc32c_by_table(part), "{len} bytes from {start}");
            }
        }
        for power in 11..17 {
            for len in (1usize << power) - 3..(1 << power) + 4 {
                let part = &bytes[power as usize..power as usize + len];
                assert_eq!(crc32c(part), crc32c_by_table(part), "{len} bytes");
            }
        }
    }
}
