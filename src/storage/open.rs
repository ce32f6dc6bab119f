//! From a repository's URL to a backend that is ready for use: retries and limits included.

use std::sync::Arc;
use std::time::Duration;

use super::error::{Error, ErrorKind};
use super::limit::{Limit, Limiter};
use super::local::Local;
use super::memory::Memory;
#[cfg(feature = "cloud")]
use super::remote;
use super::retry::{Retry, RetryPolicy};
use super::sftp::Sftp;
use super::url::{Place, Settings};
use super::{Backend, Context};

/// How to open a backend.
#[derive(Clone, Debug)]
pub struct Options {
    /// Settings of the service; what the URL itself says goes before them.
    pub settings: Settings,
    /// Most bytes per second to the backend.
    pub limit_upload: Option<u64>,
    /// Most bytes per second from the backend.
    pub limit_download: Option<u64>,
    /// When and how long to try again.
    pub retry: RetryPolicy,
    /// Time in which nothing moves, neither way, before a connection counts as lost.
    pub stall_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            settings: Settings::new(),
            limit_upload: None,
            limit_download: None,
            retry: RetryPolicy::default(),
            stall_timeout: Duration::from_secs(60),
        }
    }
}

/// Opens the backend at `url`. Makes nothing there, and for most services asks nothing of it yet.
pub fn open(url: &str, options: &Options, context: &Context) -> Result<Arc<dyn Backend>, Error> {
    let place = Place::parse(url)?;
    let limiter = Arc::new(Limiter::new(options.limit_upload, options.limit_download, context));
    let limited = |backend: Arc<dyn Backend>| match limiter.is_limiting() {
        true => Arc::new(Limit::new(backend, Arc::clone(&limiter))) as Arc<dyn Backend>,
        false => backend,
    };
    match &place {
        Place::Local(path) => {
            takes_no_settings(&place, &options.settings)?;
            Ok(limited(Arc::new(Local::open(path)?)))
        }
        Place::Memory(name) => {
            takes_no_settings(&place, &options.settings)?;
            Ok(limited(Memory::named(name)))
        }
        Place::Sftp(sftp) => {
            let sftp = Sftp::open(sftp, options, &limiter, context)?;
            Ok(Arc::new(Retry::new(Arc::new(sftp), options.retry, context)))
        }
        #[cfg(feature = "cloud")]
        Place::Service(service) => {
            let backend = remote::open(service, options, &limiter, context)?;
            Ok(Arc::new(Retry::new(backend, options.retry, context)))
        }
        #[cfg(not(feature = "cloud"))]
        Place::Service(_) => {
            let reason = "this build supports only local folders, memory and sftp";
            Err(Error::new(ErrorKind::Config, "open", "", place.to_string(), reason))
        }
    }
}

fn takes_no_settings(place: &Place, settings: &Settings) -> Result<(), Error> {
    match settings.iter().next() {
        None => Ok(()),
        Some((key, _)) => {
            let reason = format!("there is no option \"{key}\" for this kind of place");
            Err(Error::new(ErrorKind::Config, "open", "", place.to_string(), reason))
        }
    }
}
