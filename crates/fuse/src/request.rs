//! One request, in the same shape from either transport.

use crate::protocol::{Header, IN_HEADER, arguments_of, long, word};

/// A request: its header, the struct of its opcode, and names or data.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who asks for what.
    pub header: Header,
    /// The struct of the opcode; not shorter than the protocol says.
    pub(crate) arguments: &'a [u8],
    /// Names, each ended by a zero, or what is to be written.
    pub(crate) rest: &'a [u8],
}

/// Bytes that are no request of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{len} bytes are no request of opcode {opcode}")]
pub struct Malformed {
    /// How many there were.
    pub len: usize,
    /// What they asked for.
    pub opcode: u32,
    /// Whom to answer; 0 when there is nobody.
    pub unique: u64,
}

impl<'a> Request<'a> {
    /// Takes a request apart that was read from the device, where everything stands in one row. One
    /// whose opcode is unknown here is a request too.
    ///
    /// # Errors
    /// [`Malformed`]: shorter than its header says, or than its opcode needs.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let header = Header::parse(bytes);
        let malformed = Malformed {
            len: bytes.len(),
            opcode: header.opcode,
            unique: header.unique,
        };
        let body = bytes.get(IN_HEADER..header.len as usize).ok_or(malformed)?;
        let (arguments, rest) = body
            .split_at_checked(arguments_of(header.opcode).unwrap_or(0))
            .ok_or(malformed)?;
        Ok(Self {
            header,
            arguments,
            rest,
        })
    }

    /// Puts a request together from the parts that a command of the ring brings: the header's
    /// bytes, the room for the opcode's struct, and the rest.
    ///
    /// # Errors
    /// [`Malformed`]: the room is too small for the struct.
    pub fn from_parts(
        header: &[u8],
        arguments: &'a [u8],
        rest: &'a [u8],
    ) -> Result<Self, Malformed> {
        let header = Header::parse(header);
        let needed = arguments_of(header.opcode).unwrap_or(0);
        let arguments = arguments.get(..needed).ok_or(Malformed {
            len: arguments.len() + rest.len(),
            opcode: header.opcode,
            unique: header.unique,
        })?;
        Ok(Self {
            header,
            arguments,
            rest,
        })
    }

    /// The 32-bit word at an offset of the opcode's struct.
    pub(crate) fn word(&self, at: usize) -> u32 {
        word(self.arguments, at)
    }

    /// The 64-bit word at an offset of the opcode's struct.
    pub(crate) fn long(&self, at: usize) -> u64 {
        long(self.arguments, at)
    }

    /// The names behind the struct, in order; a name without its zero is none.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'a [u8]> {
        self.rest
            .split_inclusive(|byte| *byte == 0)
            .filter_map(|name| name.strip_suffix(&[0]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::opcode;

    fn bytes(len: u32, opcode: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; IN_HEADER];
        bytes[..4].copy_from_slice(&len.to_ne_bytes());
        bytes[4..8].copy_from_slice(&opcode.to_ne_bytes());
        bytes[8] = 9;
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn both_transports_give_the_same_request() {
        let whole = bytes(40 + 8 + 4, opcode::MKDIR, b"12345678one\0");
        let read = Request::parse(&whole).unwrap();
        let room = [b"12345678".as_slice(), &[0; 120]].concat();
        let came = Request::from_parts(&whole[..40], &room, b"one\0").unwrap();
        for request in [read, came] {
            assert_eq!(request.arguments, b"12345678");
            assert_eq!(request.names().collect::<Vec<_>>(), [b"one"]);
            assert_eq!(request.header.opcode, opcode::MKDIR);
        }
    }

    #[test]
    fn what_is_too_short_is_malformed_and_says_whom_to_answer() {
        for (len, opcode, body) in [
            (40, opcode::WRITE, &[][..]),
            (79, opcode::WRITE, &[0; 39]),
            (100, opcode::LOOKUP, b"name\0"),
            (0, opcode::LOOKUP, b""),
            (39, opcode::LOOKUP, b""),
        ] {
            let bytes = bytes(len, opcode, body);
            let malformed = Request::parse(&bytes).unwrap_err();
            assert_eq!((malformed.opcode, malformed.len), (opcode, bytes.len()));
            assert_ne!(malformed.unique, 0);
        }
        for cut in 0..IN_HEADER {
            assert!(Request::parse(&bytes(40, opcode::STATFS, b"")[..cut]).is_err());
        }
        let header = bytes(40, opcode::WRITE, b"");
        assert!(Request::from_parts(&header, &[0; 39], b"").is_err());
    }

    #[test]
    fn a_name_without_its_zero_is_none() {
        let whole = bytes(40 + 8 + 7, opcode::RENAME, b"12345678one\0two");
        let request = Request::parse(&whole).unwrap();
        assert_eq!(request.names().collect::<Vec<_>>(), [b"one"]);
    }
}
