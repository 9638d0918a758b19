//! The records of an answer: bytes that are here, or bytes that somebody else will put in.

/// Whole record batches, one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Records<'a> {
    /// These bytes. Encoding copies them.
    Held(&'a [u8]),
    /// So many bytes, which the encoder leaves out: the sender puts them where [`Part::Splice`] says.
    ///
    /// [`Part::Splice`]: super::Part::Splice
    Spliced(usize),
}

impl<'a> Records<'a> {
    /// How many bytes they are.
    #[must_use]
    pub const fn size(&self) -> usize {
        match self {
            Self::Held(bytes) => bytes.len(),
            Self::Spliced(size) => *size,
        }
    }

    /// The bytes, if they are here; what was decoded always is.
    #[must_use]
    pub const fn held(&self) -> Option<&'a [u8]> {
        match self {
            Self::Held(bytes) => Some(bytes),
            Self::Spliced(_) => None,
        }
    }
}

impl Default for Records<'_> {
    fn default() -> Self {
        Self::Held(&[])
    }
}
