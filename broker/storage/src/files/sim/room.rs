//! What a disk has room for.

/// What a disk has room for.
///
/// Bytes may come in the place of others whatever it is. File systems differ in what else wants room: one that never
/// overwrites anything, or has a journal, wants some for whatever changes a name or a length; btrfs has a reserve for
/// what takes something away, which may have come to an end, too; and a cut within a block wants another block there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Everything.
    Enough,
    /// Everything but more bytes.
    NoBytes,
    /// Taking names away, and nothing else: no byte more, no name comes or becomes another, and no file is cut.
    Removals,
    /// Names that become others, and nothing else: no byte more, no name comes or goes, and no file is cut.
    Renames,
    /// Nothing: no byte more, no name comes, goes or becomes another, and no file is cut.
    Nothing,
    /// Everything but cuts: what lies in a file stays there.
    NoCuts,
    /// Everything, but no name becomes another.
    NoRenames,
    /// Everything, but no name goes unless another takes its place.
    NoRemovals,
}

/// What wants room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    Bytes,
    /// A name, or a length that takes nothing away.
    Name,
    Rename,
    Removal,
    Cut,
}

impl Room {
    pub(super) fn is_for(self, want: Want) -> bool {
        match self {
            Self::Enough => true,
            Self::NoBytes => want != Want::Bytes,
            Self::Removals => want == Want::Removal,
            Self::Renames => want == Want::Rename,
            Self::Nothing => false,
            Self::NoCuts => want != Want::Cut,
            Self::NoRenames => want != Want::Rename,
            Self::NoRemovals => want != Want::Removal,
        }
    }
}
