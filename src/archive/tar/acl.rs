//! POSIX access lists: from what Linux keeps in an attribute (`posix_acl_xattr.h`) to the text of `acl(5)`, of
//! which tar restores them. Users and groups stand there by number: names may mean others elsewhere.

/// What the attribute begins with.
const VERSION: [u8; 4] = 2u32.to_le_bytes();
/// Bytes of one entry: its tag, its rights, whom it is about.
const ENTRY: usize = 8;

/// The list in words; `None` if it is none.
pub(super) fn text(value: &[u8]) -> Option<String> {
    let entries = value.strip_prefix(&VERSION)?;
    if entries.is_empty() || entries.len() % ENTRY != 0 {
        return None;
    }
    let lines: Option<Vec<String>> = entries.chunks_exact(ENTRY).map(entry).collect();
    Some(lines?.join(","))
}

fn entry(bytes: &[u8]) -> Option<String> {
    let (tag, rest) = bytes.split_first_chunk::<2>()?;
    let (rights, rest) = rest.split_first_chunk::<2>()?;
    let id = u32::from_le_bytes(rest.try_into().ok()?);
    let whom = match u16::from_le_bytes(*tag) {
        0x01 => "user:".to_owned(),
        0x02 => format!("user:{id}"),
        0x04 => "group:".to_owned(),
        0x08 => format!("group:{id}"),
        0x10 => "mask:".to_owned(),
        0x20 => "other:".to_owned(),
        _ => return None,
    };
    let rights = u16::from_le_bytes(*rights);
    let letter = |bit: u16, letter: char| if rights & bit != 0 { letter } else { '-' };
    Some(format!("{whom}:{}{}{}", letter(4, 'r'), letter(2, 'w'), letter(1, 'x')))
}
