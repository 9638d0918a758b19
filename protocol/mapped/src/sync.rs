//! The atomics that an end is published by, and the accesses to bytes that a checker is told of.
//!
//! Under `cfg(loom)` both are loom's, which tries every interleaving of threads and every value that a load may see.

#[cfg(not(loom))]
mod atomics {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    /// How an end is published.
    pub(crate) const fn publication() -> Ordering {
        Ordering::Release
    }

    /// Without loom nobody is told of accesses.
    pub(crate) struct Accesses;

    impl Accesses {
        pub(crate) const fn of(_bytes: usize) -> Self {
            Self
        }

        #[inline]
        pub(crate) fn stored(&self, _from: usize, _len: usize) {}

        #[inline]
        pub(crate) fn loaded(&self, _from: usize, _len: usize) {}
    }
}

#[cfg(loom)]
mod atomics {
    use std::cell::Cell;

    use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    pub(crate) fn publication() -> Ordering {
        if IS_UNORDERED.get() { Ordering::Relaxed } else { Ordering::Release }
    }

    /// Calls `what` with ends that are published without an order: the negative control. All threads of a model are one
    /// of the system's.
    pub fn published_without_order(what: impl FnOnce()) {
        let _back = Back(IS_UNORDERED.replace(true));
        what();
    }

    /// Puts back what there was, also when a model panics.
    struct Back(bool);

    impl Drop for Back {
        fn drop(&mut self) {
            IS_UNORDERED.set(self.0);
        }
    }

    /// Each byte by itself: one that is stored is told from all that happens beside it.
    pub(crate) struct Accesses(Box<[UnsafeCell<()>]>);

    impl Accesses {
        pub(crate) fn of(bytes: usize) -> Self {
            Self((0..bytes).map(|_| UnsafeCell::new(())).collect())
        }

        pub(crate) fn stored(&self, from: usize, len: usize) {
            self.0[from..from + len].iter().for_each(|byte| byte.with_mut(|_| ()));
        }

        pub(crate) fn loaded(&self, from: usize, len: usize) {
            self.0[from..from + len].iter().for_each(|byte| byte.with(|_| ()));
        }
    }

    thread_local! {
        static IS_UNORDERED: Cell<bool> = const { Cell::new(false) };
    }
}

#[cfg(loom)]
pub use atomics::published_without_order;
pub(crate) use atomics::{Accesses, AtomicBool, AtomicU64, Ordering, publication};
