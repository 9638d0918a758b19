//! Epochs that the file of a partition does not have: looked up in its batches.
//!
//! Epochs never fall from batch to batch. So where one begins is found as a word is found in a dictionary: by the first
//! batches of segments, then by those that the index of one leads to. Where the index does not lead, its batches are
//! gone through.

use std::io;

use folio_record::LeaderEpoch;

use super::Damage;
use super::examine::{Examined, Examiner};
use super::indexes::{self, Place};
use crate::files::Files;
use crate::scan::HeaderWalk;

impl<F: Files> Examiner<'_, F> {
    /// Adds the epochs to `examined` that batches have, and that are later than those that it knows.
    pub(super) fn learn_epochs(&mut self, examined: &mut Examined) -> Result<(), Damage> {
        let known = examined.epochs.current();
        let mut first = examined.segments.len();
        // The segment that begins under a known epoch is the last that may have the beginning of another.
        while first > 0 {
            first -= 1;
            if self.epoch_of_first(examined, first)?.is_some_and(|epoch| epoch <= known) {
                break;
            }
        }
        for number in first..examined.segments.len() {
            while self.learn_next(examined, number)? {}
        }
        Ok(())
    }

    fn epoch_of_first(&mut self, examined: &Examined, number: usize) -> Result<Option<LeaderEpoch>, Damage> {
        let segment = examined.segments[number].recovered;
        if segment.len == 0 {
            return Ok(None);
        }
        let unreadable = |error| self.survey.unreadable(number, 0, segment.base, &error);
        let log = self.open_log(number)?;
        let mut walk = HeaderWalk::new(&log, 0).map_err(unreadable)?;
        let header = walk.next().map_err(unreadable)?;
        self.report.bytes_walked += walk.bytes_read();
        Ok(header.map(|header| header.leader_epoch))
    }

    /// Adds the next epoch that begins in segment `number`, if there is another.
    fn learn_next(&mut self, examined: &mut Examined, number: usize) -> Result<bool, Damage> {
        let known = examined.epochs.current();
        let segment = examined.segments[number].recovered;
        let unreadable = |at, due, error: io::Error| self.survey.unreadable(number, at, due, &error);
        let log = self.open_log(number)?;
        let mut bytes_walked = 0;
        // Of a place that the index names: whether the batch there is one before the next epoch.
        let is_before = |place: Place| {
            if place.pos >= segment.len {
                return Some(false);
            }
            let mut walk = HeaderWalk::new(&log, place.pos).ok()?;
            let header = walk.next().ok()?.filter(|header| header.base_offset == place.offset)?;
            bytes_walked += walk.bytes_read();
            Some(header.leader_epoch <= known)
        };
        let uid = self.task.uid(segment.base);
        let place = indexes::last_place(self.files, &self.survey.dir, segment.base, uid, is_before)?;
        let (from, mut due) = place.map_or((0, segment.base), |place| (place.pos, place.offset));
        let mut walk = HeaderWalk::new(&log, from).map_err(|error| unreadable(from, due, error))?;
        let mut begins = None;
        while begins.is_none() && walk.at() < segment.len {
            let at = walk.at();
            let Some(header) = walk.next().map_err(|error| unreadable(at, due, error))? else { break };
            due = header.next_offset();
            begins = (header.leader_epoch > known).then_some((header.leader_epoch, header.base_offset));
        }
        self.report.bytes_walked += bytes_walked + walk.bytes_read();
        if let Some((epoch, start)) = begins {
            examined.epochs.begin(epoch, start);
        }
        Ok(begins.is_some())
    }
}
