//! Addresses as C sees them.
#![allow(unsafe_code)]
#![allow(clippy::missing_safety_doc)]

use std::ffi::{CStr, c_char};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;

use zcn::Address;

use crate::error::{Failure, Result, ZCN_Error, code};
use crate::guard::guard;

/// `ZCN_Address.family` of IPv4.
pub const ZCN_FAMILY_IPV4: u16 = 4;
/// `ZCN_Address.family` of IPv6.
pub const ZCN_FAMILY_IPV6: u16 = 6;
/// `ZCN_Address.family` of a Unix socket; nothing else is filled in.
pub const ZCN_FAMILY_UNIX: u16 = 1;

/// An IP address and port.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub struct ZCN_Address {
    /// The address in network byte order; IPv4 uses the first four bytes.
    pub bytes: [u8; 16],
    /// Scope of an IPv6 link-local address (the interface's index), else 0.
    pub scope_id: u32,
    /// Port, host byte order.
    pub port: u16,
    /// `ZCN_FAMILY_IPV4`, `ZCN_FAMILY_IPV6` or `ZCN_FAMILY_UNIX`; 0 is no address.
    pub family: u16,
}

const _: () = assert!(size_of::<ZCN_Address>() == 24);

impl From<SocketAddr> for ZCN_Address {
    fn from(address: SocketAddr) -> Self {
        let mut bytes = [0; 16];
        let (family, scope_id) = match address {
            SocketAddr::V4(v4) => {
                bytes[..4].copy_from_slice(&v4.ip().octets());
                (ZCN_FAMILY_IPV4, 0)
            }
            SocketAddr::V6(v6) => {
                bytes = v6.ip().octets();
                (ZCN_FAMILY_IPV6, v6.scope_id())
            }
        };
        Self {
            bytes,
            scope_id,
            port: address.port(),
            family,
        }
    }
}

impl From<&Address> for ZCN_Address {
    fn from(address: &Address) -> Self {
        match address.ip() {
            Some(address) => address.into(),
            None => Self {
                family: ZCN_FAMILY_UNIX,
                ..Self::default()
            },
        }
    }
}

impl ZCN_Address {
    pub(crate) fn socket_addr(&self) -> Result<SocketAddr> {
        match self.family {
            ZCN_FAMILY_IPV4 => {
                let [a, b, c, d, ..] = self.bytes;
                Ok((Ipv4Addr::new(a, b, c, d), self.port).into())
            }
            ZCN_FAMILY_IPV6 => {
                let ip = Ipv6Addr::from(self.bytes);
                Ok(SocketAddrV6::new(ip, self.port, 0, self.scope_id).into())
            }
            family => Err(Failure::new(
                ZCN_Error::ZCN_ERROR_INVALID_ARGUMENT,
                format!(
                    "address family {family} is neither ZCN_FAMILY_IPV4 nor ZCN_FAMILY_IPV6: fill \
                     the address with zcn_address_parse"
                ),
            )),
        }
    }
}

/// A text from C.
///
/// # Safety
/// `text` is NULL or points to a text that ends with a NUL and lives as long as `'a`.
pub(crate) unsafe fn text<'a>(text: *const c_char, what: &str) -> Result<&'a str> {
    if text.is_null() {
        return Err(Failure::new(
            ZCN_Error::ZCN_ERROR_INVALID_ARGUMENT,
            format!("{what} is NULL"),
        ));
    }
    // SAFETY: not NULL, and the rest is the caller's promise.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| {
        Failure::new(
            ZCN_Error::ZCN_ERROR_INVALID_ARGUMENT,
            format!("{what} is not UTF-8"),
        )
    })
}

/// A place of C's to write to.
///
/// # Safety
/// `out` is NULL or points to a `T` that may be written for as long as `'a`.
pub(crate) unsafe fn place<'a, T>(out: *mut T, what: &str) -> Result<&'a mut T> {
    // SAFETY: the caller's promise.
    unsafe { out.as_mut() }.ok_or_else(|| {
        Failure::new(
            ZCN_Error::ZCN_ERROR_INVALID_ARGUMENT,
            format!("{what} is NULL"),
        )
    })
}

/// Bytes from C.
///
/// # Safety
/// `data` points to `len` bytes that live as long as `'a`, or is NULL.
#[inline]
pub(crate) unsafe fn bytes<'a>(data: *const u8, len: usize) -> Result<&'a [u8]> {
    match (data.is_null(), isize::try_from(len)) {
        (true, Ok(0)) => Ok(&[]),
        // SAFETY: not NULL, of a length that memory can have, and the rest is the caller's promise.
        (false, Ok(_)) => Ok(unsafe { std::slice::from_raw_parts(data, len) }),
        (true, _) => Err(Failure::fixed(
            ZCN_Error::ZCN_ERROR_INVALID_ARGUMENT,
            c"data is NULL, but len is not 0",
        )),
        (false, Err(_)) => Err(Failure::fixed(
            ZCN_Error::ZCN_ERROR_INVALID_ARGUMENT,
            c"len is longer than memory can be",
        )),
    }
}

/// An address to listen on: a path if it looks like one, else a numeric IP address.
pub(crate) fn parse(address: &str, port: u16) -> Result<Address> {
    if let Some(path) = address.strip_prefix("unix:") {
        return Ok(Address::Unix(PathBuf::from(path)));
    }
    if address.starts_with('/') {
        return Ok(Address::Unix(PathBuf::from(address)));
    }
    parse_ip(address, port).map(Address::Ip)
}

pub(crate) fn parse_ip(address: &str, port: u16) -> Result<SocketAddr> {
    let bare = address
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(address);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok((ip, port).into());
    }
    // With a scope, e.g. fe80::1%2.
    if bare.contains('%')
        && let Ok(scoped) = format!("[{bare}]:{port}").parse()
    {
        return Ok(scoped);
    }
    let shown: String = address.chars().take(64).collect();
    Err(Failure::new(
        ZCN_Error::ZCN_ERROR_INVALID_CONFIG,
        format!("address \"{shown}\" is no numeric IP address, e.g. \"127.0.0.1\" or \"::\""),
    ))
}

/// Fills `out` from a numeric IP address ("127.0.0.1", "::1", "fe80::1%2") and a port.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_address_parse(
    text: *const c_char,
    port: u16,
    out: *mut ZCN_Address,
) -> ZCN_Error {
    code(guard(|| {
        // SAFETY: C passes a text or NULL, and a place to write to or NULL.
        let (text, out) = unsafe { (self::text(text, "text")?, place(out, "out")?) };
        *out = parse_ip(text, port)
            .map_err(|failure| failure.under(ZCN_Error::ZCN_ERROR_INVALID_ARGUMENT))?
            .into();
        Ok(())
    }))
}

/// Most bytes that `zcn_address_format` writes, the NUL included.
pub const ZCN_ADDRESS_TEXT_BYTES: usize = 80;

/// Writes an address as text ("127.0.0.1:80", "[::1]:80") into `text`, NUL included.
/// `ZCN_ADDRESS_TEXT_BYTES` are always enough.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_address_format(
    address: *const ZCN_Address,
    text: *mut c_char,
    len: usize,
) -> ZCN_Error {
    code(guard(|| {
        // SAFETY: C passes an address or NULL.
        let address = unsafe { address.as_ref() }.ok_or_else(|| {
            Failure::fixed(ZCN_Error::ZCN_ERROR_INVALID_ARGUMENT, c"address is NULL")
        })?;
        let shown = match address.family {
            ZCN_FAMILY_UNIX => "unix".to_owned(),
            _ => address.socket_addr()?.to_string(),
        };
        if text.is_null() || len <= shown.len() {
            return Err(Failure::new(
                ZCN_Error::ZCN_ERROR_INVALID_ARGUMENT,
                format!("text has no room for {} bytes", shown.len() + 1),
            ));
        }
        // SAFETY: `text` has room for `len` bytes, which are more than these and the NUL.
        unsafe {
            text.copy_from_nonoverlapping(shown.as_ptr().cast(), shown.len());
            text.add(shown.len()).write(0);
        }
        Ok(())
    }))
}
