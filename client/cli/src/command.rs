//! The commands, a file each.

pub(crate) mod bench;
pub(crate) mod completion;
pub(crate) mod config;
pub(crate) mod consume;
pub(crate) mod group;
pub(crate) mod log;
pub(crate) mod produce;
pub(crate) mod records;
pub(crate) mod status;
pub(crate) mod topic;

use folio_client::{Client, ClientConfig};

use crate::arguments::Acks;
use crate::exit::Failure;

/// Connects, or says at once that nobody is there.
fn connect(broker: &str) -> Result<Client, Failure> {
    Ok(Client::connect(ClientConfig::new(broker).client_id("folio"))?)
}

impl From<Acks> for folio_client::Acks {
    fn from(acks: Acks) -> Self {
        match acks {
            Acks::None => Self::None,
            Acks::Leader => Self::Leader,
            Acks::All => Self::All,
        }
    }
}
