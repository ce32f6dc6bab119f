//! Every limit of the format and the engine, in one place, each with its reason. A length that
//! comes from a file is compared with one of these before memory is taken for it (I-9).

/// Smallest average chunk size that a repository may choose: below it the index outgrows its use.
pub const CHUNK_AVG_MIN: u32 = 16 << 10;
/// Largest average: the widest normalised FastCDC still has exact masks for it.
pub const CHUNK_AVG_MAX: u32 = 4 << 20;
/// The default average: the measurements are in `format-spec/chunking.md`.
pub const CHUNK_AVG_DEFAULT: u32 = 64 << 10;
/// Largest chunk of any repository: four times the largest average.
pub const CHUNK_LEN_MAX: u32 = CHUNK_AVG_MAX * 4;

/// Plaintext a segment aims at: a random read decodes at most about this much.
pub const SEGMENT_PLAIN_AIM: u32 = 256 << 10;
/// The same for contents that are short: what source code and the like have in common makes them 8 %
/// smaller than in segments of 256 KiB.
pub const SHORT_PLAIN_AIM: u32 = 3 << 19;
/// Contents up to this length are short: who reads in one of them at random soon has all of it in memory.
pub const SHORT_CONTENT: u64 = 16 << 20;
/// Largest plaintext of a segment: one chunk of the largest size.
pub const SEGMENT_PLAIN_MAX: u32 = CHUNK_LEN_MAX;
/// Largest sealed segment: incompressible plaintext plus coding and tag, with slack.
pub const SEGMENT_STORED_MAX: u32 = SEGMENT_PLAIN_MAX + (64 << 10);
/// Chunks in one segment: more would make one bad sector cost too much.
pub const SEGMENT_CHUNKS_MAX: usize = 1024;
/// Bases of one delta segment.
pub const SEGMENT_BASES_MAX: usize = 16;
/// Plaintext that a delta segment aims at: its chunks share their bases' neighbourhood and what rows
/// that are new have in common, and a link of 300 bytes costs as little to read as one of 100.
pub const DELTA_PLAIN_AIM: u32 = 384 << 10;
/// Longest chain of deltas in a new repository: the measurements are in `format-spec/deltas.md`.
pub const DELTA_DEPTH_DEFAULT: u8 = 16;
/// Largest prefix of a delta segment, its bases one after another.
pub const DELTA_PREFIX_MAX: u32 = 16 << 20;
/// Longest chain of deltas that any repository may allow (its configuration sets a smaller one).
pub const DELTA_DEPTH_MAX: u8 = 32;

/// Size at which packs are closed: a Padmé size, so full packs need next to no padding.
pub const PACK_SIZE_AIM: u64 = 16 << 20;
/// Largest pack a reader accepts.
pub const PACK_SIZE_MAX: u64 = 64 << 20;
/// Segments of one pack.
pub const PACK_SEGMENTS_MAX: usize = 1 << 16;
/// Chunks of one pack: 16 MiB of 64-byte chunks.
pub const PACK_CHUNKS_MAX: usize = 1 << 18;
/// Largest sealed directory of a pack.
pub const PACK_DIRECTORY_MAX: u32 = 32 << 20;

/// Chunks in one index part: about 12 MiB, so that loading needs bounded memory.
pub const INDEX_PART_CHUNKS_MAX: usize = 1 << 18;
/// Packs in one index part.
pub const INDEX_PART_PACKS_MAX: usize = 1 << 16;
/// Largest index part object.
pub const INDEX_PART_MAX: u64 = 64 << 20;
/// Plaintext of one sealed frame of an index part: what a reader holds beside the part itself.
pub const INDEX_FRAME_PLAIN: usize = 1 << 20;
/// Parts that one part may supersede.
pub const INDEX_SUPERSEDES_MAX: usize = 1 << 16;

/// Largest small object: root, lease, keyslot, signers, configuration.
pub const SMALL_OBJECT_MAX: u64 = 1 << 20;
/// Attributes of one record (node, root, configuration).
pub const ATTRIBUTES_MAX: usize = 256;
/// Items of one list in a record: as many as fit a small object where an item is the id of a pack.
pub const LIST_ITEMS_MAX: usize = 1 << 15;
/// Largest encoded node: an inline content list, extended attributes and a name.
pub const NODE_MAX: usize = 1 << 20;
/// Extended attributes of one node, as they are written: what a node can hold with the longest name,
/// link target and names of owners and a full inline list beside them.
pub const NODE_XATTRS_MAX: usize = NODE_MAX - (64 << 10);
/// Longest name of a node.
pub const NAME_MAX: usize = 4096;
/// Entries of a content list kept inside its node instead of in list chunks.
pub const LIST_INLINE_MAX: usize = 16;
/// Entries of one list chunk.
pub const LIST_ENTRIES_MAX: usize = 2048;
/// Levels of list chunks: 2048 entries each would address 2^112 bytes, so more is hostile.
pub const LIST_DEPTH_MAX: u8 = 8;
/// Levels of directories in one tree.
pub const TREE_DEPTH_MAX: usize = 4096;
/// Tree chunks of a directory whose ids are held in memory at once: of a hundred million entries, 40 MB.
pub const FOLDER_PAGES_MAX: usize = 1 << 20;

/// Largest description of a dumped database: a million tables and blocks.
pub const DATABASE_INFO_MAX: usize = 256 << 20;

/// Argon2id memory a reader accepts, in KiB: a hostile slot must not exhaust the machine.
pub const ARGON_MEMORY_KIB_MAX: u32 = 1 << 20;
/// Argon2id passes a reader accepts.
pub const ARGON_PASSES_MAX: u32 = 16;
/// Argon2id lanes a reader accepts.
pub const ARGON_LANES_MAX: u32 = 16;
/// Keyslots for which a passphrase is stretched when unlocking: each costs a third of a second.
pub const DERIVATIONS_MAX: usize = 256;
/// Longest passphrase in bytes.
pub const PASSPHRASE_MAX: usize = 1024;

/// Bytes of a file of PostgreSQL's WAL: the largest segment a cluster can have.
pub const WAL_FILE_MAX: u64 = 1 << 30;
/// Segment sizes that a cluster can have; each a power of two.
pub const WAL_SEGMENT_SIZES: std::ops::RangeInclusive<u32> = 1 << 20..=1 << 30;
/// Frames of one WAL object: their rows fit its head.
pub const WAL_FRAMES_MAX: usize = 64;
/// Least plaintext of a frame of a WAL object: a usual segment is sixteen, enough for all cores.
pub const WAL_FRAME_MIN: u32 = 1 << 20;
/// Most plaintext of a frame of a WAL object: what the codec takes at one go.
pub const WAL_FRAME_MAX: u32 = SEGMENT_PLAIN_MAX;
/// Bytes of the name of a file of WAL: PostgreSQL's longest has 40.
pub const WAL_NAME_MAX: usize = 64;
/// Largest WAL object: the head, and the largest file in raw frames.
pub const WAL_OBJECT_MAX: u64 = WAL_FILE_MAX + (64 << 10);

/// Memory that packs waiting for upload may take.
pub const UPLOAD_BUFFERS: usize = 3;

// PostgreSQL archives.

/// Largest header and table of contents of a dump that is taken apart, since it is held in memory:
/// some 50,000 tables with their indexes. A dump with a longer one is stored as it is.
pub const ARCHIVE_HEAD_MAX: usize = 128 << 20;
/// Longest string of a table of contents: a function's source, or a statement.
pub const ARCHIVE_STRING_MAX: usize = 64 << 20;
/// Entries of a table of contents.
pub const ARCHIVE_ENTRIES_MAX: usize = 1 << 21;
/// Dependencies of one entry: a publication can name every table.
pub const ARCHIVE_DEPENDENCIES_MAX: usize = 1 << 18;
/// Longest COPY line that is coded as "a line"; a reader must hold one to know its length.
pub const ARCHIVE_LINE_MAX: usize = 64 << 10;
/// Longest literal of a recipe: a block's or an object's first bytes are far shorter.
pub const RECIPE_LITERAL_MAX: usize = 1 << 10;
/// Longest frame: lengths are C ints.
pub const ARCHIVE_FRAME_MAX: u64 = i32::MAX as u64;
/// Standard error kept of a PostgreSQL tool, its end: enough for what went wrong.
pub const TOOL_STDERR_MAX: usize = 8 << 10;
/// Answer of one psql question: a list of 100,000 tables with their counts fits well.
pub const PSQL_ANSWER_MAX: u64 = 64 << 20;

const _: () = assert!(CHUNK_AVG_DEFAULT.is_power_of_two() && SEGMENT_PLAIN_AIM >= CHUNK_AVG_DEFAULT);
const _: () =
    assert!(PACK_SIZE_AIM > SEGMENT_STORED_MAX as u64 / 2 && PACK_SIZE_MAX > 2 * SEGMENT_STORED_MAX as u64);
/// Notices kept of one connection: a server could send any number, and the first say what is wrong.
pub const SERVER_NOTICES_MAX: usize = 1000;
/// Largest timeline history file, backup label or tablespace map: a line for each of many timelines or
/// tablespaces.
pub const CLUSTER_TEXT_MAX: usize = 1 << 20;
