//! What runs come to, in numbers: one in which nothing happens proves nothing.

use folio_storage::files::SimFiles;
use folio_storage::files::sim::Room;

/// What a run came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stats {
    pub(crate) power_cuts: u64,
    pub(crate) kills: u64,
    pub(crate) clean_stops: u64,
    pub(crate) deaths_in_recovery: u64,
    pub(crate) faults: u64,
    pub(crate) appended: u64,
    pub(crate) promised: u64,
    pub(crate) recoveries: u64,
    pub(crate) tails_cut: u64,
    pub(crate) sealed: u64,
    pub(crate) slept: u64,
    pub(crate) gave_way: u64,
    pub(crate) compacted: u64,
    /// Segments that went because they lay below the start.
    pub(crate) retained: u64,
    pub(crate) offline_until_reboot: u64,
    pub(crate) sectors_broken: u64,
    pub(crate) offline_for_sectors: u64,
    pub(crate) offline_for_calls: u64,
    /// How often a start found no room for what it had to cut off, and the log was online all the same.
    pub(crate) left_uncut: u64,
    pub(crate) served_below: u64,
    /// Partitions that a start had no room to recover, and that the same run has recovered.
    pub(crate) resumed: u64,
    pub(crate) resumed_in_vain: u64,
    pub(crate) ranges_refused: u64,
    pub(crate) slots_torn: u64,
    /// How often the disk was told to have no room for more than bytes.
    pub(crate) stuck: u64,
    /// What was refused by a disk that had room for all else.
    pub(crate) cuts_refused: u64,
    pub(crate) renames_refused: u64,
    pub(crate) removals_refused: u64,
    /// What was refused by one that had room for taking names away, or for giving others, alone.
    pub(crate) refused_but_removals: u64,
    pub(crate) refused_but_renames: u64,
}

impl Stats {
    /// What a full disk has refused so far.
    pub(crate) fn met(&mut self, machine: &SimFiles) {
        self.cuts_refused = machine.refusals(Room::NoCuts);
        self.renames_refused = machine.refusals(Room::NoRenames);
        self.removals_refused = machine.refusals(Room::NoRemovals);
        self.refused_but_removals = machine.refusals(Room::Removals);
        self.refused_but_renames = machine.refusals(Room::Renames);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        let sums = [
            (&mut self.power_cuts, other.power_cuts),
            (&mut self.kills, other.kills),
            (&mut self.clean_stops, other.clean_stops),
            (&mut self.deaths_in_recovery, other.deaths_in_recovery),
            (&mut self.faults, other.faults),
            (&mut self.appended, other.appended),
            (&mut self.promised, other.promised),
            (&mut self.recoveries, other.recoveries),
            (&mut self.tails_cut, other.tails_cut),
            (&mut self.sealed, other.sealed),
            (&mut self.slept, other.slept),
            (&mut self.gave_way, other.gave_way),
            (&mut self.compacted, other.compacted),
            (&mut self.retained, other.retained),
            (&mut self.offline_until_reboot, other.offline_until_reboot),
            (&mut self.sectors_broken, other.sectors_broken),
            (&mut self.offline_for_sectors, other.offline_for_sectors),
            (&mut self.offline_for_calls, other.offline_for_calls),
            (&mut self.left_uncut, other.left_uncut),
            (&mut self.served_below, other.served_below),
            (&mut self.resumed, other.resumed),
            (&mut self.resumed_in_vain, other.resumed_in_vain),
            (&mut self.ranges_refused, other.ranges_refused),
            (&mut self.slots_torn, other.slots_torn),
            (&mut self.stuck, other.stuck),
            (&mut self.cuts_refused, other.cuts_refused),
            (&mut self.renames_refused, other.renames_refused),
            (&mut self.removals_refused, other.removals_refused),
            (&mut self.refused_but_removals, other.refused_but_removals),
            (&mut self.refused_but_renames, other.refused_but_renames),
        ];
        for (sum, more) in sums {
            *sum += more;
        }
    }
}
