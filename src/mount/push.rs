//! Hands the contents of short files to the kernel before it asks: a folder of them is then read without a
//! question for each. A thread of its own does it, since the kernel may let it wait for an answer that
//! others are at. Every byte is verified as it is for whoever asks; what cannot be read is left to them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded};
use fuser::{INodeNo, Notifier};

use crate::format::node::Node;
use crate::mount::tree::Tree;
use crate::mount::walk::{Place, Span, Walk, is_handed_out};
use crate::repo::Error;
use crate::vfs::{Page, ReadCache};

/// Spans that wait; more are not taken.
const QUEUE: usize = 256;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is kept is whole after every step, also if a thread ended between two.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What it needs.
struct Shared {
    tree: Arc<Tree>,
    cache: Arc<ReadCache>,
    /// There once it is mounted.
    kernel: OnceLock<Notifier>,
    ended: AtomicBool,
}

/// The way to the kernel, to be opened when it is mounted.
#[derive(Clone)]
pub struct Opening(Arc<Shared>);

impl Opening {
    /// Opens it.
    pub fn open(&self, kernel: Notifier) {
        // It is mounted once.
        let _ = self.0.kernel.set(kernel);
    }
}

/// Who hands out. The thread ends with it.
pub struct Push {
    shared: Arc<Shared>,
    walk: Mutex<Walk>,
    worker: OnceLock<Worker>,
}

struct Worker {
    spans: Sender<Span>,
    /// None if it could not be started: then a full queue says so.
    thread: Option<JoinHandle<()>>,
}

impl Drop for Push {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Some(Worker { spans, thread }) = self.worker.take() {
            // Closing the queue ends it.
            drop(spans);
            let _ = thread.map(JoinHandle::join);
        }
    }
}

impl Push {
    /// Hands out what `tree` shows, decoded into `cache`.
    pub fn new(tree: Arc<Tree>, cache: Arc<ReadCache>) -> Self {
        let shared = Shared { tree, cache, kernel: OnceLock::new(), ended: AtomicBool::new(false) };
        Push { shared: Arc::new(shared), walk: Mutex::default(), worker: OnceLock::new() }
    }

    /// The way to the kernel.
    pub fn opening(&self) -> Opening {
        Opening(self.shared.clone())
    }

    /// Says that the kernel was told of the children of `folder` before `end`.
    pub fn listed(&self, folder: u64, end: Place) {
        let mut look = |page| self.look(folder, page);
        let spans = lock(&self.walk).listed(folder, end, &mut look);
        self.take(spans);
    }

    /// Says that the first bytes of a file are asked for.
    pub fn asked(&self, file: u64) {
        let Some((folder, at)) = self.shared.tree.spot_of(file) else { return };
        let mut look = |page| self.look(folder, page);
        let spans = lock(&self.walk).asked(folder, at, &mut look);
        self.take(spans);
    }

    // What cannot be listed is met by who lists it.
    fn look(&self, folder: u64, page: usize) -> Option<Page> {
        Some(self.shared.tree.page_of(folder, page).ok()??.1)
    }

    fn take(&self, spans: Vec<Span>) {
        for span in spans {
            let worker = self.worker.get_or_init(|| Worker::start(self.shared.clone()));
            // What is not taken is read by who asks for it.
            let _ = worker.spans.try_send(span);
        }
    }
}

impl Worker {
    fn start(shared: Arc<Shared>) -> Self {
        let (spans, queue) = bounded::<Span>(QUEUE);
        let work = move || {
            let mut bytes = Vec::new();
            for span in queue {
                if shared.ended.load(Ordering::Relaxed) {
                    return;
                }
                // What cannot be read here is met by who asks for it.
                let _ = shared.hand_out(&span, &mut bytes);
            }
        };
        Worker { spans, thread: std::thread::Builder::new().name("push".into()).spawn(work).ok() }
    }
}

impl Shared {
    fn hand_out(&self, span: &Span, bytes: &mut Vec<u8>) -> Result<(), Error> {
        let is_wanted = |at: usize, node: &Node| is_handed_out(node) && !span.is_passed(at);
        let nodes = span.range.clone().filter_map(|at| Some((at, span.page.get(at)?)));
        let nodes: Vec<(usize, &Node)> = nodes.filter(|(at, node)| is_wanted(*at, node)).collect();
        let held = self.tree.hold(span.folder, span.number, &nodes);
        let done = self.hand_out_held(span, &nodes, &held, bytes);
        self.tree.forget_all(held.iter().flatten().map(|number| (*number, 1)));
        done
    }

    fn hand_out_held(
        &self,
        span: &Span,
        nodes: &[(usize, &Node)],
        held: &[Option<u64>],
        bytes: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let Some(kernel) = self.kernel.get() else { return Ok(()) };
        let Some((view, _)) = self.tree.page_of(span.folder, span.number)? else { return Ok(()) };
        let only: Vec<&Node> = nodes.iter().map(|(_, node)| *node).collect();
        let files = view.open_all(&only, &self.cache)?;
        for (((at, _), number), file) in nodes.iter().zip(held).zip(files) {
            let (Some(number), Ok(file)) = (number, file) else { continue };
            if self.ended.load(Ordering::Relaxed) {
                return Ok(());
            }
            let size = file.size().unwrap_or(0);
            bytes.clear();
            if span.is_passed(*at) || file.read_at(0, size as usize, bytes).is_err() {
                continue;
            }
            // An inode that the kernel has forgotten needs nothing.
            let _ = kernel.store(INodeNo(*number), 0, bytes);
        }
        Ok(())
    }
}
