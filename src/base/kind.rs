//! The small vocabularies that several layers share: what a chunk holds, which family a pack is
//! of, how a segment is coded. Their numbers are bytes on disk and never change meaning.

macro_rules! byte_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $n:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant = $n),+ }

        impl $name {
            /// The byte that stands for it on disk.
            pub const fn to_u8(self) -> u8 {
                self as u8
            }

            /// The reverse of `to_u8`; `None` for a byte that this version does not know.
            pub const fn from_u8(byte: u8) -> Option<Self> {
                match byte {
                    $($n => Some($name::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

byte_enum!(
    /// What a chunk holds. Each kind has an id key of its own, so a chunk of one kind can never
    /// be passed off as another.
    ChunkKind {
        /// File or stream content.
        Data = 1,
        /// A part of a content list.
        List = 2,
        /// A part of a directory's listing.
        Tree = 3,
    }
);

byte_enum!(
    /// The family of a pack: its place in the layout, and the public key that it is sealed to.
    /// The byte is the kind of its object header.
    PackKind {
        /// Holds data chunks, under `data/`.
        Data = 4,
        /// Holds list and tree chunks, under `meta/`.
        Meta = 5,
    }
);

byte_enum!(
    /// How the plaintext of a segment became the bytes that were sealed.
    Coding {
        /// As it is.
        Raw = 0,
        /// One zstd frame.
        Zstd = 1,
        /// One zstd frame with the segment's bases as prefix (a delta).
        Prefix = 2,
        /// One zstd frame with a dictionary chunk, the segment's only base. Reserved.
        Dictionary = 3,
    }
);

impl ChunkKind {
    /// The family of packs that chunks of this kind go to.
    pub const fn pack_kind(self) -> PackKind {
        match self {
            ChunkKind::Data => PackKind::Data,
            ChunkKind::List | ChunkKind::Tree => PackKind::Meta,
        }
    }
}
