//! How many bytes of bodies may be held at once, over all connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::meter;

/// A number of bytes that bodies may take up together.
#[derive(Debug)]
pub(crate) struct Budget {
    left: AtomicUsize,
}

/// Bytes taken from a budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { left: AtomicUsize::new(bytes) }
    }

    /// An empty share, to be grown as bytes arrive.
    pub(crate) fn share(self: &Arc<Self>) -> Held {
        Held { budget: Arc::clone(self), bytes: 0 }
    }
}

impl Held {
    /// Takes `more` bytes; `false` and nothing taken when there are not that many left.
    pub(crate) fn grow(&mut self, more: usize) -> bool {
        let take = |left: usize| left.checked_sub(more);
        let taken = self.budget.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if taken {
            self.bytes += more;
            meter::held(more);
        }
        taken
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.bytes, Ordering::Relaxed);
        if self.bytes > 0 {
            meter::let_go(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_comes_back() {
        let budget = Arc::new(Budget::new(10));
        let mut first = budget.share();
        let mut second = budget.share();
        assert!(first.grow(6) && first.grow(1));
        assert!(!second.grow(4) && second.grow(3) && !second.grow(1));
        drop(first);
        assert!(second.grow(7));
        drop(second);
        assert_eq!(budget.left.load(Ordering::Relaxed), 10);
    }
}
