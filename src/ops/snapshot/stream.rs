//! A stream that somebody else ends: `… | kamba-vault snapshot stdin`. How its source ended cannot
//! be known here, so the snapshot is marked "end unverified".

use std::io::Read;
use std::os::fd::AsFd;
use std::sync::Arc;

use crate::base::clock::Cancel;
use crate::base::monitor::{Count, Monitor};
use crate::format::node::{FileMeta, Node, NodeType};
use crate::format::root::SnapshotKind;
use crate::ops::Error;
use crate::ops::input::Input;
use crate::ops::snapshot::{Gathered, Made, Provenance, directory, earlier, in_session, node_name};
use crate::repo::Repository;
use crate::repo::session::{Session, StreamWriter};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct StreamRequest {
    /// What the stream is called in the snapshot.
    pub name: String,
    /// Whether a stream without a byte is fine.
    pub allow_empty: bool,
}

/// Snapshots `input`.
pub fn snapshot_stdin<R: Read + AsFd>(
    repo: &Repository,
    provenance: &Provenance,
    request: &StreamRequest,
    input: R,
    monitor: Arc<dyn Monitor>,
    cancel: &Cancel,
) -> Result<Made, Error> {
    node_name(&request.name)?;
    let mut input = Input::new(input, cancel);
    in_session(repo, provenance, monitor, cancel, |session| {
        let earlier = earlier(session, provenance, SnapshotKind::Stream, &request.name);
        let stream = session.stream_after(earlier.content(&request.name));
        let mut gathered =
            gather(session, stream, &request.name, &mut input, request.allow_empty, || Ok(()))?;
        gathered.end_unverified = true;
        Ok(gathered)
    })
}

/// Reads `input` to its end into one node, then asks `ended` whether the end was a good one (I-3).
pub(super) fn gather(
    session: &Session,
    mut stream: StreamWriter<'_>,
    name: &str,
    input: &mut dyn Read,
    allow_empty: bool,
    ended: impl FnOnce() -> Result<(), Error>,
) -> Result<Gathered, Error> {
    session.monitor().phase("reading", Count::SourceBytes, None);
    session.monitor().item(name);
    let read = stream.read_from(input, name, &mut |_| {})?;
    ended()?;
    if read == 0 && !allow_empty {
        return Err(Error::Empty { name: name.to_owned() });
    }
    let content = stream.finish()?;
    let node = Node::with_content(node_name(name)?, NodeType::Stream, content.entries)
        .map_err(crate::repo::Error::from)?;
    session.monitor().add(Count::Items, 1);
    Ok(Gathered {
        kind: SnapshotKind::Stream,
        sources: vec![name.to_owned()],
        children: directory(session, vec![node])?,
        meta: FileMeta::default(),
        source_bytes: read,
        items: 1,
        end_unverified: false,
        incomplete: false,
        base: None,
    })
}
