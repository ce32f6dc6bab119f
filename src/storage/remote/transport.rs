//! HTTP for every remote service: sends bodies piece by piece, so that a limit is kept smoothly and
//! a connection is given up when nothing moves, however long the whole may take on a slow link.
//!
//! TLS is the library's (rustls with the system's certificates). Not here: retries, and what a
//! status means to a service, but for the few that every service means alike.

use std::convert::Infallible;
use std::error::Error as _;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::{HeaderValue, Request, Response, StatusCode, header};
use opendal::{Buffer, Error, ErrorKind, HttpBody, HttpTransport, Result};
use tokio::time::{Instant, Sleep, sleep, timeout, timeout_at};

use crate::base::limits::{INDEX_PART_MAX, PACK_SIZE_MAX};
use crate::storage::limit::{Direction, Limiter};

/// Bytes that are sent between two looks at the limit.
const PIECE: usize = 32 << 10;
/// Time to reach a server and agree on TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How much longer to wait for an answer after the last piece of a larger body was taken: the library
/// and the system hold about a megabyte, and nobody sees it leave.
const DRAIN_FACTOR: u32 = 3;
/// Largest answer, whatever it is: the library holds those whole that it reads itself, listings and
/// explanations among them. No object that is read is larger.
const ANSWER_MAX: u64 = if PACK_SIZE_MAX > INDEX_PART_MAX { PACK_SIZE_MAX } else { INDEX_PART_MAX };
/// How long a connection is kept for the next request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Sends requests and keeps connections for the next ones.
pub(super) struct Transport {
    client: reqwest::Client,
    limiter: Arc<Limiter>,
    /// Time in which nothing moves before a connection counts as lost: neither a piece of the body is
    /// taken, nor does an answer begin, nor does a piece of it arrive.
    stall_timeout: Duration,
}

/// A status that says the same whatever the service.
#[derive(Debug, thiserror::Error)]
#[error("HTTP status {0}")]
pub(super) struct Refused(pub(super) StatusCode);

impl Transport {
    pub(super) fn new(
        limiter: Arc<Limiter>,
        stall_timeout: Duration,
    ) -> std::result::Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_keepalive(IDLE_TIMEOUT / 2)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build()?;
        Ok(Transport { client, limiter, stall_timeout })
    }
}

impl HttpTransport for Transport {
    async fn fetch(&self, request: Request<Buffer>) -> Result<Response<HttpBody>> {
        let (mut parts, body) = request.into_parts();
        if parts.method.as_str() == "MOVE" {
            // RFC 4918, 10.6: refuses to replace. The library asks to replace, and we never may (I-4).
            parts.headers.insert("overwrite", HeaderValue::from_static("F"));
        }
        let uri = parts.uri.clone();
        let is_head = parts.method == http::Method::HEAD;
        let url = reqwest::Url::parse(&uri.to_string())
            .map_err(|error| Error::new(ErrorKind::ConfigInvalid, "the URL is invalid").set_source(error))?;
        let progress = Arc::new(Progress::begin(self.stall_timeout));
        let mut builder = self.client.request(parts.method, url).headers(parts.headers);
        if !body.is_empty() {
            let (body, limiter) = (body.to_bytes(), Arc::clone(&self.limiter));
            let is_small = body.len() <= PIECE;
            let paced = Paced { body, is_small, limiter, pause: None, progress: Arc::clone(&progress) };
            builder = builder.body(reqwest::Body::wrap(paced));
        }
        let mut response = unless_stalled(builder.send(), &progress)
            .await?
            .map_err(|error| failure(error, "the request failed"))?;
        refuse(&mut response).await?;
        let length = match is_head || response.headers().contains_key(header::CONTENT_ENCODING) {
            true => None,
            false => response.content_length(),
        };
        let mut answer =
            Response::builder().status(response.status()).version(response.version()).extension(uri);
        if let Some(headers) = answer.headers_mut() {
            std::mem::swap(headers, response.headers_mut());
        }
        let body = HttpBody::new(received(response, Arc::clone(&self.limiter), self.stall_timeout), length);
        answer.body(body).map_err(|error| Error::new(ErrorKind::Unexpected, "no answer").set_source(error))
    }
}

/// Fails on the statuses that services do not tell apart although the user has to.
async fn refuse(response: &mut reqwest::Response) -> Result<()> {
    let status = response.status();
    let kind = match status {
        StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED => ErrorKind::PermissionDenied,
        StatusCode::INSUFFICIENT_STORAGE => ErrorKind::Unexpected,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => ErrorKind::RateLimited,
        _ => return Ok(()),
    };
    // One piece of the explanation is enough, and none is no reason for another error.
    let text = timeout(CONNECT_TIMEOUT, response.chunk()).await;
    let text = text.ok().and_then(|chunk| chunk.ok().flatten()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    Err(Error::new(kind, text).set_source(Refused(status)))
}

/// The answer's body, no faster than the limit and no longer than an answer may be (I-9).
fn received(
    response: reqwest::Response,
    limiter: Arc<Limiter>,
    patience: Duration,
) -> impl futures::Stream<Item = Result<Buffer>> + Send + Sync + Unpin {
    let begin = (response, limiter, ANSWER_MAX);
    Box::pin(stream::try_unfold(begin, move |(mut response, limiter, room)| async move {
        let piece = match timeout(patience, response.chunk()).await {
            Ok(piece) => piece.map_err(|error| failure(error, "the answer broke off"))?,
            Err(_) => return Err(stalled(patience)),
        };
        let Some(piece) = piece else { return Ok(None) };
        let Some(room) = room.checked_sub(piece.len() as u64) else {
            let reason = format!("the answer has more than {ANSWER_MAX} bytes");
            return Err(Error::new(ErrorKind::Unexpected, reason));
        };
        let pause = limiter.book(Direction::Down, piece.len() as u64);
        if !pause.is_zero() {
            sleep(pause).await;
        }
        Ok(Some((Buffer::from(piece), (response, limiter, room))))
    }))
}

/// How a request's body is getting on.
struct Progress {
    patience: Duration,
    state: Mutex<Waiting>,
}

/// What is waited for: the next piece to be taken, or the answer.
#[derive(Clone, Copy)]
struct Waiting {
    since: Instant,
    patience: Duration,
}

impl Progress {
    fn begin(patience: Duration) -> Self {
        Progress { patience, state: Mutex::new(Waiting { since: Instant::now(), patience }) }
    }

    fn state(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A piece was taken. The next one is not handed out before `pause` is over, which is our doing.
    fn piece_taken(&self, pause: Duration, factor: u32) {
        *self.state() = Waiting { since: Instant::now() + pause, patience: self.patience * factor };
    }
}

/// Waits for `answer` as long as something moves.
async fn unless_stalled<F: Future>(answer: F, progress: &Progress) -> Result<F::Output> {
    let mut answer = pin!(answer);
    loop {
        let waiting = *progress.state();
        match timeout_at(waiting.since + waiting.patience, &mut answer).await {
            Ok(answer) => return Ok(answer),
            Err(_) if progress.state().since != waiting.since => {}
            Err(_) => return Err(stalled(waiting.patience)),
        }
    }
}

fn stalled(patience: Duration) -> Error {
    let reason = format!("nothing moved for {patience:?}");
    Error::new(ErrorKind::Unexpected, reason).set_temporary()
}

fn failure(error: reqwest::Error, what: &'static str) -> Error {
    let error = error.without_url();
    // A certificate that is not trusted will not be trusted in a second either.
    let mut cause = error.source();
    let mut untrusted = false;
    while let Some(inner) = cause {
        untrusted |= inner.to_string().contains("certificate");
        cause = inner.source();
    }
    let passing = !error.is_builder() && !error.is_redirect() && !untrusted;
    Error::new(ErrorKind::Unexpected, what).with_temporary(passing).set_source(error)
}

/// A request's body that is handed out in pieces, no faster than the limit.
struct Paced {
    body: Bytes,
    /// Whether it is one piece: not enough to be held up unseen.
    is_small: bool,
    limiter: Arc<Limiter>,
    pause: Option<Pin<Box<Sleep>>>,
    progress: Arc<Progress>,
}

impl http_body::Body for Paced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<http_body::Frame<Bytes>, Infallible>>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        if self.body.is_empty() {
            return Poll::Ready(None);
        }
        let piece = PIECE.min(self.body.len());
        let piece = self.body.split_to(piece);
        let pause = self.limiter.book(Direction::Up, piece.len() as u64);
        let is_last = self.body.is_empty() && !self.is_small;
        self.progress.piece_taken(pause, if is_last { DRAIN_FACTOR } else { 1 });
        if !pause.is_zero() {
            self.pause = Some(Box::pin(sleep(pause)));
        }
        Poll::Ready(Some(Ok(http_body::Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_empty()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.body.len() as u64)
    }
}
