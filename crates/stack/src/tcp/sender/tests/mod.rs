//! Tests of the sender: traces by hand, and a model network.

#![expect(
    clippy::single_range_in_vec_init,
    reason = "lists of SACK blocks, often of one"
)]

mod goodput;
mod hostile;
mod model;
mod properties;
mod records;
mod recovery;
mod support;
mod timeouts;
mod undo;
mod windows;

use core::mem::size_of;

use super::Sender;
use super::records::Record;

#[test]
fn a_sender_is_small() {
    assert!(size_of::<Sender>() <= 256, "{} bytes", size_of::<Sender>());
    assert_eq!(size_of::<Record>(), 40);
}
