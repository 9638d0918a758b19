//! `epochs`: where each leader epoch of a partition begins.
//!
//! An epoch rises at every start that was not preceded by a clean stop, so that whoever holds records that were
//! lost can tell. Payload (an [envelope](crate::envelope), magic `LEP1`), big-endian:
//! ```text
//!  0         4
//!  | count n | n times: epoch (i32), start offset (i64) |
//! ```
//! Invariant: both rise strictly from row to row.

use folio_record::{LeaderEpoch, Offset};

use crate::envelope::{EnvelopeError, EnvelopeKind};
use crate::layout::Fields;

/// The epochs of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epochs {
    rows: Vec<(LeaderEpoch, Offset)>,
}

impl Epochs {
    /// Of a new partition.
    pub fn new() -> Self {
        Self { rows: vec![(LeaderEpoch::new(0), Offset::ZERO)] }
    }

    /// Of a log whose batches carry `epochs` beginning at those offsets; what contradicts the order is left out.
    pub fn from_log(epochs: impl IntoIterator<Item = (LeaderEpoch, Offset)>) -> Self {
        let mut rebuilt = Self { rows: Vec::new() };
        for (epoch, start) in epochs {
            if rebuilt.rows.last().is_none_or(|(last, from)| epoch > *last && start > *from) {
                rebuilt.rows.push((epoch, start));
            }
        }
        rebuilt
    }

    /// The epochs with their starts, oldest first.
    pub fn rows(&self) -> &[(LeaderEpoch, Offset)] {
        &self.rows
    }

    /// The epoch that is appended under.
    pub fn current(&self) -> LeaderEpoch {
        self.rows.last().map_or(LeaderEpoch::NONE, |(epoch, _)| *epoch)
    }

    /// The epoch under which `offset` was appended; `None` if it lies before all that are known.
    pub fn of(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.rows.partition_point(|(_, start)| *start <= offset);
        Some(self.rows[after.checked_sub(1)?].0)
    }

    /// Begins `epoch` at `start`; epochs that would begin there or later have left no record.
    ///
    /// # Panics
    /// If it is not later than the current one.
    pub fn begin(&mut self, epoch: LeaderEpoch, start: Offset) {
        assert!(epoch > self.current(), "epochs rise");
        self.rows.retain(|(_, from)| *from < start);
        self.rows.push((epoch, start));
    }

    /// Where `epoch` ended, in a log of these ends: the epoch asked for, or the latest before it that has records, and
    /// the first offset of the one after. Of an epoch whose records are all gone, as far as anybody knows: the log
    /// start. `None`: it is later than the current one, or none.
    pub fn end_of(
        &self,
        epoch: LeaderEpoch,
        log_start: Offset,
        log_end: Offset,
    ) -> Option<(LeaderEpoch, Offset)> {
        if epoch < LeaderEpoch::new(0) || epoch > self.current() {
            return None;
        }
        if epoch == self.current() {
            return Some((epoch, log_end));
        }
        let after = self.rows.partition_point(|(each, _)| *each <= epoch);
        let end = self.rows.get(after).map_or(log_end, |(_, start)| *start).max(log_start);
        // Where nothing is left of an epoch, it is as if the log had begun with the next one.
        let found = after.checked_sub(1).and_then(|before| self.rows.get(before));
        Some((found.filter(|_| end > log_start).map_or(epoch, |(found, _)| *found), end))
    }

    /// The epoch of the record at `offset`, or of the one that will be there.
    pub fn at(&self, offset: Offset) -> LeaderEpoch {
        let after = self.rows.partition_point(|(_, start)| *start <= offset);
        after.checked_sub(1).and_then(|before| self.rows.get(before)).map_or(LeaderEpoch::NONE, |row| row.0)
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut payload = (self.rows.len() as u32).to_be_bytes().to_vec();
        for (epoch, start) in &self.rows {
            payload.extend_from_slice(&epoch.get().to_be_bytes());
            payload.extend_from_slice(&start.get().to_be_bytes());
        }
        EPOCHS.seal(&payload)
    }

    /// Reads the file.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let mut fields = Fields::new(EPOCHS.open(bytes)?);
        let count = u32::from_be_bytes(fields.take().ok_or(EnvelopeError::Payload)?);
        if fields.rest().len() as u64 != u64::from(count) * ROW_SIZE as u64 {
            return Err(EnvelopeError::Payload);
        }
        let mut rows = Vec::with_capacity(fields.rest().len() / ROW_SIZE);
        while let (Some(epoch), Some(start)) = (fields.take(), fields.take()) {
            rows.push((LeaderEpoch::new(i32::from_be_bytes(epoch)), Offset::new(i64::from_be_bytes(start))));
        }
        if rows.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1) {
            Ok(Self { rows })
        } else {
            Err(EnvelopeError::Payload)
        }
    }
}

impl Default for Epochs {
    fn default() -> Self {
        Self::new()
    }
}

/// The name of the file.
pub const EPOCHS_NAME: &str = "epochs";
/// More epochs than any log has seen.
pub(crate) const EPOCHS_SIZE_MAX: usize = 1024 * 1024;

const EPOCHS: EnvelopeKind = EnvelopeKind { magic: *b"LEP1", version: 1 };
const ROW_SIZE: usize = 12;
const _: () = assert!(size_of::<i32>() + size_of::<i64>() == ROW_SIZE);

#[cfg(test)]
mod tests {
    use super::*;

    fn row(epoch: i32, start: i64) -> (LeaderEpoch, Offset) {
        (LeaderEpoch::new(epoch), Offset::new(start))
    }

    fn history() -> Epochs {
        let mut epochs = Epochs::new();
        epochs.begin(LeaderEpoch::new(2), Offset::new(100));
        epochs.begin(LeaderEpoch::new(5), Offset::new(150));
        epochs
    }

    #[test]
    fn what_was_written_is_read_back_and_every_flipped_bit_is_found() {
        let bytes = history().encode();
        assert_eq!(Epochs::decode(&bytes), Ok(history()));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Epochs::decode(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn an_epoch_without_records_gives_way_to_the_next() {
        let mut epochs = history();
        epochs.begin(LeaderEpoch::new(6), Offset::new(150));
        epochs.begin(LeaderEpoch::new(7), Offset::new(120));
        assert_eq!(epochs.rows(), [row(0, 0), row(2, 100), row(7, 120)]);
    }

    #[test]
    fn the_end_of_an_epoch_is_the_start_of_the_one_after_it() {
        let end = |epoch| history().end_of(LeaderEpoch::new(epoch), Offset::ZERO, Offset::new(170));
        assert_eq!(end(0), Some(row(0, 100)));
        assert_eq!(end(1), Some(row(0, 100)));
        assert_eq!(end(2), Some(row(2, 150)));
        assert_eq!(end(4), Some(row(2, 150)));
        assert_eq!(end(5), Some(row(5, 170)));
        assert_eq!(end(6), None, "nobody has heard of it");
        assert_eq!(end(-1), None);
    }

    #[test]
    fn an_epoch_whose_records_are_gone_never_ends_below_the_log_start() {
        let end =
            |epoch, start| history().end_of(LeaderEpoch::new(epoch), Offset::new(start), Offset::new(170));
        assert_eq!(end(0, 99), Some(row(0, 100)));
        assert_eq!(end(0, 120), Some(row(0, 120)));
        assert_eq!(end(1, 120), Some(row(1, 120)), "it is as if the log had begun with epoch 2");
        assert_eq!(end(2, 120), Some(row(2, 150)));
        assert_eq!(end(3, 160), Some(row(3, 160)));
        assert_eq!(end(5, 160), Some(row(5, 170)));
    }

    #[test]
    fn an_offset_is_of_the_epoch_that_began_last_before_it() {
        let at = |offset| history().at(Offset::new(offset)).get();
        assert_eq!([at(0), at(99), at(100), at(149), at(150), at(1000)], [0, 0, 2, 2, 5, 5]);
    }

    #[test]
    fn rows_out_of_order_are_refused() {
        let epochs = Epochs { rows: vec![row(1, 5), row(2, 5)] };
        assert_eq!(Epochs::decode(&epochs.encode()), Err(EnvelopeError::Payload));
    }
}
