//! Memory as a target: pieces that come when they are written, each under a lock of its own.

use std::io;
use std::ops::Range;
use std::sync::{PoisonError, RwLock};

use crate::error::UblkError;
use crate::request::{Operation, Request};

/// Bytes of a piece.
const PIECE: u64 = 64 << 10;

/// One piece; nothing, as long as it holds only zeroes.
type Piece = RwLock<Option<Box<[u8]>>>;

/// Bytes that all queues of a device share.
#[derive(Debug)]
pub(super) struct Memory {
    pieces: Vec<Piece>,
    size: u64,
}

impl Memory {
    pub(super) fn new(size: u64) -> Result<Self, UblkError> {
        let count = size.div_ceil(PIECE);
        let out_of_memory = || UblkError::Resources {
            what: "memory for the device",
            source: io::ErrorKind::OutOfMemory.into(),
        };
        let mut pieces = Vec::new();
        let count = usize::try_from(count).map_err(|_| out_of_memory())?;
        pieces
            .try_reserve_exact(count)
            .map_err(|_| out_of_memory())?;
        pieces.resize_with(count, Piece::default);
        Ok(Self { pieces, size })
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Carries out a request that lies within it, with the data in the first bytes of `room`.
    ///
    /// # Errors
    /// An errno: no memory for what is written.
    pub(super) fn carry_out(&self, request: &Request, room: &mut [u8]) -> Result<(), i32> {
        match request.operation {
            Operation::Read => {
                for (piece, there, here) in self.parts(request) {
                    let piece = piece.read().unwrap_or_else(PoisonError::into_inner);
                    match &*piece {
                        Some(bytes) => room[here].copy_from_slice(&bytes[there]),
                        None => room[here].fill(0),
                    }
                }
            }
            Operation::Write => {
                for (piece, there, here) in self.parts(request) {
                    let mut piece = piece.write().unwrap_or_else(PoisonError::into_inner);
                    let bytes = match &mut *piece {
                        Some(bytes) => bytes,
                        none => none.insert(zeroes()?),
                    };
                    bytes[there].copy_from_slice(&room[here]);
                }
            }
            Operation::Discard | Operation::WriteZeroes => {
                for (piece, there, _) in self.parts(request) {
                    let mut piece = piece.write().unwrap_or_else(PoisonError::into_inner);
                    if there.len() as u64 == PIECE {
                        *piece = None;
                    } else if let Some(bytes) = &mut *piece {
                        bytes[there].fill(0);
                    }
                }
            }
            // There is no cache; other operations do not come here.
            Operation::Flush | Operation::Other(_) => {}
        }
        Ok(())
    }

    /// The pieces of a range, with the bytes within each and within the request.
    fn parts(
        &self,
        request: &Request,
    ) -> impl Iterator<Item = (&Piece, Range<usize>, Range<usize>)> {
        let begin = request.offset;
        let end = begin + request.len;
        let first = begin / PIECE;
        (first..end.div_ceil(PIECE)).filter_map(move |number| {
            let start = number * PIECE;
            let (from, to) = (begin.max(start), end.min(start + PIECE));
            let there = (from - start) as usize..(to - start) as usize;
            let here = (from - begin) as usize..(to - begin) as usize;
            Some((self.pieces.get(number as usize)?, there, here))
        })
    }
}

/// A piece of zeroes; an errno if there is no memory.
fn zeroes() -> Result<Box<[u8]>, i32> {
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(PIECE as usize)
        .map_err(|_| libc::ENOMEM)?;
    bytes.resize(PIECE as usize, 0);
    Ok(bytes.into_boxed_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(operation: Operation, offset: u64, len: usize) -> Request {
        Request {
            operation,
            offset,
            len: len as u64,
            durable: false,
            keeps_space: false,
        }
    }

    fn read(memory: &Memory, offset: u64, len: usize) -> Vec<u8> {
        let mut room = vec![0xaa; len + 1];
        memory
            .carry_out(&request(Operation::Read, offset, len), &mut room)
            .expect("read");
        assert_eq!(room.pop(), Some(0xaa), "nothing behind it is touched");
        room
    }

    #[test]
    fn ranges_across_pieces_keep_their_bytes() {
        let memory = Memory::new(3 * PIECE + 512).expect("memory");
        assert_eq!(read(&memory, 0, 512), [0; 512]);
        let mut bytes: Vec<u8> = (0..2 * PIECE + 1024).map(|at| (at % 251) as u8).collect();
        let write = request(Operation::Write, PIECE - 512, bytes.len());
        memory.carry_out(&write, &mut bytes).expect("written");
        assert_eq!(read(&memory, PIECE - 512, bytes.len()), bytes);
        assert_eq!(read(&memory, 0, 512), [0; 512]);
        // One whole piece and parts of two others.
        let zeroes = request(Operation::WriteZeroes, PIECE, PIECE as usize + 512);
        memory.carry_out(&zeroes, &mut []).expect("zeroed");
        assert_eq!(
            read(&memory, PIECE, PIECE as usize + 512),
            vec![0; PIECE as usize + 512]
        );
        assert_eq!(read(&memory, PIECE - 512, 512), bytes[..512]);
        assert_eq!(read(&memory, 3 * PIECE, 512), bytes[bytes.len() - 512..]);
        assert!(memory.pieces[1].read().expect("no panic").is_none());
    }

    #[test]
    fn a_size_that_no_machine_has_is_an_error() {
        assert!(matches!(
            Memory::new(u64::MAX),
            Err(UblkError::Resources { .. })
        ));
    }
}
