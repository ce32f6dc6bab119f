//! An input read as a little program: numbers and bytes off its front. It never ends: what is missing
//! reads as zero, so that every prefix of an input means something.

/// What is left of an input.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// All of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Input(bytes)
    }

    /// Whether everything was taken.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `n` bytes, or as many as there are.
    pub fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        self.bytes(usize::MAX)
    }

    /// The next byte.
    pub fn u8(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or_default()
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    /// The next four bytes.
    pub fn u32(&mut self) -> u32 {
        u32::from(self.u16()) | u32::from(self.u16()) << 16
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from(self.u32()) | u64::from(self.u32()) << 32
    }

    /// A number below `len`, from two bytes; zero if there is none.
    pub fn below(&mut self, len: usize) -> usize {
        usize::from(self.u16()).checked_rem(len).unwrap_or_default()
    }

    /// One of `items`.
    pub fn pick<'i, T>(&mut self, items: &'i [T]) -> Option<&'i T> {
        items.get(self.below(items.len()))
    }

    /// Edits `bytes` as the input says, a few times: at a place, some bytes go and others come.
    pub fn splice(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.u8() % 4 {
            let at = self.below(bytes.len() + 1);
            let gone = usize::from(self.u8()).min(bytes.len() - at);
            let come = usize::from(self.u8());
            bytes.splice(at..at + gone, self.bytes(come).iter().copied());
        }
    }
}
