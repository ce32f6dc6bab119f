//! The functions of libpq that are used here, by the types of its header (`libpq-fe.h`), and the library
//! that they are found in.

use std::ffi::{c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::postgres::error::Error;
use crate::postgres::tools::Tools;

/// The library's file: the 5 is that of its interface, which has been the same since PostgreSQL 8.2.
const FILE: &str = if cfg!(target_os = "macos") { "libpq.5.dylib" } else { "libpq.so.5" };

/// Folders beside one of programs in which their library is.
const BESIDE: [&str; 2] = ["../lib", "../lib64"];

/// A connection, as the library alone knows it (`PGconn`).
#[repr(C)]
pub(super) struct PgConn {
    _private: [u8; 0],
}

/// A result, likewise (`PGresult`).
#[repr(C)]
pub(super) struct PgResult {
    _private: [u8; 0],
}

/// What asks a server to stop (`PGcancel`).
#[repr(C)]
pub(super) struct PgCancel {
    _private: [u8; 0],
}

/// A connection parameter and where its value comes from (`PQconninfoOption`).
#[repr(C)]
pub(super) struct Parameter {
    pub keyword: *const c_char,
    pub variable: *const c_char,
    pub compiled: *const c_char,
    pub value: *const c_char,
    pub label: *const c_char,
    pub display: *const c_char,
    pub size: c_int,
}

/// What takes a server's notices (`PQnoticeProcessor`).
pub(super) type NoticeProcessor = unsafe extern "C" fn(*mut c_void, *const c_char);

macro_rules! functions {
    ($($name:ident = $symbol:literal: fn($($argument:ty),*) $(-> $answer:ty)?;)*) => {
        /// The functions, each by what follows `PQ` in its name.
        #[derive(Clone, Copy)]
        pub(super) struct Functions {
            $(pub $name: unsafe extern "C" fn($($argument),*) $(-> $answer)?,)*
        }

        impl Functions {
            /// Finds all of them.
            fn find(library: &libloading::Library) -> Result<Self, libloading::Error> {
                // SAFETY: the types are those that libpq-fe.h declares for these names, and the library
                // that they are found in is never unloaded (see `Library::open`).
                unsafe { Ok(Functions { $($name: *library.get(concat!($symbol, "\0").as_bytes())?,)* }) }
            }
        }
    };
}

functions! {
    connect = "PQconnectdbParams": fn(*const *const c_char, *const *const c_char, c_int) -> *mut PgConn;
    defaults = "PQconndefaults": fn() -> *mut Parameter;
    free_parameters = "PQconninfoFree": fn(*mut Parameter);
    finish = "PQfinish": fn(*mut PgConn);
    status = "PQstatus": fn(*const PgConn) -> c_int;
    error_message = "PQerrorMessage": fn(*const PgConn) -> *const c_char;
    server_version = "PQserverVersion": fn(*const PgConn) -> c_int;
    parameter_status = "PQparameterStatus": fn(*const PgConn, *const c_char) -> *const c_char;
    socket = "PQsocket": fn(*const PgConn) -> c_int;
    set_nonblocking = "PQsetnonblocking": fn(*mut PgConn, c_int) -> c_int;
    set_notice_processor = "PQsetNoticeProcessor":
        fn(*mut PgConn, NoticeProcessor, *mut c_void) -> Option<NoticeProcessor>;
    send_query = "PQsendQuery": fn(*mut PgConn, *const c_char) -> c_int;
    flush = "PQflush": fn(*mut PgConn) -> c_int;
    consume_input = "PQconsumeInput": fn(*mut PgConn) -> c_int;
    is_busy = "PQisBusy": fn(*mut PgConn) -> c_int;
    get_result = "PQgetResult": fn(*mut PgConn) -> *mut PgResult;
    get_copy_data = "PQgetCopyData": fn(*mut PgConn, *mut *mut c_char, c_int) -> c_int;
    put_copy_data = "PQputCopyData": fn(*mut PgConn, *const c_char, c_int) -> c_int;
    put_copy_end = "PQputCopyEnd": fn(*mut PgConn, *const c_char) -> c_int;
    transaction_status = "PQtransactionStatus": fn(*const PgConn) -> c_int;
    get_cancel = "PQgetCancel": fn(*mut PgConn) -> *mut PgCancel;
    cancel = "PQcancel": fn(*mut PgCancel, *mut c_char, c_int) -> c_int;
    free_cancel = "PQfreeCancel": fn(*mut PgCancel);
    result_status = "PQresultStatus": fn(*const PgResult) -> c_int;
    result_error_message = "PQresultErrorMessage": fn(*const PgResult) -> *const c_char;
    result_error_field = "PQresultErrorField": fn(*const PgResult, c_int) -> *const c_char;
    row_count = "PQntuples": fn(*const PgResult) -> c_int;
    column_count = "PQnfields": fn(*const PgResult) -> c_int;
    column_name = "PQfname": fn(*const PgResult, c_int) -> *const c_char;
    value = "PQgetvalue": fn(*const PgResult, c_int, c_int) -> *const c_char;
    length = "PQgetlength": fn(*const PgResult, c_int, c_int) -> c_int;
    is_null = "PQgetisnull": fn(*const PgResult, c_int, c_int) -> c_int;
    clear = "PQclear": fn(*mut PgResult);
    free = "PQfreemem": fn(*mut c_void);
}

/// libpq, found. Cheap to clone.
#[derive(Clone)]
pub struct Library {
    pub(super) pq: Arc<Functions>,
}

impl Library {
    /// Finds the library: beside the programs, if the user named their folder; else where the system's
    /// loader looks, then beside the programs.
    pub fn open(tools: &Tools) -> Result<Self, Error> {
        let beside =
            tools.folders().into_iter().flat_map(|folder| BESIDE.map(|up| folder.join(up).join(FILE)));
        let beside: Vec<PathBuf> = beside.filter(|path| path.is_file()).collect();
        let by_name = std::iter::once(PathBuf::from(FILE));
        let candidates: Vec<PathBuf> = match tools.named_folder() {
            Some(_) => beside.into_iter().chain(by_name).collect(),
            None => by_name.chain(beside).collect(),
        };
        let functions = first_of(&candidates)?;
        Ok(Library { pq: Arc::new(functions) })
    }
}

/// The first library that can be opened; else what is wrong with the first.
fn first_of(candidates: &[PathBuf]) -> Result<Functions, Error> {
    let mut failure = None;
    for path in candidates {
        match load(path) {
            Ok(functions) => return Ok(functions),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    let reason = failure.map_or_else(String::new, |error| error.to_string());
    Err(Error::NoLibrary { file: FILE, reason })
}

fn load(path: &Path) -> Result<Functions, libloading::Error> {
    // SAFETY: loading runs the library's initialisers, and those of what it needs: PostgreSQL's client
    // library is made to be loaded by any program, and the user trusts it as much as psql beside it.
    let library = unsafe { libloading::Library::new(path)? };
    let functions = Functions::find(&library)?;
    // Never unloaded: what it brings with it (TLS, Kerberos) leaves handlers for the process's end.
    std::mem::forget(library);
    Ok(functions)
}

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Library(libpq)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{FILE, Library, first_of};
    use crate::base::clock::Cancel;
    use crate::postgres::tools::Tools;

    #[test]
    fn what_is_no_library_is_passed_over_and_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let (bin, file) = (dir.path().join("bin"), dir.path().join("lib").join(FILE));
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "no library").unwrap();
        let error = first_of(&[file.clone(), "/nowhere".into()]).err().unwrap();
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("{FILE}, PostgreSQL's client library, cannot be opened: ")),
            "{text}"
        );
        assert!(text.contains(file.to_str().unwrap()), "{text}");
        assert!(error.hint().unwrap().contains("libpq5"));
        let tools = Tools::new(Some(bin), None, &Cancel::new());
        assert!(Library::open(&tools).is_ok(), "the system's own is found after it");
    }

    #[test]
    fn a_library_without_the_functions_is_none() {
        let error = first_of(&["libc.so.6".into()]).err().unwrap();
        assert!(error.to_string().contains("PQconnectdbParams"), "{error}");
    }
}
