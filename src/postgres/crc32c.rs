//! CRC-32C (Castagnoli), with which PostgreSQL guards its control file and manifests (`src/port/pg_crc32c_*.c`).

/// The sum of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    append(0, bytes)
}

/// The sum of what has the sum `sum` and of `bytes` after it.
pub fn append(sum: u32, bytes: &[u8]) -> u32 {
    ::crc32c::crc32c_append(sum, bytes)
}

#[cfg(test)]
mod tests {
    use super::{append, crc32c};

    /// The check value of the catalogue of CRCs, and those of RFC 3720, B.4.
    #[test]
    fn known_sums_come_out() {
        assert_eq!(crc32c(b""), 0);
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xFF; 32]), 0x62A8_AB43);
        let rising: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&rising), 0x46DD_794E);
        assert_eq!(append(crc32c(&rising[..5]), &rising[5..]), 0x46DD_794E);
    }
}
