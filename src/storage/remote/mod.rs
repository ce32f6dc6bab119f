//! Objects in a remote service, through OpenDAL. One runtime for the process drives the transfers;
//! callers block. They must not be asynchronous tasks themselves.
//!
//! A creation that meets its name taken reads back and compares, so a lost reply and a second
//! attempt end well (I-4). How a new object gets its name depends on the service, see [`Publish`].
//!
//! Not here: retries and looking first, which are wrapped around this.

mod service;
mod transport;

use std::error::Error as _;
use std::future::Future;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::future::{Either, select};
use futures::{StreamExt, TryStreamExt};
use http::StatusCode;
use opendal::{BufferStream, HttpTransporter, Operator};
use tokio::runtime::Runtime;

use self::transport::{Refused, Transport};
use super::error::{Error, ErrorKind};
use super::limit::Limiter;
use super::look_first::LookFirst;
use super::name;
use super::url::{ServicePlace, Settings};
use super::{Backend, Context, CreateIfAbsent, Entry, Options};
use crate::base::clock::Timestamp;
use crate::base::id::hex;

/// How soon a cancel is noticed.
const CANCEL_POLL: Duration = Duration::from_millis(50);
/// What the library says when it has no credentials, or bad ones.
const SIGNING: &str = "signing http request";
/// Begins the names of objects that have no name of their own yet, where it takes two steps.
const TEMPORARY: &str = ".tmp-";
/// How long to try to remove one, after a cancel too.
const TIDY_MAX: Duration = Duration::from_secs(3);
/// Longest explanation of a service that is passed on.
const REASON_MAX: usize = 400;

/// How a new object gets its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Publish {
    /// By a write that the service refuses if the name is taken, and that shows all or nothing.
    IfNotExists,
    /// By a write to a temporary name and a move that does not replace (WebDAV, where a write to the
    /// final name may be seen half done).
    Move,
    /// By a plain write: the service has nothing better, and whoever wraps this looks first.
    Write,
}

/// Opens `place`, looking first where the service cannot do better. Asks nothing of it yet.
pub(super) fn open(
    place: &ServicePlace,
    options: &Options,
    limiter: &Arc<Limiter>,
    context: &Context,
) -> Result<Arc<dyn Backend>, Error> {
    let remote = Remote::open(place, options, limiter, context)?;
    Ok(match remote.create_if_absent() {
        CreateIfAbsent::Atomic => Arc::new(remote),
        CreateIfAbsent::LookFirst => Arc::new(LookFirst::new(Arc::new(remote))),
    })
}

/// A folder of a remote service.
#[derive(Debug)]
struct Remote {
    operator: Operator,
    publish: Publish,
    /// Whether the folder itself was made by this process.
    made_root: OnceLock<()>,
    location: String,
    settings: Settings,
    context: Context,
}

impl Remote {
    fn open(
        place: &ServicePlace,
        options: &Options,
        limiter: &Arc<Limiter>,
        context: &Context,
    ) -> Result<Self, Error> {
        let settings = place.settings.clone().or(&options.settings);
        let fail =
            |reason: String| Error::new(ErrorKind::Config, "open", "", &place.shown, settings.scrub(&reason));
        let transport = Transport::new(Arc::clone(limiter), options.stall_timeout)
            .map_err(|error| fail(error.to_string()))?;
        let transport = HttpTransporter::new(transport);
        // For the few requests that are made beside an operator's own: temporary credentials.
        HttpTransporter::install_default(transport.clone());
        let operator = service::operator(&place.service, &settings).map_err(|error| fail(explain(&error)))?;
        let base = operator.base_context().with_http_transport(transport);
        let operator = operator.with_context(base);
        let publish = match operator.info().capability() {
            _ if place.service == "webdav" => Publish::Move,
            capability if capability.write_with_if_not_exists => Publish::IfNotExists,
            _ => Publish::Write,
        };
        let location = place.shown.clone();
        let context = context.clone();
        Ok(Remote { operator, publish, made_root: OnceLock::new(), location, settings, context })
    }

    /// Drives `work` to its end, or to a cancel.
    fn run<T>(
        &self,
        action: &'static str,
        object: &str,
        work: impl Future<Output = opendal::Result<T>>,
    ) -> Result<T, Error> {
        self.context.check(action, object, self)?;
        let runtime = runtime().map_err(|error| self.error(ErrorKind::Other, action, object, &error))?;
        let cancelled = async {
            while !self.context.cancel.is_cancelled() {
                tokio::time::sleep(CANCEL_POLL).await;
            }
        };
        let drive = || {
            runtime.block_on(async {
                let (work, cancelled) = (pin!(work), pin!(cancelled));
                match select(work, cancelled).await {
                    Either::Left((result, _)) => Some(result),
                    Either::Right(_) => None,
                }
            })
        };
        // The library indexes into paths that a server sends: a hostile one could make it panic.
        match catch_unwind(AssertUnwindSafe(drive)) {
            Ok(Some(result)) => result.map_err(|error| self.translate(action, object, &error)),
            Ok(None) => Err(self.error(ErrorKind::Cancelled, action, object, "interrupted")),
            Err(_) => {
                Err(self.error(ErrorKind::Other, action, object, "the service's answer makes no sense"))
            }
        }
    }

    /// Reads at most `at_most` bytes and one more from `name`; all of it if there is no range.
    async fn read(
        &self,
        name: &str,
        range: Option<Range<u64>>,
        at_most: u64,
        into: &mut Vec<u8>,
    ) -> opendal::Result<()> {
        // Bounds the memory whatever the service sends (I-9).
        let mut room = usize::try_from(at_most).unwrap_or(usize::MAX).saturating_add(1);
        let reader = self.operator.reader(name).await?;
        let mut stream: BufferStream = match range {
            Some(range) => reader.into_stream(range).await?,
            None => reader.into_stream(..).await?,
        };
        while room > 0
            && let Some(buffer) = stream.try_next().await?
        {
            for bytes in buffer {
                let take = room.min(bytes.len());
                into.extend_from_slice(&bytes[..take]);
                room -= take;
            }
        }
        Ok(())
    }

    /// Writes `bytes` to a new name; an error of kind `Exists` if the service found it taken.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        match self.publish {
            Publish::IfNotExists => {
                let write = self.operator.write_with(name, bytes.to_vec()).if_not_exists(true);
                self.run("create", name, write.into_future()).map(drop)
            }
            Publish::Write => self.run("create", name, self.operator.write(name, bytes.to_vec())).map(drop),
            Publish::Move => {
                let mut random = [0u8; 16];
                getrandom::fill(&mut random).map_err(|error| {
                    self.error(ErrorKind::Other, "create", name, &format!("no randomness: {error}"))
                })?;
                let temporary = format!("{TEMPORARY}{}", hex(&random));
                let written = self.run("create", name, self.write_and_move(&temporary, name, bytes));
                if written.is_err() {
                    self.tidy(&temporary);
                }
                written
            }
        }
    }

    async fn write_and_move(&self, temporary: &str, name: &str, bytes: &[u8]) -> opendal::Result<()> {
        if self.made_root.get().is_none() {
            self.operator.create_dir("/").await?;
            self.made_root.get_or_init(|| ());
        }
        self.operator.write(temporary, bytes.to_vec()).await?;
        self.operator.rename(temporary, name).await
    }

    /// Removes a temporary object, after a cancel too. What is left if this fails no listing shows, and
    /// it is swept one day.
    fn tidy(&self, temporary: &str) {
        if let Ok(runtime) = runtime() {
            let delete = async { tokio::time::timeout(TIDY_MAX, self.operator.delete(temporary)).await };
            let _ = catch_unwind(AssertUnwindSafe(|| runtime.block_on(delete)));
        }
    }

    /// Removes old temporary objects; they all lie in the folder itself.
    async fn sweep(&self, before: Timestamp) -> opendal::Result<u64> {
        let mut lister = self.operator.lister("/").await?;
        let mut swept = 0;
        while let Some(entry) = lister.next().await {
            let entry = entry?;
            let is_old = entry
                .metadata()
                .last_modified()
                .is_some_and(|modified| modified.into_inner().as_nanosecond() < i128::from(before.0));
            if entry.path().starts_with(TEMPORARY) && entry.metadata().is_file() && is_old {
                self.operator.delete(entry.path()).await?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    async fn each_entry(&self, prefix: &str, each: &mut dyn FnMut(Entry)) -> opendal::Result<()> {
        let mut lister = self.operator.lister_with(prefix).recursive(true).await?;
        while let Some(entry) = lister.next().await {
            let entry = entry?;
            let (name, metadata) = (entry.path(), entry.metadata());
            if metadata.is_file() && name::is_name(name) && name.starts_with(prefix) {
                each(Entry { name: name.to_owned(), size: metadata.content_length() });
            }
        }
        Ok(())
    }

    /// The name was found taken: whether by these bytes, as after a reply that was lost.
    fn compare(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let mut there = Vec::new();
        let at_most = bytes.len() as u64;
        match self.run("create", name, self.read(name, None, at_most, &mut there)) {
            Ok(()) if there == bytes => Ok(()),
            Ok(()) => Err(Error::exists(name, self.location())),
            // Worth another try: the name is free again.
            Err(error) if error.kind == ErrorKind::NotFound => {
                Err(self.error(ErrorKind::Temporary, "create", name, "it was removed meanwhile"))
            }
            Err(error) => Err(error),
        }
    }

    /// Fails if the object is missing or ends before `end`.
    fn reaches(&self, name: &str, end: u64) -> Result<(), Error> {
        match self.stat(name)? {
            Some(size) if end <= size => Ok(()),
            Some(size) => {
                let reason = format!("it ends at {size}, before {end}");
                Err(self.error(ErrorKind::Truncated, "read", name, &reason))
            }
            None => Err(self.error(ErrorKind::NotFound, "read", name, "there is no such object")),
        }
    }

    fn translate(&self, action: &'static str, object: &str, error: &opendal::Error) -> Error {
        let refused = error.source().and_then(|source| source.downcast_ref::<Refused>());
        let kind = match error.kind() {
            _ if refused.is_some_and(|refused| refused.0 == StatusCode::INSUFFICIENT_STORAGE) => {
                ErrorKind::Full
            }
            opendal::ErrorKind::NotFound => ErrorKind::NotFound,
            opendal::ErrorKind::PermissionDenied => ErrorKind::Permission,
            opendal::ErrorKind::ConfigInvalid => ErrorKind::Config,
            opendal::ErrorKind::ConditionNotMatch | opendal::ErrorKind::AlreadyExists => ErrorKind::Exists,
            opendal::ErrorKind::RangeNotSatisfied => ErrorKind::Truncated,
            opendal::ErrorKind::RateLimited | opendal::ErrorKind::Conflict => ErrorKind::Temporary,
            _ if is_passing(error) => ErrorKind::Temporary,
            _ if error.message() == SIGNING => ErrorKind::Permission,
            _ => ErrorKind::Other,
        };
        let reason = match kind {
            ErrorKind::NotFound => "there is no such object".to_owned(),
            _ => self.settings.scrub(&explain(error)),
        };
        self.error(kind, action, object, &reason)
    }

    fn error(&self, kind: ErrorKind, action: &'static str, object: &str, reason: &str) -> Error {
        Error::new(kind, action, object, &self.location, reason)
    }
}

impl Backend for Remote {
    fn location(&self) -> String {
        self.location.clone()
    }

    fn create_if_absent(&self) -> CreateIfAbsent {
        match self.publish {
            Publish::IfNotExists => CreateIfAbsent::Atomic,
            // No standard says that a move looks and moves in one step.
            Publish::Move | Publish::Write => CreateIfAbsent::LookFirst,
        }
    }

    fn is_local(&self) -> bool {
        false
    }

    fn get(&self, name: &str, max: u64) -> Result<Vec<u8>, Error> {
        name::check("read", name, &self.location)?;
        let mut bytes = Vec::new();
        self.run("read", name, self.read(name, None, max, &mut bytes))?;
        if bytes.len() as u64 > max {
            let reason = format!("it has more than the {max} bytes that are allowed");
            return Err(self.error(ErrorKind::TooLarge, "read", name, &reason));
        }
        Ok(bytes)
    }

    fn get_range(&self, name: &str, range: Range<u64>, into: &mut Vec<u8>) -> Result<(), Error> {
        name::check("read", name, &self.location)?;
        let (start, wanted) = (into.len(), range.end.saturating_sub(range.start));
        if wanted == 0 {
            // No request can ask for nothing.
            return self.reaches(name, range.end);
        }
        let read = self.run("read", name, self.read(name, Some(range.clone()), wanted, into));
        let got = (into.len() - start) as u64;
        let error = match read {
            Ok(()) if got == wanted => return Ok(()),
            Ok(()) => {
                let reason = format!("the service sent {got} bytes instead of {wanted}");
                self.error(ErrorKind::Other, "read", name, &reason)
            }
            Err(error) => error,
        };
        into.truncate(start);
        match error.kind {
            // Neither the library nor every service says when it was the object that ended.
            ErrorKind::Other => self.reaches(name, range.end).and(Err(error)),
            _ => Err(error),
        }
    }

    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        name::check("create", name, &self.location)?;
        match self.write(name, bytes) {
            Err(error) if error.kind == ErrorKind::Exists => self.compare(name, bytes),
            Err(error) if error.kind == ErrorKind::NotFound => {
                Err(self.error(ErrorKind::Other, "create", name, "its folder or bucket is missing"))
            }
            result => result,
        }
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Entry)) -> Result<(), Error> {
        name::check_prefix(prefix, &self.location)?;
        match self.run("list", prefix, self.each_entry(prefix, each)) {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn stat(&self, name: &str) -> Result<Option<u64>, Error> {
        name::check("stat", name, &self.location)?;
        match self.run("stat", name, self.operator.stat(name)) {
            Ok(metadata) if metadata.is_file() => Ok(Some(metadata.content_length())),
            Ok(_) => Ok(None),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn delete(&self, name: &str) -> Result<(), Error> {
        name::check("delete", name, &self.location)?;
        match self.run("delete", name, self.operator.delete(name)) {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn sweep_temporary(&self, before: Timestamp) -> Result<u64, Error> {
        match self.publish {
            Publish::Move => match self.run("list", "", self.sweep(before)) {
                Err(error) if error.kind == ErrorKind::NotFound => Ok(0),
                result => result,
            },
            Publish::IfNotExists | Publish::Write => Ok(0),
        }
    }
}

/// The process's one runtime, made when the first remote backend is used.
fn runtime() -> Result<&'static Runtime, String> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let make = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("storage")
            .enable_all()
            .build()
            .map_err(|error| format!("no threads for transfers: {error}"))
    };
    RUNTIME.get_or_init(make).as_ref().map_err(Clone::clone)
}

/// Whether an error or one of its causes is worth another try: credentials may have to be fetched
/// over a network too, and then the failure to sign does not say so.
fn is_passing(error: &opendal::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if inner.downcast_ref::<opendal::Error>().is_some_and(opendal::Error::is_temporary) {
            return true;
        }
        cause = inner.source();
    }
    false
}

/// What an error and its causes say, without its context: that may hold signed URLs.
fn explain(error: &opendal::Error) -> String {
    let mut text = error.message().to_owned();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = match inner.downcast_ref::<opendal::Error>() {
            Some(error) => error.message().to_owned(),
            None => inner.to_string(),
        };
        if !text.contains(&inner_text) {
            text = if text.is_empty() { inner_text } else { format!("{text}: {inner_text}") };
        }
        cause = inner.source();
    }
    if text.is_empty() {
        text = error.kind().into_static().to_owned();
    }
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(REASON_MAX).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}
