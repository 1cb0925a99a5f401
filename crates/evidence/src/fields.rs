//! Numbers out of on-disk structures, without indexing.

/// The bytes of an on-disk structure, from which fields are taken by offset.
///
/// A field that reaches past the end is `None`: a structure cut short cannot panic.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(&'a [u8]);

macro_rules! number {
    ($name:ident, $type:ty, $from:ident, $doc:literal) => {
        #[doc = $doc]
        pub fn $name(self, at: usize) -> Option<$type> {
            self.array(at).map(<$type>::$from)
        }
    };
}

impl<'a> Fields<'a> {
    /// The fields of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// All the bytes.
    pub const fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// `length` bytes at `at`.
    pub fn slice(self, at: usize, length: usize) -> Option<&'a [u8]> {
        self.0.get(at..at.checked_add(length)?)
    }

    /// The bytes from `at` to the end.
    pub fn from(self, at: usize) -> Option<Fields<'a>> {
        self.0.get(at..).map(Fields)
    }

    /// `N` bytes at `at`.
    pub fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.slice(at, N)?.try_into().ok()
    }

    /// The byte at `at`.
    pub fn u8(self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    number!(
        le_u16,
        u16,
        from_le_bytes,
        "The little-endian `u16` at `at`."
    );
    number!(
        le_u32,
        u32,
        from_le_bytes,
        "The little-endian `u32` at `at`."
    );
    number!(
        le_u64,
        u64,
        from_le_bytes,
        "The little-endian `u64` at `at`."
    );
    number!(
        le_i32,
        i32,
        from_le_bytes,
        "The little-endian `i32` at `at`."
    );
    number!(be_u16, u16, from_be_bytes, "The big-endian `u16` at `at`.");
    number!(be_u32, u32, from_be_bytes, "The big-endian `u32` at `at`.");
    number!(be_u64, u64, from_be_bytes, "The big-endian `u64` at `at`.");
    number!(be_i32, i32, from_be_bytes, "The big-endian `i32` at `at`.");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_past_the_end_are_none() {
        let fields = Fields::new(&[1, 2, 3]);
        assert_eq!(fields.le_u16(1), Some(0x0302));
        assert_eq!(fields.be_u16(1), Some(0x0203));
        assert_eq!(fields.le_u32(0), None);
        assert_eq!(fields.le_u16(usize::MAX), None);
        assert_eq!(fields.u8(3), None);
    }
}
