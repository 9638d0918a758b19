//! Negative controls: a test takes a protection away from its own thread, and has to see what that protects from.

use std::cell::Cell;

/// What can be taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protection {
    /// An entry of an index counts only if the batch that it names lies where it leads.
    EntriesAreChecked,
    /// A block of a sealed log is held against the checksum that its index has of it.
    BlocksAreChecked,
    /// What the slot of the metadata log vouches for is not cut off as interrupted.
    MetadataIsVouchedFor,
    /// What was flushed counts as durable only if a start will find its file.
    FilesAreFound,
    /// Who may not wait for a disk looks at what is in memory, and at nothing else.
    ColdIsLeftAlone,
    /// An index that knows of more than its log has is believed, unless it is that of another.
    LostEndsAreTold,
    /// The word of a clean marker that there is no room to remove is taken from it.
    MarkersAreVoided,
    /// Nobody else writes the indexes of segments that a replacement is about.
    ReplacedAreLeftAlone,
    /// What a write that found no room has left is cut off for good before anything else is written there.
    CutsAreSynced,
}

/// Calls `what` without the `protection`.
pub(crate) fn without<T>(protection: Protection, what: impl FnOnce() -> T) -> T {
    let _back = Back(TAKEN.replace(Some(protection)));
    what()
}

/// Whether this protection is taken away.
pub(crate) fn is_taken(protection: Protection) -> bool {
    TAKEN.get() == Some(protection)
}

/// Puts back what there was, also when a test panics.
struct Back(Option<Protection>);

impl Drop for Back {
    fn drop(&mut self) {
        TAKEN.set(self.0);
    }
}

thread_local! {
    static TAKEN: Cell<Option<Protection>> = const { Cell::new(None) };
}
