//! The parts of a dump on their way into the repository: each object a file of the database's
//! node, the recipe beside them.

use std::sync::Arc;

use crate::format::node::{Node, NodeType};
use crate::ops::snapshot::directory;
use crate::ops::snapshot::parent::Folder;
use crate::postgres::archive::name::table_file;
use crate::postgres::archive::split::{ObjectEnd, ObjectKey, Sink};
use crate::repo::Error;
use crate::repo::session::{Session, StreamWriter};

/// The folder of the tables' rows.
pub const TABLES: &str = "tables";
/// The folder of large objects.
pub const LARGE_OBJECTS: &str = "large-objects";
/// The file that says how the dump is put together.
const RECIPE: &str = "recipe";
/// The file that describes it.
const INFO: &str = "info";

/// Takes a split dump.
pub struct Parts<'s> {
    session: &'s Session,
    earlier: Earlier,
    recipe: StreamWriter<'s>,
    open: Option<(String, StreamWriter<'s>)>,
    objects: Vec<String>,
    top: Vec<Node>,
    tables: Vec<Node>,
    large_objects: Vec<Node>,
}

/// The parts of an earlier dump.
struct Earlier {
    top: Folder,
    tables: Arc<Folder>,
    large_objects: Folder,
}

impl<'s> Parts<'s> {
    /// Parts of a dump that has not begun, beside those of an earlier one, whose node's folder is
    /// `earlier`.
    pub fn new(session: &'s Session, earlier: Folder) -> Self {
        let (tables, large_objects) = (Arc::new(earlier.folder(TABLES)), earlier.folder(LARGE_OBJECTS));
        Parts {
            session,
            recipe: session.stream_after(earlier.content(RECIPE)),
            earlier: Earlier { top: earlier, tables, large_objects },
            open: None,
            objects: Vec::new(),
            top: Vec::new(),
            tables: Vec::new(),
            large_objects: Vec::new(),
        }
    }

    /// Ends the recipe and makes the database's node, `info` being made of the objects' paths.
    pub fn finish(
        mut self,
        name: &[u8],
        info: impl FnOnce(Vec<String>) -> Result<Vec<u8>, Error>,
    ) -> Result<Node, Error> {
        let recipe = self.recipe.finish()?;
        self.top.push(Node::with_content(RECIPE, NodeType::File, recipe.entries)?);
        let mut stream = self.session.stream_after(self.earlier.top.content(INFO));
        stream.write(&info(self.objects)?)?;
        self.top.push(Node::with_content(INFO, NodeType::File, stream.finish()?.entries)?);
        for (folder, nodes) in [(TABLES, self.tables), (LARGE_OBJECTS, self.large_objects)] {
            let children = directory(self.session, nodes)?;
            self.top.push(Node::with_children(folder, NodeType::Directory, children));
        }
        let children = directory(self.session, self.top)?;
        Ok(Node::with_children(name, NodeType::Database, children))
    }
}

impl Sink for Parts<'_> {
    type Error = Error;

    fn object_begin(&mut self, key: &ObjectKey) -> Result<(), Error> {
        let path = match key {
            ObjectKey::Head => "head".to_owned(),
            ObjectKey::Rest => "rest".to_owned(),
            ObjectKey::Table { schema, name } => format!("{TABLES}/{}", table_file(schema, name)),
            ObjectKey::LargeObject { oid } => format!("{LARGE_OBJECTS}/{oid}"),
        };
        self.session.monitor().item(&path);
        let earlier = match path.split_once('/') {
            Some((TABLES, name)) => self.earlier.tables.content(name),
            Some((_, name)) => self.earlier.large_objects.content(name),
            None => self.earlier.top.content(&path),
        };
        let stream = match key {
            // It may be one that had another name.
            ObjectKey::Table { .. } if earlier.is_empty() => {
                self.session.stream_like(Some(self.earlier.tables.clone()))
            }
            _ => self.session.stream_after(earlier),
        };
        self.open = Some((path, stream));
        Ok(())
    }

    fn object_bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match &mut self.open {
            Some((_, stream)) => stream.write(bytes),
            None => Err(Error::Worker),
        }
    }

    fn object_end(&mut self, _end: &ObjectEnd) -> Result<(), Error> {
        let (path, stream) = self.open.take().ok_or(Error::Worker)?;
        let content = stream.finish()?;
        let (nodes, name) = match path.split_once('/') {
            Some((TABLES, name)) => (&mut self.tables, name),
            Some((_, name)) => (&mut self.large_objects, name),
            None => (&mut self.top, path.as_str()),
        };
        nodes.push(Node::with_content(name, NodeType::File, content.entries)?);
        self.objects.push(path);
        Ok(())
    }

    fn recipe(&mut self, operations: &[u8]) -> Result<(), Error> {
        self.recipe.write(operations)
    }
}
