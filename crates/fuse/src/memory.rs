//! The file system: files and folders in memory. It knows neither ring nor device nor clock:
//! requests go in, answers come out.

use std::collections::HashMap;
use std::time::Duration;

use crate::folder::Folder;
use crate::protocol::{Header, ROOT, fattr, long, opcode};
use crate::request::Request;

/// No file grows beyond this.
pub const MAX_FILE_BYTES: usize = 64 << 20;
/// Longest name.
pub const MAX_NAME_BYTES: usize = 255;

/// What a file, a folder or an empty name costs beside its bytes.
const NODE_BYTES: usize = 256;
const BLOCK_BYTES: u32 = 4096;
/// `RENAME_NOREPLACE`.
const NO_REPLACE: u32 = 1 << 0;
/// `FOPEN_DIRECT_IO`: each read and write of a program is a request.
const DIRECT_IO: u32 = 1 << 0;

/// A file system in memory. It has files and folders; links, devices, locks and extended attributes
/// are answered with `ENOSYS`.
///
/// The kernel may cache nothing of it, so that each call of a program becomes a request.
#[derive(Debug)]
pub struct MemFs {
    nodes: HashMap<u64, Node>,
    last: u64,
    /// Bytes that all files, names and nodes may have, and have.
    capacity: usize,
    used: usize,
    /// The answer that is not a part of a file.
    answer: Vec<u8>,
}

#[derive(Debug)]
struct Node {
    content: Content,
    /// Permissions.
    mode: u32,
    uid: u32,
    gid: u32,
    /// When it was last written, since 1970.
    modified: Duration,
    /// How often the kernel has been told of it and has not forgotten.
    lookups: u64,
    /// The folder that it has a name in.
    parent: Option<u64>,
}

#[derive(Debug)]
enum Content {
    File(Vec<u8>),
    Folder(Folder),
}

type Outcome<T = ()> = Result<T, i32>;

impl MemFs {
    /// An empty file system that holds at most `capacity` bytes in all, names included.
    pub fn new(capacity: usize) -> Self {
        let root = Node {
            content: Content::Folder(Folder::default()),
            mode: 0o755,
            uid: 0,
            gid: 0,
            modified: Duration::ZERO,
            lookups: 1,
            parent: Some(ROOT),
        };
        Self {
            nodes: HashMap::from([(ROOT, root)]),
            last: ROOT,
            capacity,
            used: 0,
            answer: Vec::new(),
        }
    }

    /// Files and folders that there are, the root included; a removed file counts while it is open.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Bytes of all files and names, and what each costs beside them.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Answers a request at the time `now` (since 1970): the body of the answer, or the errno to
    /// answer with. `None` for a request that takes no answer.
    ///
    /// `INIT` is the transport's, so it is not known here.
    pub fn handle(&mut self, request: &Request<'_>, now: Duration) -> Option<Result<&[u8], i32>> {
        self.answer.clear();
        let Header { opcode, node, .. } = request.header;
        let outcome = match opcode {
            opcode::FORGET => {
                self.forget(node, request.long(0));
                return None;
            }
            opcode::BATCH_FORGET => {
                for one in request.rest.as_chunks::<16>().0 {
                    self.forget(long(one, 0), long(one, 8));
                }
                return None;
            }
            // What it interrupts is answered at once anyway.
            opcode::INTERRUPT => return None,
            opcode::READ => {
                return Some(self.read(node, request.long(8), request.word(16)));
            }
            opcode::LOOKUP => self.lookup(request),
            opcode::GETATTR => self.attributes(node),
            opcode::SETATTR => self.set_attributes(node, request),
            opcode::OPEN => self.open(node),
            opcode::OPENDIR => self.open_folder(node),
            opcode::CREATE => self.create(request, now),
            opcode::MKDIR => {
                let mode = request.word(0) & !request.word(4);
                self.make(request, Content::Folder(Folder::default()), mode, now)
            }
            opcode::WRITE => self.write(node, request, now),
            opcode::UNLINK => self.unlink(request),
            opcode::RMDIR => self.remove_folder(request),
            opcode::RENAME => self.rename(request, 0),
            opcode::RENAME2 => self.rename(request, request.word(8)),
            opcode::READDIR => self.list(node, request.long(8), request.word(16)),
            opcode::STATFS => self.statistics(),
            opcode::RELEASE
            | opcode::RELEASEDIR
            | opcode::FLUSH
            | opcode::FSYNC
            | opcode::FSYNCDIR
            | opcode::DESTROY => Ok(()),
            _ => Err(libc::ENOSYS),
        };
        Some(outcome.map(|()| self.answer.as_slice()))
    }

    fn node(&mut self, node: u64) -> Outcome<&mut Node> {
        self.nodes.get_mut(&node).ok_or(libc::ENOENT)
    }

    fn folder(&mut self, node: u64) -> Outcome<&mut Folder> {
        match &mut self.node(node)?.content {
            Content::Folder(folder) => Ok(folder),
            Content::File(_) => Err(libc::ENOTDIR),
        }
    }

    fn file(&mut self, node: u64) -> Outcome<&mut Vec<u8>> {
        match &mut self.node(node)?.content {
            Content::File(bytes) => Ok(bytes),
            Content::Folder(_) => Err(libc::EISDIR),
        }
    }

    /// Takes bytes of the capacity.
    fn take(&mut self, bytes: usize) -> Outcome {
        let used = self.used.saturating_add(bytes);
        if used > self.capacity {
            return Err(libc::ENOSPC);
        }
        self.used = used;
        Ok(())
    }

    fn lookup(&mut self, request: &Request<'_>) -> Outcome {
        let name = request.names().next().ok_or(libc::EINVAL)?;
        if name.len() > MAX_NAME_BYTES {
            return Err(libc::ENAMETOOLONG);
        }
        let folder = self.folder(request.header.node)?;
        let found = folder.get(name).ok_or(libc::ENOENT)?;
        self.put_entry(found)
    }

    fn forget(&mut self, number: u64, times: u64) {
        if let Some(node) = self.nodes.get_mut(&number) {
            node.lookups = node.lookups.saturating_sub(times);
            self.drop_if_unknown(number);
        }
    }

    /// A node goes when it has no name and the kernel knows it no longer.
    fn drop_if_unknown(&mut self, number: u64) {
        let Some(node) = self.nodes.get(&number) else {
            return;
        };
        if node.lookups > 0 || node.parent.is_some() {
            return;
        }
        let bytes = match &node.content {
            Content::File(bytes) => bytes.len(),
            Content::Folder(_) => 0,
        };
        self.nodes.remove(&number);
        self.used -= bytes + NODE_BYTES;
    }

    fn create(&mut self, request: &Request<'_>, now: Duration) -> Outcome {
        let mode = request.word(4) & !request.word(8);
        self.make(request, Content::File(Vec::new()), mode, now)?;
        self.put_open(DIRECT_IO);
        Ok(())
    }

    /// Makes a file or folder of the request's first name.
    fn make(
        &mut self,
        request: &Request<'_>,
        content: Content,
        mode: u32,
        now: Duration,
    ) -> Outcome {
        let Header { node, uid, gid, .. } = request.header;
        let name = new_name(request.names().next())?;
        if self.folder(node)?.get(name).is_some() {
            return Err(libc::EEXIST);
        }
        self.take(NODE_BYTES + name.len())?;
        self.last += 1;
        let number = self.last;
        self.folder(node)?.set(name, number);
        let made = Node {
            content,
            mode: mode & 0o7777,
            uid,
            gid,
            modified: now,
            lookups: 0,
            parent: Some(node),
        };
        self.nodes.insert(number, made);
        self.put_entry(number)
    }

    fn open(&mut self, node: u64) -> Outcome {
        self.file(node)?;
        self.put_open(DIRECT_IO);
        Ok(())
    }

    fn open_folder(&mut self, node: u64) -> Outcome {
        self.folder(node)?;
        self.put_open(0);
        Ok(())
    }

    fn read(&mut self, node: u64, offset: u64, bytes: u32) -> Outcome<&[u8]> {
        let data = self.file(node)?;
        let start = usize::try_from(offset).map_or(data.len(), |start| start.min(data.len()));
        let end = start.saturating_add(bytes as usize).min(data.len());
        Ok(&data[start..end])
    }

    fn write(&mut self, node: u64, request: &Request<'_>, now: Duration) -> Outcome {
        let (offset, len) = (request.long(8), request.word(16));
        let bytes = request.rest.get(..len as usize).ok_or(libc::EINVAL)?;
        let end = offset.checked_add(len.into()).ok_or(libc::EFBIG)?;
        self.resize(node, end, false)?;
        self.node(node)?.modified = now;
        let start = end as usize - bytes.len();
        self.file(node)?[start..end as usize].copy_from_slice(bytes);
        self.answer.extend(len.to_ne_bytes());
        self.answer.extend([0; 4]);
        Ok(())
    }

    /// Makes a file at least so long, or with `shrink` just so long.
    fn resize(&mut self, node: u64, bytes: u64, shrink: bool) -> Outcome {
        let before = self.file(node)?.len();
        let bytes = usize::try_from(bytes).map_err(|_| libc::EFBIG)?;
        if bytes > MAX_FILE_BYTES {
            return Err(libc::EFBIG);
        }
        if bytes > before {
            self.take(bytes - before)?;
        } else if shrink {
            self.used -= before - bytes;
        } else {
            return Ok(());
        }
        let file = self.file(node)?;
        file.resize(bytes, 0);
        if shrink {
            file.shrink_to_fit();
        }
        Ok(())
    }

    fn unlink(&mut self, request: &Request<'_>) -> Outcome {
        let (node, name) = (request.header.node, request.names().next());
        let name = name.ok_or(libc::EINVAL)?;
        let found = self.folder(node)?.get(name).ok_or(libc::ENOENT)?;
        self.file(found)?;
        self.remove(node, name);
        Ok(())
    }

    fn remove_folder(&mut self, request: &Request<'_>) -> Outcome {
        let (node, name) = (request.header.node, request.names().next());
        let name = name.ok_or(libc::EINVAL)?;
        let found = self.folder(node)?.get(name).ok_or(libc::ENOENT)?;
        if !self.folder(found)?.is_empty() {
            return Err(libc::ENOTEMPTY);
        }
        self.remove(node, name);
        Ok(())
    }

    /// Takes a name from its node, which goes when the kernel has forgotten it.
    fn remove(&mut self, folder: u64, name: &[u8]) {
        let removed = self
            .folder(folder)
            .ok()
            .and_then(|in_it| in_it.remove(name));
        if let Some(number) = removed {
            self.used -= name.len();
            if let Ok(node) = self.node(number) {
                node.parent = None;
            }
            self.drop_if_unknown(number);
        }
    }

    fn rename(&mut self, request: &Request<'_>, flags: u32) -> Outcome {
        let (from, to) = (request.header.node, request.long(0));
        let mut names = request.names();
        let name = names.next().ok_or(libc::EINVAL)?;
        let new_name = new_name(names.next())?;
        if flags & !NO_REPLACE != 0 {
            return Err(libc::EINVAL);
        }
        let moved = self.folder(from)?.get(name).ok_or(libc::ENOENT)?;
        let replaced = self.folder(to)?.get(new_name);
        if replaced == Some(moved) {
            return Ok(());
        }
        let is_folder = self.folder(moved).is_ok();
        if is_folder && self.lies_below(to, moved) {
            return Err(libc::EINVAL);
        }
        match replaced {
            None if self.used - name.len() + new_name.len() > self.capacity => {
                return Err(libc::ENOSPC);
            }
            None => {}
            Some(_) if flags & NO_REPLACE != 0 => return Err(libc::EEXIST),
            Some(replaced) => match self.folder(replaced) {
                Ok(_) if !is_folder => return Err(libc::EISDIR),
                Ok(folder) if !folder.is_empty() => return Err(libc::ENOTEMPTY),
                Err(_) if is_folder => return Err(libc::ENOTDIR),
                // Which frees a name as long as the new one.
                _ => self.remove(to, new_name),
            },
        }
        self.used = self.used - name.len() + new_name.len();
        self.folder(from)?.remove(name);
        self.folder(to)?.set(new_name, moved);
        self.node(moved)?.parent = Some(to);
        Ok(())
    }

    /// Whether a folder is another, or lies somewhere below it.
    fn lies_below(&self, mut folder: u64, above: u64) -> bool {
        while folder != above {
            match self.nodes.get(&folder).and_then(|node| node.parent) {
                Some(parent) if parent != folder => folder = parent,
                _ => return false,
            }
        }
        true
    }

    fn set_attributes(&mut self, number: u64, request: &Request<'_>) -> Outcome {
        let set = request.word(0);
        if set & fattr::SIZE != 0 {
            self.resize(number, request.long(16), true)?;
        }
        let node = self.node(number)?;
        if set & fattr::MODE != 0 {
            node.mode = request.word(68) & 0o7777;
        }
        if set & fattr::UID != 0 {
            node.uid = request.word(76);
        }
        if set & fattr::GID != 0 {
            node.gid = request.word(80);
        }
        if set & fattr::MTIME != 0 {
            // Before 1970 is 1970.
            let seconds = request.long(40).cast_signed().max(0).cast_unsigned();
            node.modified = Duration::new(seconds, request.word(60) % 1_000_000_000);
        }
        self.attributes(number)
    }

    /// `struct fuse_attr_out`.
    fn attributes(&mut self, node: u64) -> Outcome {
        self.answer.extend([0; 16]);
        self.put_attributes(node)
    }

    /// `struct fuse_entry_out`; the kernel knows the node from here on.
    fn put_entry(&mut self, number: u64) -> Outcome {
        self.node(number)?.lookups += 1;
        self.answer.extend(number.to_ne_bytes());
        self.answer.extend([0; 32]);
        self.put_attributes(number)
    }

    /// `struct fuse_attr`.
    fn put_attributes(&mut self, number: u64) -> Outcome {
        let node = self.nodes.get(&number).ok_or(libc::ENOENT)?;
        let (kind, bytes, links) = match &node.content {
            Content::File(bytes) => (libc::S_IFREG, bytes.len() as u64, 1),
            Content::Folder(_) => (libc::S_IFDIR, 0, 2),
        };
        let links = if node.parent.is_some() { links } else { 0 };
        let (seconds, nanoseconds) = (node.modified.as_secs(), node.modified.subsec_nanos());
        // Number, size, blocks; read, written, changed.
        let longs = [
            number,
            bytes,
            bytes.div_ceil(512),
            seconds,
            seconds,
            seconds,
        ];
        let mode = kind | node.mode;
        let nanoseconds = [nanoseconds; 3];
        // Mode, links, owner, group, device, block size, flags.
        let words = [mode, links, node.uid, node.gid, 0, BLOCK_BYTES, 0];
        self.answer
            .extend(longs.into_iter().flat_map(u64::to_ne_bytes));
        let words = nanoseconds.into_iter().chain(words);
        self.answer.extend(words.flat_map(u32::to_ne_bytes));
        Ok(())
    }

    /// `struct fuse_open_out`.
    fn put_open(&mut self, flags: u32) {
        self.answer.extend([0; 8]);
        self.answer.extend(flags.to_ne_bytes());
        self.answer.extend([0; 4]);
    }

    /// `struct fuse_dirent`, one behind the other, as many as there is room for.
    fn list(&mut self, number: u64, behind: u64, room: u32) -> Outcome {
        let node = self.nodes.get(&number).ok_or(libc::ENOENT)?;
        let Content::Folder(folder) = &node.content else {
            return Err(libc::ENOTDIR);
        };
        let parent = node.parent.unwrap_or(number);
        for (place, name, entry) in folder.list(behind, number, parent) {
            let end = self.answer.len() + (24 + name.len()).next_multiple_of(8);
            if end > room as usize {
                break;
            }
            let kind = match self.nodes.get(&entry).map(|node| &node.content) {
                Some(Content::File(_)) => libc::DT_REG,
                _ => libc::DT_DIR,
            };
            self.answer.extend(entry.to_ne_bytes());
            self.answer.extend(place.to_ne_bytes());
            self.answer.extend((name.len() as u32).to_ne_bytes());
            self.answer.extend(u32::from(kind).to_ne_bytes());
            self.answer.extend_from_slice(name);
            self.answer.resize(end, 0);
        }
        Ok(())
    }

    /// `struct fuse_statfs_out`.
    fn statistics(&mut self) -> Outcome {
        let blocks = |bytes: usize| bytes as u64 / u64::from(BLOCK_BYTES);
        let free = self.capacity.saturating_sub(self.used);
        let nodes = self.nodes.len() as u64;
        let free_nodes = (free / NODE_BYTES) as u64;
        let all = blocks(self.capacity);
        let free = blocks(free);
        for long in [all, free, free, nodes + free_nodes, free_nodes] {
            self.answer.extend(long.to_ne_bytes());
        }
        for word in [BLOCK_BYTES, MAX_NAME_BYTES as u32, BLOCK_BYTES] {
            self.answer.extend(word.to_ne_bytes());
        }
        self.answer.resize(80, 0);
        Ok(())
    }
}

/// A name that something may be given.
fn new_name(name: Option<&[u8]>) -> Outcome<&[u8]> {
    match name {
        Some(name) if name.len() > MAX_NAME_BYTES => Err(libc::ENAMETOOLONG),
        Some(b"" | b"." | b"..") | None => Err(libc::EINVAL),
        Some(name) if name.contains(&b'/') => Err(libc::EINVAL),
        Some(name) => Ok(name),
    }
}

#[cfg(test)]
mod tests;
