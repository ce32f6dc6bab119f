//! The checksum of zip: CRC-32 of ISO 3309, eight bytes at a time.

/// Its polynomial, the lowest power first.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// What a byte adds that stands so many bytes before the last.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let (mut sum, mut bit) = (byte as u32, 0);
        while bit < 8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ POLYNOMIAL } else { sum >> 1 };
            bit += 1;
        }
        tables[0][byte] = sum;
        byte += 1;
    }
    let mut before = 1;
    while before < 8 {
        let mut byte = 0;
        while byte < 256 {
            let sum = tables[before - 1][byte];
            tables[before][byte] = sum >> 8 ^ tables[0][(sum & 0xff) as usize];
            byte += 1;
        }
        before += 1;
    }
    tables
}

/// A sum in the making.
#[derive(Clone, Copy, Debug)]
pub struct Crc(u32);

impl Default for Crc {
    fn default() -> Self {
        Crc(u32::MAX)
    }
}

impl Crc {
    /// Adds bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        let (eights, rest) = bytes.as_chunks::<8>();
        let mut sum = self.0;
        for eight in eights {
            let word = u64::from_le_bytes(*eight) ^ u64::from(sum);
            sum = 0;
            for (before, byte) in word.to_be_bytes().iter().enumerate() {
                sum ^= TABLES[before][usize::from(*byte)];
            }
        }
        for byte in rest {
            sum = sum >> 8 ^ TABLES[0][usize::from(sum as u8 ^ byte)];
        }
        self.0 = sum;
    }

    /// The sum.
    pub fn finish(self) -> u32 {
        !self.0
    }

    /// The sum of `bytes`.
    pub fn of(bytes: &[u8]) -> u32 {
        let mut crc = Crc::default();
        crc.add(bytes);
        crc.finish()
    }
}
