//! `sendfile` behind the tool's back; alone in its process, as the symbol is global.

#![allow(unsafe_code)]

mod driver;

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};

use driver::{Tool, accepted};

/// A file in memory.
fn file(bytes: &[u8]) -> File {
    // SAFETY: a text that ends with a NUL; the descriptor is nobody else's.
    let mut file = unsafe {
        let fd = libc::memfd_create(c"sendfile".as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        File::from_raw_fd(fd)
    };
    file.write_all(bytes).expect("written");
    file
}

#[test]
fn a_file_is_sent_from_an_offset_to_our_sockets_and_to_the_kernels() {
    let tool = Tool::new("");
    let (_listener, connection, _) = accepted(&tool);
    let source = file(b"not this, but that");
    let target = file(b"");
    for to in [connection, target.as_raw_fd()] {
        let mut offset = 10;
        let from = source.as_raw_fd();
        // SAFETY: the offset is ours.
        let sent = unsafe { zcn_packetdrill::sendfile(to, from, &raw mut offset, 100) };
        assert_eq!((sent, offset), (8, 18));
    }
    assert_eq!(tool.expect().0.payload, b"but that");
    assert_eq!(target.metadata().expect("a file").len(), 8);
}
