//! From the settings of a link to its driver.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use zcn_frame::Medium;
use zcn_link::{
    CaptureOptions, Captured, Driver, Interface, MEMORY_FRAMES, MemoryLink, PacketSocket,
    ReceiveBuffers, Tun, TunBuilder, memory_capabilities,
};
use zcn_wire::EthernetAddress;

use super::config::{LinkConfig, LinkKind};
use super::error::StackError;

/// Ethernet address on a memory link, if none is given: a locally administered one.
const MEMORY_ADDRESS: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);
const MEMORY_MTU: u32 = 1500;
/// What of a capture is gathered before it is written.
const CAPTURE_BYTES: usize = 256 * 1024;

/// Opens a link; where the kernel's end is to have addresses, it gets them.
///
/// # Errors
/// No such device, no privilege, settings out of range: each says what helps.
pub fn open_link(config: &LinkConfig) -> Result<Box<dyn Driver>, StackError> {
    let driver = open_device(config)?;
    match &config.capture {
        None => Ok(driver),
        Some(path) => capture(driver, path, config),
    }
}

/// The same link with every frame written to a pcapng file.
///
/// # Errors
/// The file cannot be written.
pub fn capture(
    driver: Box<dyn Driver>,
    path: &Path,
    config: &LinkConfig,
) -> Result<Box<dyn Driver>, StackError> {
    let name = match &config.kind {
        LinkKind::Tap(name) | LinkKind::Tun(name) | LinkKind::Packet(name) => name,
        LinkKind::Memory => "memory",
    };
    let failed = |source| StackError::Capture {
        path: path.display().to_string(),
        source,
    };
    let file = BufWriter::with_capacity(CAPTURE_BYTES, File::create(path).map_err(failed)?);
    let description = format!("the stack's end of {}", config.kind);
    let captured = Captured::new(driver, file, name, &description, CaptureOptions::default());
    let captured = captured.map_err(failed)?;
    let path = path.to_owned();
    let captured = captured.on_failure(move |error| {
        tracing::warn!(path = %path.display(), %error, "the capture ends: no more can be written");
    });
    Ok(Box::new(captured))
}

fn open_device(config: &LinkConfig) -> Result<Box<dyn Driver>, StackError> {
    match &config.kind {
        LinkKind::Tap(name) => open_tun(config, name, Tun::tap(name)),
        LinkKind::Tun(name) => open_tun(config, name, Tun::tun(name)),
        LinkKind::Packet(interface) => open_packet(config, interface),
        LinkKind::Memory => {
            let address = config.address.unwrap_or(MEMORY_ADDRESS).0;
            // It carries at least what is usual: that less is asked for is the stack's to judge.
            let mtu = config.mtu.unwrap_or(MEMORY_MTU).max(MEMORY_MTU);
            let capabilities = memory_capabilities(Medium::Ethernet { address }, mtu);
            MemoryLink::loopback(capabilities, MEMORY_FRAMES)
                .map(|link| Box::new(link) as Box<dyn Driver>)
                .map_err(|source| StackError::Kernel {
                    action: "make a link through memory",
                    source,
                })
        }
    }
}

fn buffers(config: &LinkConfig) -> ReceiveBuffers {
    ReceiveBuffers {
        small: config.small_buffers,
        large: config.large_buffers,
    }
}

fn open_tun(
    config: &LinkConfig,
    name: &str,
    mut builder: TunBuilder,
) -> Result<Box<dyn Driver>, StackError> {
    builder = builder.offload(config.offload).buffers(buffers(config));
    if let Some(mtu) = config.mtu {
        builder = builder.mtu(mtu);
    }
    if let Some(address) = config.address {
        builder = builder.address(address.0);
    }
    let queues = builder.open()?;
    let kernel_end = Interface::open(name)?;
    for cidr in &config.kernel_addresses {
        kernel_end.add_address(cidr.address(), cidr.prefix_len())?;
    }
    one_queue(queues)
}

/// The driver of a link that was opened with one queue.
fn one_queue<D: Driver + 'static>(queues: Vec<D>) -> Result<Box<dyn Driver>, StackError> {
    match queues.into_iter().next() {
        Some(driver) => Ok(Box::new(driver)),
        None => Err(StackError::Setting {
            setting: "queues",
            got: "0".to_owned(),
            range: "at least 1",
        }),
    }
}

fn open_packet(config: &LinkConfig, interface: &str) -> Result<Box<dyn Driver>, StackError> {
    if !config.kernel_addresses.is_empty() {
        return Err(StackError::Setting {
            setting: "kernel_addresses",
            got: format!("on {interface}"),
            range: "only a TAP or TUN device has an end of the kernel that is ours to set up",
        });
    }
    let mut builder = PacketSocket::builder(interface)
        .offload(config.offload)
        .buffers(buffers(config));
    if let Some(address) = config.address {
        builder = builder.address(address.0);
    }
    one_queue(builder.open()?)
}
