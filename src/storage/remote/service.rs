//! Operators of the services: their settings checked and given to OpenDAL. A setting that a service
//! does not know is refused, since a mistyped one would be passed over in silence.

use std::collections::HashMap;

use opendal::services::{AzblobConfig, B2Config, GcsConfig, S3Config, WebdavConfig};
use opendal::{Configurator, Error, ErrorKind, Operator, Result};
use serde::Serialize;

use crate::storage::url::Settings;

/// The operator of `service` with `settings`.
pub(super) fn operator(service: &str, settings: &Settings) -> Result<Operator> {
    match service {
        "s3" => s3(settings),
        "gcs" => build::<GcsConfig>(settings),
        "azblob" => build::<AzblobConfig>(settings),
        "b2" => build::<B2Config>(settings),
        "webdav" => {
            let mut settings = settings.clone();
            // Folders are made when an object gets its name, not for its temporary one as well.
            settings.set_default("disable_create_dir", "true");
            build::<WebdavConfig>(&settings)
        }
        "sftp" => Err(Error::new(ErrorKind::ConfigInvalid, "write it as sftp://user@host/path")),
        // Whatever else this build of OpenDAL holds.
        other => {
            opendal::init_default_registry();
            Operator::via_iter(other, pairs(settings))
        }
    }
}

fn s3(settings: &Settings) -> Result<Operator> {
    const NO_REGION: &str = "region is missing";
    let lacks_region = |error: &Error| error.message().starts_with(NO_REGION);
    match build::<S3Config>(settings) {
        // A service of one's own rarely has regions; the signature needs one all the same.
        Err(error) if lacks_region(&error) && settings.get("endpoint").is_some() => {
            let mut settings = settings.clone();
            settings.set("region", "us-east-1");
            build::<S3Config>(&settings)
        }
        Err(error) if lacks_region(&error) => Err(Error::new(
            ErrorKind::ConfigInvalid,
            "its region is missing: give the option region=… or set AWS_REGION",
        )),
        built => built,
    }
}

fn build<C: Configurator + Default + Serialize>(settings: &Settings) -> Result<Operator> {
    let known = serde_json::to_value(C::default())
        .map_err(|error| Error::new(ErrorKind::Unexpected, "no settings").set_source(error))?;
    if let Some((key, _)) = settings.iter().find(|(key, _)| known.get(key).is_none()) {
        let mut keys: Vec<&str> =
            known.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
        keys.sort_unstable();
        let reason = format!("there is no option \"{key}\" for it; there are {}", keys.join(", "));
        return Err(Error::new(ErrorKind::ConfigInvalid, reason));
    }
    Operator::new(C::from_iter(pairs(settings))?.into_builder())
}

fn pairs(settings: &Settings) -> HashMap<String, String> {
    settings.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
