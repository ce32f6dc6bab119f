//! An ordinary session with a server, through whichever of its databases leads to it: for questions that are
//! asked again and again, or one after another, where psql would connect anew for each.

use crate::base::clock::Cancel;
use crate::postgres::connect::Settings;
use crate::postgres::error::Error;
use crate::postgres::libpq::{Connection, Library};
use crate::postgres::server::MAINTENANCE;

/// Connects to the database that the settings name, else to the first that every server has unless
/// somebody dropped it. `name` is what the server's administrator sees of it.
pub fn connect(
    library: &Library,
    settings: &Settings,
    name: &str,
    cancel: &Cancel,
) -> Result<Connection, Error> {
    let extra = [("application_name", name)];
    if settings.database().is_some() {
        return Connection::open(library, settings, &extra, cancel);
    }
    let [first, second] = MAINTENANCE.map(|name| settings.with_database(name));
    match Connection::open(library, &first, &extra, cancel) {
        // What is wrong with the first may well be wrong with the second: the first is told.
        Err(error @ Error::Connect { .. }) => {
            Connection::open(library, &second, &extra, cancel).map_err(|_| error)
        }
        opened => opened,
    }
}
