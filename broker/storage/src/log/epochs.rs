//! Writing down the epochs of a log.

use std::io;

use super::Log;
use crate::envelope::replace_many;
use crate::epochs::EPOCHS_NAME;
use crate::files::Files;

impl<F: Files> Log<F> {
    /// Brings the file of epochs up to date; `false`: there is no room for it. Nothing is done of a log whose topic was
    /// deleted.
    pub(crate) fn save_epochs(&self) -> io::Result<bool> {
        let _names = self.names();
        if self.is_retired() {
            return Ok(true);
        }
        self.failure.check()?;
        replace_many(&*self.files, &[(self.dir.join(EPOCHS_NAME), self.epochs.encode())], false)
    }
}
