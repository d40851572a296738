//! The kernel is the reference: what its TCP does, ours does.

mod driver;

use driver::kernel::{Settings, on_the_kernel};
use driver::{ACK, FIN, PSH, Segment, Tool, accepted};

fn exchange(tool: &Tool) -> Vec<Segment> {
    let (listener, connection, seq) = accepted(tool);
    let mut told = Vec::new();
    tool.inject(&Segment::new(ACK | PSH, 1, seq).payload(b"hello").v4());
    told.extend(tool.fence());
    assert_eq!(tool.read(connection, 10).as_deref(), Ok(&b"hello"[..]));
    assert_eq!(tool.write(connection, b"world"), Ok(5));
    told.extend(tool.fence());
    tool.inject(&Segment::new(ACK | FIN, 6, seq.wrapping_add(5)).v4());
    told.extend(tool.fence());
    assert_eq!(tool.close(connection), Ok(0));
    told.extend(tool.fence());
    let end = seq.wrapping_add(6);
    tool.inject(&Segment::new(ACK, 7, end).v4());
    told.extend(tool.fence());
    assert_eq!(tool.close(listener), Ok(0));
    for segment in &mut told {
        segment.seq = segment.seq.wrapping_sub(seq);
        // How much there is room for is each one's own affair.
        segment.window = 0;
    }
    told
}

#[test]
fn a_connection_is_as_the_kernels() {
    on_the_kernel(Settings::default(), |kernel| {
        let (theirs, ours) = (exchange(kernel), exchange(&Tool::new("")));
        assert_eq!(ours, theirs);
    });
}
