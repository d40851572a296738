//! Clients: outgoing connections with callbacks.
#![allow(unsafe_code)]
#![allow(clippy::missing_safety_doc)]

use std::ffi::{c_char, c_int, c_void};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use zcn::{Address, ClientOptions, Target, TcpClient};

use crate::address::{ZCN_Address, bytes, parse_ip, text};
use crate::connection;
use crate::connections::{Connection, Link};
use crate::endpoint::{
    Calling, Endpoint, ZCN_OnClose, ZCN_OnConnect, ZCN_OnData, ZCN_OnEnd, ZCN_OnSent,
    ZCN_OnWritable,
};
use crate::error::{Failure, Result, ZCN_Error, code};
use crate::event_loop::{Loop, ZCN_Loop, number};
use crate::guard::guard;
use crate::handle::{self, Object};
use crate::member::{self, Member, Streams};
use crate::options::{Options, ZCN_Options};
use crate::stats::Figures;

/// A maker of outgoing connections, any number of them. It belongs to the thread that made it.
#[derive(Debug)]
#[allow(non_camel_case_types)]
pub struct ZCN_Client {
    _opaque: (),
}

/// A client with its connections.
pub(crate) struct Client {
    of: Rc<Loop>,
    pub(crate) endpoint: Rc<Endpoint>,
    pub(crate) client: TcpClient,
}

impl Member for Client {
    fn make(of: &Rc<Loop>, figures: Arc<Figures>, options: Options) -> Result<Self> {
        let endpoint = Endpoint::new(of.shared.clone(), figures);
        let mut settings = ClientOptions::default();
        settings.connect = options.connect;
        settings.connect.marks = options.server.marks;
        settings.idle_timeout = options.server.idle_timeout;
        settings.write_timeout = options.server.write_timeout;
        let client = TcpClient::new(&of.runtime, settings, Calling(endpoint.clone()))?;
        Ok(Self {
            of: of.clone(),
            endpoint,
            client,
        })
    }

    fn of(&self) -> &Rc<Loop> {
        &self.of
    }

    fn silence(&self) {
        self.endpoint.silence();
        self.client.shutdown(Duration::ZERO);
        self.of.touched();
    }

    fn into_object(this: Rc<Self>) -> Object {
        Object::Client(this)
    }
}

impl Streams for Client {
    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn notify_sent(&self, yes: bool) {
        self.client.notify_sent(yes);
    }
}

impl Client {
    fn connect(&self, host: &str, port: u16) -> Result<c_int> {
        let target = if let Some(path) = host.strip_prefix("unix:") {
            Target::Address(Address::Unix(PathBuf::from(path)))
        } else if port == 0 {
            return Err(Failure::fixed(
                ZCN_Error::ZCN_ERROR_INVALID_ARGUMENT,
                c"port 0 cannot be connected to",
            ));
        } else if let Ok(address) = parse_ip(host, port) {
            Target::Address(Address::Ip(address))
        } else {
            Target::Host(format!("{host}:{port}"))
        };
        let attempt = self.client.connect(target);
        let id = self.of.shared.connections.borrow_mut().insert(Connection {
            link: Link::Connecting(attempt),
            endpoint: self.endpoint.number,
            user_data: std::ptr::null_mut(),
            peer: ZCN_Address::default(),
            sends: self.endpoint.figures.sends.clone(),
        });
        let Some(id) = id else {
            self.client.cancel(attempt);
            return Err(Failure::fixed(
                ZCN_Error::ZCN_ERROR_OUT_OF_MEMORY,
                c"a loop can have a million connections",
            ));
        };
        self.endpoint.attempts.borrow_mut().insert(attempt, id);
        self.of.touched();
        Ok(id)
    }
}

/// A client with a loop of its own, from options (NULL: the defaults); NULL on failure, with the
/// reason in `error` unless that is NULL. Poll `zcn_client_loop`.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_client_create(
    options: *const ZCN_Options,
    error: *mut ZCN_Error,
) -> *mut ZCN_Client {
    // SAFETY: C passes a place for the code, or NULL.
    unsafe { member::create::<Client, _>(options, error) }
}

/// A client on a loop that there is already, for example a server's. Options of the loop itself
/// (buffers, ring, spinning) are those of the loop.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_client_create_on(
    event_loop: *mut ZCN_Loop,
    options: *const ZCN_Options,
    error: *mut ZCN_Error,
) -> *mut ZCN_Client {
    // SAFETY: C passes a place for the code, or NULL.
    unsafe { member::create_on::<Client, _>(event_loop, options, error) }
}

/// Destroys a client and ends its connections, as `zcn_server_destroy` does.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_client_destroy(client: *mut ZCN_Client) {
    member::destroy::<Client>(client);
}

/// Sets what is called, with `user_data` as its first argument: when a connection is made or has
/// failed, when bytes arrived, when a connection is gone. Each may be NULL.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_client_set_callbacks(
    client: *mut ZCN_Client,
    user_data: *mut c_void,
    on_connect: ZCN_OnConnect,
    on_data: ZCN_OnData,
    on_close: ZCN_OnClose,
) -> ZCN_Error {
    code(guard(|| {
        handle::with::<Client, _>(client, |client| {
            let endpoint = &client.endpoint;
            endpoint.user_data.set(user_data);
            endpoint.on_connect.set(on_connect);
            endpoint.on_data.set(on_data);
            endpoint.on_close.set(on_close);
            Ok(())
        })
    }))
}

/// As `zcn_server_set_on_writable`.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_client_set_on_writable(
    client: *mut ZCN_Client,
    on_writable: ZCN_OnWritable,
) -> ZCN_Error {
    member::set_on_writable::<Client>(client, on_writable)
}

/// As `zcn_server_set_on_sent`; for connections that are made from now on.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_client_set_on_sent(
    client: *mut ZCN_Client,
    on_sent: ZCN_OnSent,
) -> ZCN_Error {
    member::set_on_sent::<Client>(client, on_sent)
}

/// As `zcn_server_set_on_end`.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_client_set_on_end(client: *mut ZCN_Client, on_end: ZCN_OnEnd) -> ZCN_Error {
    member::set_on_end::<Client>(client, on_end)
}

/// Begins to connect to `host`, a numeric address, a name, or "unix:PATH" (whose port is ignored).
///
/// Returns the connection's id, above 0, or a negative error. `on_connect` tells the outcome, never
/// from inside this call. Until then the connection can be closed, and have user data.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_client_connect(
    client: *mut ZCN_Client,
    host: *const c_char,
    port: u16,
) -> c_int {
    number(guard(|| {
        // SAFETY: C passes a text, or NULL.
        let host = unsafe { text(host, "host")? };
        handle::get::<Client>(client)?.connect(host, port)
    }))
}

/// As `zcn_server_send`, on a connection of the client. `ZCN_ERROR_WOULD_BLOCK` before it is
/// connected.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_client_send(
    client: *mut ZCN_Client,
    fd: c_int,
    data: *const u8,
    len: usize,
) -> ZCN_Error {
    code(guard(|| {
        // SAFETY: C passes `len` bytes at `data`.
        let data = unsafe { bytes(data, len)? };
        handle::with::<Client, _>(client, |client| {
            connection::send_copy(&client.of, Some(&client.endpoint), fd, data)
        })
    }))
}

/// The loop that the client is on. NULL for a void handle.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_client_loop(client: *mut ZCN_Client) -> *mut ZCN_Loop {
    member::event_loop::<Client>(client)
}
