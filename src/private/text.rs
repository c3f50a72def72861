//! A text that a constant writes: `format!` for constants.

/// A text of at most `N` bytes. What does not fit is counted and not kept, so that a `Text<0>` measures.
#[derive(Clone, Copy, Debug)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    pub(super) const fn push(&mut self, parts: &[&str]) {
        let mut i = 0;
        while i < parts.len() {
            let part = parts[i].as_bytes();
            if self.len + part.len() <= N {
                let (_, rest) = self.bytes.split_at_mut(self.len);
                let (place, _) = rest.split_at_mut(part.len());
                place.copy_from_slice(part);
            }
            self.len += part.len();
            i += 1;
        }
    }

    /// The length of the whole text, in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The text, as far as it fits.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        match std::str::from_utf8(&self.bytes) {
            Ok(text) => text,
            Err(_) => "",
        }
    }
}
