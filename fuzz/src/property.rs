//! Properties that hold of every decoder of the format.

use std::fmt::Debug;

use kamba_vault::format::Error;

/// What decodes encodes to the same bytes again: there is one way only to write a value. An error
/// says where in the bytes it was found. Answers what was decoded.
pub fn canonical<T: Debug>(
    bytes: &[u8],
    decoded: Result<T, Error>,
    encode: impl FnOnce(&T) -> Vec<u8>,
) -> Option<T> {
    match decoded {
        Ok(value) => {
            let again = encode(&value);
            assert!(again == bytes, "{value:?}\nfrom {bytes:02x?}\n  to {again:02x?}");
            Some(value)
        }
        Err(error) => {
            refused(bytes, &error);
            None
        }
    }
}

/// An error stays inside of what it speaks of, and can be told to people.
pub fn refused(bytes: &[u8], error: &Error) {
    assert!(error.offset <= bytes.len() as u64, "{error} in {} bytes", bytes.len());
    assert!(!error.to_string().is_empty());
    let _ = (error.class().exit_status(), error.hint());
}
