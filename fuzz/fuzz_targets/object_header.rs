//! Headers, the outer shape of small objects, the configuration in one, and names of objects.
#![no_main]

use kamba_vault::format::config::ConfigBody;
use kamba_vault::format::header::{HEADER_LEN, Header, Kind};
use kamba_vault::format::name::ObjectName;
use kamba_vault::format::sealed::{SealedObject, unsigned};
use kamba_vault_fuzz::property::{canonical, refused};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let kinds: Vec<Kind> = (0..=u8::MAX).filter_map(Kind::from_u8).collect();
    match Header::decode_one_of(data, &kinds) {
        // What follows a header is none of its business.
        Ok(header) => assert_eq!(header.encode(), data[..HEADER_LEN]),
        Err(error) => refused(data, &error),
    }
    canonical(data, SealedObject::parse(data, &kinds), |object| {
        let mut again = unsigned(object.header_bytes, object.clear, object.sealed);
        assert_eq!(again, object.signed);
        assert_eq!(object.header.encode(), *object.header_bytes);
        again.extend_from_slice(&object.signature);
        again
    });
    if let Some(config) = canonical(data, ConfigBody::decode(data), |config| config.encode().unwrap()) {
        let sizes = (config.chunk_avg, config.chunk_min, config.chunk_max);
        kamba_vault::chunker::Settings::checked(sizes.0, sizes.1, sizes.2).unwrap();
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Some(name) = ObjectName::parse(text)
    {
        assert_eq!(name.to_string(), text);
    }
});
