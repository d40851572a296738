//! A file system of one folder, in memory. It knows neither the ring nor the device: requests go
//! in, answers come out.

use crate::protocol::{self, Header, long, opcode, word};

/// The folder; files come behind it.
const ROOT: u64 = 1;

/// How long the kernel may believe in an answer: not at all, so that each call is a request.
const VALID_SECONDS: u64 = 0;

/// The files by number, from [`ROOT`] + 1 on.
#[derive(Debug, Default)]
pub(crate) struct Files {
    files: Vec<(Vec<u8>, Vec<u8>)>,
    /// Requests answered so far.
    pub(crate) requests: u64,
}

impl Files {
    /// Answers a request with header and arguments; puts the answer without its header into `out`,
    /// which is empty. `None` for one that takes no answer.
    ///
    /// # Errors
    /// The errno to answer with.
    pub(crate) fn answer(
        &mut self,
        header: Header,
        arguments: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<Result<(), i32>> {
        self.requests += 1;
        let node = header.node;
        Some(match header.opcode {
            opcode::FORGET | opcode::BATCH_FORGET => return None,
            opcode::LOOKUP => self.lookup(name(arguments), out),
            opcode::GETATTR => self.attributes(node, out),
            opcode::SETATTR => self.set_attributes(node, arguments, out),
            opcode::OPEN | opcode::OPENDIR => {
                // `struct fuse_open_out`, with FOPEN_DIRECT_IO for files.
                out.resize(16, 0);
                out[8] = u8::from(header.opcode == opcode::OPEN);
                Ok(())
            }
            opcode::CREATE => self.create(name(arguments.get(16..).unwrap_or_default()), out),
            opcode::READ => self.read(node, arguments, out),
            opcode::WRITE => self.write(node, arguments, out),
            opcode::READDIR => {
                self.list(arguments, out);
                Ok(())
            }
            opcode::STATFS => {
                out.resize(80, 0);
                Ok(())
            }
            opcode::RELEASE | opcode::RELEASEDIR | opcode::FLUSH | opcode::DESTROY => Ok(()),
            _ => Err(libc::ENOSYS),
        })
    }

    fn data(&mut self, node: u64) -> Result<&mut Vec<u8>, i32> {
        let index = node.checked_sub(ROOT + 1).ok_or(libc::EISDIR)?;
        let file = self.files.get_mut(index as usize).ok_or(libc::ENOENT)?;
        Ok(&mut file.1)
    }

    fn lookup(&mut self, name: &[u8], out: &mut Vec<u8>) -> Result<(), i32> {
        let found = self.files.iter().position(|file| file.0 == name);
        self.entry(found.ok_or(libc::ENOENT)? as u64 + ROOT + 1, out)
    }

    fn create(&mut self, name: &[u8], out: &mut Vec<u8>) -> Result<(), i32> {
        if self.files.iter().any(|file| file.0 == name) {
            return Err(libc::EEXIST);
        }
        self.files.push((name.to_vec(), Vec::new()));
        self.entry(self.files.len() as u64 + ROOT, out)?;
        // `struct fuse_open_out` behind it.
        let open = out.len();
        out.resize(open + 16, 0);
        out[open + 8] = 1;
        Ok(())
    }

    /// `struct fuse_entry_out`.
    fn entry(&mut self, node: u64, out: &mut Vec<u8>) -> Result<(), i32> {
        for long in [node, 0, VALID_SECONDS, VALID_SECONDS, 0] {
            out.extend(long.to_ne_bytes());
        }
        self.attribute(node, out)
    }

    /// `struct fuse_attr_out`.
    fn attributes(&mut self, node: u64, out: &mut Vec<u8>) -> Result<(), i32> {
        out.extend(VALID_SECONDS.to_ne_bytes());
        out.extend([0; 8]);
        self.attribute(node, out)
    }

    /// `struct fuse_attr`.
    fn attribute(&mut self, node: u64, out: &mut Vec<u8>) -> Result<(), i32> {
        let (mode, bytes) = match node {
            ROOT => (libc::S_IFDIR | 0o755, 0),
            file => (libc::S_IFREG | 0o644, self.data(file)?.len() as u64),
        };
        for long in [node, bytes, bytes.div_ceil(512), 0, 0, 0] {
            out.extend(long.to_ne_bytes());
        }
        // Fractions of three times, mode, links, owner, group, device, block size, flags.
        for word in [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0] {
            out.extend(word.to_ne_bytes());
        }
        Ok(())
    }

    fn set_attributes(&mut self, node: u64, asked: &[u8], out: &mut Vec<u8>) -> Result<(), i32> {
        const FATTR_SIZE: u32 = 1 << 3;
        if word(asked, 0) & FATTR_SIZE != 0 {
            let size = usize::try_from(long(asked, 16)).map_err(|_| libc::EFBIG)?;
            if size > LARGEST {
                return Err(libc::EFBIG);
            }
            self.data(node)?.resize(size, 0);
        }
        self.attributes(node, out)
    }

    fn read(&mut self, node: u64, asked: &[u8], out: &mut Vec<u8>) -> Result<(), i32> {
        let (offset, size) = (long(asked, 8) as usize, word(asked, 16) as usize);
        let data = self.data(node)?;
        let start = offset.min(data.len());
        let end = start.saturating_add(size).min(data.len());
        out.extend_from_slice(&data[start..end]);
        Ok(())
    }

    fn write(&mut self, node: u64, asked: &[u8], out: &mut Vec<u8>) -> Result<(), i32> {
        let (offset, size) = (long(asked, 8) as usize, word(asked, 16) as usize);
        // `struct fuse_write_in` has 40 bytes.
        let bytes = asked.get(40..40 + size).ok_or(libc::EINVAL)?;
        let end = offset.checked_add(size).ok_or(libc::EFBIG)?;
        if end > LARGEST {
            return Err(libc::EFBIG);
        }
        let data = self.data(node)?;
        if data.len() < end {
            data.resize(end, 0);
        }
        data[offset..end].copy_from_slice(bytes);
        out.extend((size as u32).to_ne_bytes());
        out.extend([0; 4]);
        Ok(())
    }

    /// Entries of the folder (`struct fuse_dirent`), from an offset on.
    fn list(&self, asked: &[u8], out: &mut Vec<u8>) {
        let (offset, room) = (long(asked, 8) as usize, word(asked, 16) as usize);
        for (index, (name, _)) in self.files.iter().enumerate().skip(offset) {
            let len = (24 + name.len()).next_multiple_of(8);
            if out.len() + len > room {
                return;
            }
            let end = out.len() + len;
            out.extend((index as u64 + ROOT + 1).to_ne_bytes());
            out.extend((index as u64 + 1).to_ne_bytes());
            out.extend((name.len() as u32).to_ne_bytes());
            out.extend(u32::from(libc::DT_REG).to_ne_bytes());
            out.extend_from_slice(name);
            out.resize(end, 0);
        }
    }
}

/// No file grows beyond this.
const LARGEST: usize = 64 << 20;

/// A name ends with a zero.
fn name(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Answers a whole request, as it is read from the device, with a whole answer, if it takes one.
pub(crate) fn serve(files: &mut Files, request: &[u8], ring: bool, out: &mut Vec<u8>) -> Served {
    let header = Header::parse(request);
    let arguments = request.get(protocol::IN_HEADER..).unwrap_or_default();
    let mut body = Vec::new();
    let (answer, served) = if header.opcode == opcode::INIT {
        let ring = protocol::init(arguments, ring, &mut body);
        (Ok(()), Served::Init { ring })
    } else {
        match files.answer(header, arguments, &mut body) {
            Some(answer) => (answer, Served::Answered),
            None => return Served::Silent,
        }
    };
    let errno = answer.err().unwrap_or(0);
    if errno != 0 {
        body.clear();
    }
    let len = protocol::OUT_HEADER + body.len();
    out.clear();
    out.extend_from_slice(&protocol::out_header(len, errno, header.unique));
    out.extend_from_slice(&body);
    served
}

/// What a request was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// The first one: whether requests will come through a ring.
    Init { ring: bool },
    /// An answer is to be written.
    Answered,
    /// It takes no answer.
    Silent,
}
