//! The sizes that entries of the two queues come in.
//!
//! A ring is of one size on either side, known at compile time: the 64-byte entries and 16-byte
//! completions that everything but `URING_CMD` needs, or the larger ones of
//! `IORING_SETUP_SQE128` and `IORING_SETUP_CQE32`. Sources: io_uring_setup(2),
//! `include/uapi/linux/io_uring.h`.

use io_uring::{cqueue, squeue};

use crate::sqe::{Sqe, Sqe128};

/// How large the entries of a submission queue are: [`Entry64`] or [`Entry128`].
pub trait EntrySize: sealed::EntrySize {}

/// How large the entries of a completion queue are: [`Completion16`] or [`Completion32`].
pub trait CompletionSize: sealed::CompletionSize {}

/// Entries of 64 bytes, with room for 16 bytes of a command. What a ring has unless asked.
#[derive(Clone, Copy, Debug)]
pub struct Entry64;

/// Entries of 128 bytes (`IORING_SETUP_SQE128`), with room for 80 bytes of a command.
#[derive(Clone, Copy, Debug)]
pub struct Entry128;

/// Completions of 16 bytes. What a ring has unless asked.
#[derive(Clone, Copy, Debug)]
pub struct Completion16;

/// Completions of 32 bytes (`IORING_SETUP_CQE32`), which bring two words more.
#[derive(Clone, Copy, Debug)]
pub struct Completion32;

impl EntrySize for Entry64 {}
impl EntrySize for Entry128 {}
impl CompletionSize for Completion16 {}
impl CompletionSize for Completion32 {}

pub(crate) mod sealed {
    use super::{Sqe, cqueue, squeue};

    pub trait EntrySize: Copy + std::fmt::Debug + 'static {
        /// What comes behind the first 64 bytes.
        type Rest: Copy + std::fmt::Debug;
        /// A whole entry.
        type Whole: Copy;
        /// The same in the `io-uring` crate.
        type Raw: squeue::EntryMarker;
        /// What stands there for an operation that needs no more than 64 bytes.
        const NO_REST: Self::Rest;

        fn join(sqe: Sqe, rest: Self::Rest) -> Self::Whole;
        fn first(whole: &Self::Whole) -> &Sqe;
        fn raw(whole: &Self::Whole) -> &Self::Raw;
    }

    pub trait CompletionSize: Copy + std::fmt::Debug + 'static {
        /// What a completion brings behind its first 16 bytes.
        type Extra: Copy + Default + std::fmt::Debug;
        /// The `io-uring` crate's completion.
        type Raw: cqueue::EntryMarker;

        /// Takes a completion apart.
        fn take(raw: Self::Raw) -> Reaped<Self::Extra>;
    }

    /// A completion as the kernel wrote it.
    #[derive(Clone, Copy, Debug)]
    pub struct Reaped<X> {
        /// The `user_data`.
        pub word: u64,
        pub result: i32,
        pub flags: u32,
        pub extra: X,
    }
}

use sealed::Reaped;

impl sealed::EntrySize for Entry64 {
    type Rest = ();
    type Whole = Sqe;
    type Raw = squeue::Entry;
    const NO_REST: () = ();

    #[inline(always)]
    fn join(sqe: Sqe, (): ()) -> Sqe {
        sqe
    }

    #[inline(always)]
    fn first(whole: &Sqe) -> &Sqe {
        whole
    }

    #[inline(always)]
    fn raw(whole: &Sqe) -> &squeue::Entry {
        whole.entry()
    }
}

impl sealed::EntrySize for Entry128 {
    type Rest = [u8; 64];
    type Whole = Sqe128;
    type Raw = squeue::Entry128;
    const NO_REST: [u8; 64] = [0; 64];

    #[inline(always)]
    fn join(sqe: Sqe, rest: [u8; 64]) -> Sqe128 {
        Sqe128 { sqe, rest }
    }

    #[inline(always)]
    fn first(whole: &Sqe128) -> &Sqe {
        &whole.sqe
    }

    #[inline(always)]
    fn raw(whole: &Sqe128) -> &squeue::Entry128 {
        whole.entry()
    }
}

impl sealed::CompletionSize for Completion16 {
    type Extra = ();
    type Raw = cqueue::Entry;

    #[inline(always)]
    fn take(raw: cqueue::Entry) -> Reaped<()> {
        Reaped {
            word: raw.user_data(),
            result: raw.result(),
            flags: raw.flags(),
            extra: (),
        }
    }
}

impl sealed::CompletionSize for Completion32 {
    type Extra = [u64; 2];
    type Raw = cqueue::Entry32;

    #[inline(always)]
    fn take(raw: cqueue::Entry32) -> Reaped<[u64; 2]> {
        Reaped {
            word: raw.user_data(),
            result: raw.result(),
            flags: raw.flags(),
            extra: *raw.big_cqe(),
        }
    }
}

const _: () = {
    assert!(size_of::<cqueue::Entry>() == 16 && size_of::<cqueue::Entry32>() == 32);
    assert!(align_of::<cqueue::Entry>() == 8 && align_of::<cqueue::Entry32>() == 8);
};
