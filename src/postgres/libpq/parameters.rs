//! Connection settings as the library takes them, and what the environment would add to them.

use std::ffi::{CStr, CString, c_char};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::postgres::connect::Settings;
use crate::postgres::error::Error;
use crate::postgres::libpq::raw::Functions;

/// What holds where the settings say nothing: a server that is gone without a word is noticed within two
/// minutes, and not after two hours, as systems have it.
const USUAL: [(&str, &str); 3] =
    [("keepalives_idle", "60"), ("keepalives_interval", "10"), ("keepalives_count", "6")];

/// What a server of our own is told, so that no variable says it: an empty value would not count.
/// A service could only fill in what is set nowhere; [`refuse_environment`] sees to the rest.
const ALONE: [(&str, &str); 13] = [
    ("application_name", "kamba-vault"),
    ("channel_binding", "disable"),
    ("client_encoding", "UTF8"),
    ("connect_timeout", "60"),
    ("gssencmode", "disable"),
    // A blank: no options.
    ("options", " "),
    // A path that cannot be: the library complains on the terminal of a file that holds no passwords.
    ("passfile", "/dev/null/none"),
    ("sslmode", "disable"),
    ("sslrootcert", "/dev/null"),
    ("sslcert", "/dev/null"),
    ("sslkey", "/dev/null"),
    ("sslcrl", "/dev/null"),
    ("target_session_attrs", "any"),
];

/// Keywords and values, each with its zero byte.
pub(super) struct Parameters {
    keywords: Vec<CString>,
    /// One of them may be a password.
    values: Vec<Zeroizing<Vec<u8>>>,
}

impl Parameters {
    /// Those of the settings, then `extra`, which has the last word.
    pub(super) fn new(settings: &Settings, extra: &[(&str, &str)]) -> Result<Self, Error> {
        let mut parameters = Parameters { keywords: Vec::new(), values: Vec::new() };
        let alone: &[(&str, &str)] = if settings.is_alone() { &ALONE } else { &[] };
        // The library takes the last value of a keyword.
        let all = USUAL.iter().chain(alone).copied();
        let all = all.chain(settings.parameters()).chain(extra.iter().copied());
        for (keyword, value) in all {
            parameters.push(keyword, value)?;
        }
        Ok(parameters)
    }

    fn push(&mut self, keyword: &str, value: &str) -> Result<(), Error> {
        if keyword.contains('\0') || value.contains('\0') {
            let reason = format!("{} holds a zero byte", keyword.escape_default());
            return Err(Error::Settings { place: "the connection settings", reason });
        }
        self.keywords.push(CString::new(keyword).map_err(|_| Error::Answer("a keyword"))?);
        let mut bytes = Zeroizing::new(Vec::with_capacity(value.len() + 1));
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.values.push(bytes);
        Ok(())
    }

    /// Pointers to the keywords and the values, each list with a null at its end. They are good as long as
    /// this value lives.
    pub(super) fn pointers(&self) -> (Vec<*const c_char>, Vec<*const c_char>) {
        let null = std::iter::once(std::ptr::null());
        let keywords = self.keywords.iter().map(|keyword| keyword.as_ptr()).chain(null.clone());
        let values = self.values.iter().map(|value| value.as_ptr().cast::<c_char>()).chain(null);
        (keywords.collect(), values.collect())
    }

    fn holds(&self, keyword: &CStr) -> bool {
        self.keywords.iter().any(|known| known.as_c_str() == keyword)
    }

    /// Refuses an environment that would have a say in what these parameters leave open: a child process
    /// can be kept out of it, this one cannot. PGHOSTADDR alone would lead a connection elsewhere.
    pub(super) fn refuse_environment(&self, pq: &Arc<Functions>) -> Result<(), Error> {
        // SAFETY: takes nothing; answers null or an array that ends with a null keyword.
        let all = unsafe { (pq.defaults)() };
        if all.is_null() {
            return Err(Error::Answer("the defaults of connections"));
        }
        let mut found = None;
        let mut at = all;
        // SAFETY: `at` goes from the array's first item to the one whose keyword is null, and no further;
        // every text of an item is null or ends in a zero byte, and lives until the array is freed.
        unsafe {
            while !(*at).keyword.is_null() {
                let item = &*at;
                let is_set = !item.value.is_null()
                    && (item.compiled.is_null()
                        || CStr::from_ptr(item.value) != CStr::from_ptr(item.compiled));
                if is_set && !item.variable.is_null() && !self.holds(CStr::from_ptr(item.keyword)) {
                    found = Some(CStr::from_ptr(item.variable).to_string_lossy().into_owned());
                    break;
                }
                at = at.add(1);
            }
            (pq.free_parameters)(all);
        }
        match found {
            Some(variable) => Err(Error::Environment { variable }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Parameters;
    use crate::postgres::connect::Settings;

    fn value(parameters: &Parameters, keyword: &str) -> Option<String> {
        let all = parameters.keywords.iter().zip(&parameters.values);
        let last = all.rev().find(|(known, _)| known.to_bytes() == keyword.as_bytes());
        last.map(|(_, value)| String::from_utf8(value[..value.len() - 1].to_vec()).unwrap())
    }

    #[test]
    fn the_last_word_is_what_was_asked_for() {
        let settings = Settings::parse("host=db1 dbname=shop password=secret keepalives_idle=7").unwrap();
        let extra = [("dbname", "replication")];
        let parameters = Parameters::new(&settings, &extra).unwrap();
        let cases = [
            ("host", Some("db1")),
            ("password", Some("secret")),
            ("dbname", Some("replication")),
            ("keepalives_idle", Some("7")),
            ("keepalives_count", Some("6")),
            ("sslmode", None),
            ("user", None),
        ];
        for (keyword, want) in cases {
            assert_eq!(value(&parameters, keyword).as_deref(), want, "{keyword}");
        }
        let (keywords, values) = parameters.pointers();
        assert_eq!(keywords.len(), values.len());
        assert!(keywords.last().unwrap().is_null() && values.last().unwrap().is_null());
        let alone = Parameters::new(&settings.alone(), &extra).unwrap();
        assert_eq!(value(&alone, "sslmode").as_deref(), Some("disable"));
    }

    #[test]
    fn no_value_is_cut_short() {
        let settings = Settings::new().with_host("db1\0.example");
        let error = Parameters::new(&settings, &[]).err().unwrap();
        assert_eq!(error.to_string(), "the connection settings: host holds a zero byte");
    }
}
