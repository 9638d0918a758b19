//! SipHash-2-4 with 128 bits (Aumasson, Bernstein): the hash that compaction tells keys apart by.
//!
//! With a key that no client knows, nobody can make two record keys that pass for one: the older record of the two
//! would be taken for superseded, and go.

/// The hash of `bytes` under `key`.
pub(super) fn hash(key: [u64; 2], bytes: &[u8]) -> [u64; 2] {
    let mut state = State {
        v0: key[0] ^ 0x736f_6d65_7073_6575,
        v1: key[1] ^ 0x646f_7261_6e64_6f6d ^ 0xee,
        v2: key[0] ^ 0x6c79_6765_6e65_7261,
        v3: key[1] ^ 0x7465_6462_7974_6573,
    };
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state.absorb(u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    // The length, modulo 256, is in the last byte.
    last[7] = bytes.len() as u8;
    state.absorb(u64::from_le_bytes(last));
    state.v2 ^= 0xee;
    let low = state.finish();
    state.v1 ^= 0xdd;
    [low, state.finish()]
}

struct State {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl State {
    fn absorb(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.round();
        self.v0 ^= word;
    }

    fn finish(&mut self) -> u64 {
        for _ in 0..4 {
            self.round();
        }
        self.v0 ^ self.v1 ^ self.v2 ^ self.v3
    }

    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v2 = self.v2.rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_reference_implementation_come_out() {
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let hashed = |len: u8| {
            let bytes: Vec<u8> = (0..len).collect();
            hash(key, &bytes).map(u64::to_le_bytes).concat()
        };
        let expected: [(u8, [u8; 16]); 2] = [
            (
                0,
                [
                    0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02,
                    0x93,
                ],
            ),
            (
                1,
                [
                    0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44, 0x34, 0x76, 0x59, 0x11, 0x9b, 0x22, 0xfc,
                    0x45,
                ],
            ),
        ];
        for (len, expected) in expected {
            assert_eq!(hashed(len), expected, "{len}");
        }
    }

    #[test]
    fn another_key_another_hash() {
        for len in 0..40 {
            let bytes = vec![7; len];
            assert_ne!(hash([1, 2], &bytes), hash([1, 3], &bytes));
            assert_ne!(hash([1, 2], &bytes), hash([1, 2], &[&bytes[..], &[0]].concat()));
        }
    }
}
