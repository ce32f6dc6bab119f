//! From a URL to a backend.

use kamba_vault::storage::{Context, ErrorKind, Options, open};

use crate::conformance::kind;

#[test]
fn a_path_or_a_file_url_opens_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a repo").to_str().unwrap().to_owned();
    let backend = open(&path, &Options::default(), &Context::simulated()).unwrap();
    backend.put_new("x", b"x").unwrap();
    let url = format!("file://{}", path.replace(' ', "%20"));
    let again = open(&url, &Options::default(), &Context::simulated()).unwrap();
    assert_eq!(again.get("x", 1).unwrap(), b"x");
    assert!(again.is_local() && again.location() == path);
}

#[test]
fn named_memory_opens_again() {
    let context = Context::simulated();
    let options = Options { limit_upload: Some(10), ..Options::default() };
    open("memory://open", &options, &context).unwrap().put_new("x", &[0; 100]).unwrap();
    assert_eq!(context.timer.elapsed().as_secs(), 10, "the limit holds");
    assert_eq!(open("memory://open", &Options::default(), &context).unwrap().stat("x").unwrap(), Some(100));
}

#[test]
fn an_option_that_means_nothing_is_refused() {
    let mut options = Options::default();
    options.settings.set_pair("endpoint=http://x").unwrap();
    assert_eq!(kind(open("/tmp", &options, &Context::simulated())), ErrorKind::Config);
    assert_eq!(kind(open("memory://x", &options, &Context::simulated())), ErrorKind::Config);
    assert_eq!(kind(open("gopher://x", &Options::default(), &Context::simulated())), ErrorKind::Config);
}
