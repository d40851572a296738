"""zcn (zero-copy net) for Python: servers, clients and UDP sockets of libzero_copy_net by ctypes.

    import zcn

    loop = zcn.Loop()
    server = zcn.Server(loop, address="127.0.0.1", port=7007)
    server.on_data = lambda connection, data: connection.send(data)
    server.start()
    loop.run()

Inside asyncio the loop is one more reader: `loop.attach()` in place of `loop.run()`.

Options are those of zcn_options_set_str, by name, as keyword arguments. Everything on a loop belongs
to the thread that made it; `Loop.wakeup` alone is for any thread. An exception that leaves a callback
is thrown by the poll that made the callback, or handed to asyncio's exception handler.

The library is found by the environment variable ZCN_LIBRARY, or as the system finds it.
"""

import asyncio
import ctypes
import ctypes.util
import os
from ctypes import CFUNCTYPE, POINTER, byref, c_char_p, c_int, c_size_t, c_uint8, c_uint16
from ctypes import c_uint32, c_uint64, c_void_p

__all__ = ["Address", "Client", "Connection", "Error", "Loop", "Server", "Udp"]

_WOULD_BLOCK = -12


class _Address(ctypes.Structure):
    _fields_ = [
        ("bytes", c_uint8 * 16),
        ("scope_id", c_uint32),
        ("port", c_uint16),
        ("family", c_uint16),
    ]


class _Datagram(ctypes.Structure):
    _fields_ = [
        ("data", c_void_p),
        ("len", c_size_t),
        ("segment_size", c_size_t),
        ("timestamp_ns", c_uint64),
        ("peer", _Address),
        ("truncated", c_int),
    ]


class _Stats(ctypes.Structure):
    _fields_ = [
        (name, c_uint64)
        for name in (
            "connections_active",
            "connections_opened",
            "connections_failed",
            "connections_closed",
            "messages_received",
            "bytes_received",
            "messages_sent",
            "bytes_sent",
            "sends_refused",
            "buffers_total",
            "buffers_in_use",
            "buffers_lent",
            "polls",
            "system_calls",
        )
    ]


_OnConnection = CFUNCTYPE(None, c_void_p, c_int)
_OnConnect = CFUNCTYPE(None, c_void_p, c_int, c_int)
_OnData = CFUNCTYPE(None, c_void_p, c_int, c_void_p, c_size_t)
_OnDatagram = CFUNCTYPE(None, c_void_p, POINTER(_Datagram))
_OnUdpWritable = CFUNCTYPE(None, c_void_p)
_OnUdpError = CFUNCTYPE(None, c_void_p, c_int, c_int)

# Name, what it answers, what it takes. Handles are opaque pointers.
_FUNCTIONS = [
    ("zcn_address_parse", c_int, [c_char_p, c_uint16, POINTER(_Address)]),
    ("zcn_address_format", c_int, [POINTER(_Address), c_char_p, c_size_t]),
    ("zcn_client_connect", c_int, [c_void_p, c_char_p, c_uint16]),
    ("zcn_client_create_on", c_void_p, [c_void_p, c_void_p, POINTER(c_int)]),
    ("zcn_client_destroy", None, [c_void_p]),
    ("zcn_client_set_callbacks", c_int, [c_void_p, c_void_p, _OnConnect, _OnData, _OnConnection]),
    ("zcn_client_set_on_end", c_int, [c_void_p, _OnConnection]),
    ("zcn_client_set_on_writable", c_int, [c_void_p, _OnConnection]),
    ("zcn_client_stats_ex", c_int, [c_void_p, POINTER(_Stats), c_size_t]),
    ("zcn_conn_abort", c_int, [c_void_p, c_int]),
    ("zcn_conn_close", c_int, [c_void_p, c_int]),
    ("zcn_conn_fd", c_int, [c_void_p, c_int]),
    ("zcn_conn_local", c_int, [c_void_p, c_int, POINTER(_Address)]),
    ("zcn_conn_pause", c_int, [c_void_p, c_int]),
    ("zcn_conn_peer", c_int, [c_void_p, c_int, POINTER(_Address)]),
    ("zcn_conn_resume", c_int, [c_void_p, c_int]),
    ("zcn_conn_send", c_int, [c_void_p, c_int, c_char_p, c_size_t]),
    ("zcn_conn_shutdown", c_int, [c_void_p, c_int]),
    ("zcn_conn_unsent", c_size_t, [c_void_p, c_int]),
    ("zcn_error_name", c_char_p, [c_int]),
    ("zcn_last_error_message", c_char_p, []),
    ("zcn_last_os_error", c_int, []),
    ("zcn_loop_create", c_void_p, [c_void_p, POINTER(c_int)]),
    ("zcn_loop_destroy", c_int, [c_void_p]),
    ("zcn_loop_fd", c_int, [c_void_p]),
    ("zcn_loop_is_uring", c_int, [c_void_p]),
    ("zcn_loop_poll", c_int, [c_void_p, c_int, c_uint32]),
    ("zcn_loop_wakeup", c_int, [c_void_p]),
    ("zcn_options_free", c_int, [c_void_p]),
    ("zcn_options_new", c_void_p, []),
    ("zcn_options_set_str", c_int, [c_void_p, c_char_p, c_char_p]),
    ("zcn_server_address", c_int, [c_void_p, POINTER(_Address)]),
    ("zcn_server_create_on", c_void_p, [c_void_p, c_void_p, POINTER(c_int)]),
    ("zcn_server_destroy", None, [c_void_p]),
    ("zcn_server_is_stopped", c_int, [c_void_p]),
    ("zcn_server_set_callbacks", None, [c_void_p, c_void_p, _OnConnection, _OnData, _OnConnection]),
    ("zcn_server_set_on_end", c_int, [c_void_p, _OnConnection]),
    ("zcn_server_set_on_writable", c_int, [c_void_p, _OnConnection]),
    ("zcn_server_shutdown", c_int, [c_void_p, c_uint32]),
    ("zcn_server_start", c_int, [c_void_p]),
    ("zcn_server_stats_ex", c_int, [c_void_p, POINTER(_Stats), c_size_t]),
    ("zcn_udp_address", c_int, [c_void_p, POINTER(_Address)]),
    ("zcn_udp_create_on", c_void_p, [c_void_p, c_void_p, POINTER(c_int)]),
    ("zcn_udp_destroy", None, [c_void_p]),
    ("zcn_udp_send_to", c_int, [c_void_p, POINTER(_Address), c_char_p, c_size_t]),
    (
        "zcn_udp_set_callbacks",
        c_int,
        [c_void_p, c_void_p, _OnDatagram, _OnUdpWritable, _OnUdpError],
    ),
]


def _load():
    name = os.environ.get("ZCN_LIBRARY") or ctypes.util.find_library("zero_copy_net")
    library = ctypes.CDLL(name or "libzero_copy_net.so.0")
    for name, answer, arguments in _FUNCTIONS:
        function = getattr(library, name)
        function.restype = answer
        function.argtypes = arguments
    return library


_lib = _load()


class Error(Exception):
    """A call that failed: `code` (below 0), its `name`, and `os_error`, the errno or 0."""

    def __init__(self, code, message=None):
        super().__init__(message or _lib.zcn_last_error_message().decode())
        self.code = code
        self.name = _lib.zcn_error_name(code).decode()
        self.os_error = _lib.zcn_last_os_error() if message is None else 0


def _check(answer):
    if answer < 0:
        raise Error(answer)
    return answer


class _Options:
    """Keyword arguments as an options object, for the time of a `with`."""

    def __init__(self, named):
        self.handle = _lib.zcn_options_new()
        try:
            for name, value in named.items():
                text = str(int(value)) if isinstance(value, bool) else str(value)
                _check(_lib.zcn_options_set_str(self.handle, name.encode(), text.encode()))
        except Error:
            _lib.zcn_options_free(self.handle)
            raise

    def __enter__(self):
        return self.handle

    def __exit__(self, *_):
        _lib.zcn_options_free(self.handle)


class Address(tuple):
    """A (host, port) pair, as Python's sockets have it."""

    __slots__ = ()

    def __new__(cls, host, port):
        return super().__new__(cls, (host, port))

    @property
    def host(self):
        return self[0]

    @property
    def port(self):
        return self[1]

    @classmethod
    def _of(cls, raw):
        text = ctypes.create_string_buffer(80)
        _check(_lib.zcn_address_format(byref(raw), text, len(text)))
        host, _, port = text.value.decode().rpartition(":")
        return cls(host.strip("[]"), int(port or 0))

    @staticmethod
    def _raw(pair):
        raw = _Address()
        _check(_lib.zcn_address_parse(pair[0].encode(), pair[1], byref(raw)))
        return raw


class Connection:
    """One connection, by its id. Void when the connection is gone: then its calls raise Error."""

    __slots__ = ("loop", "id")

    def __init__(self, loop, id_):
        self.loop = loop
        self.id = id_

    def __eq__(self, other):
        return isinstance(other, Connection) and (self.id, self.loop) == (other.id, other.loop)

    def __hash__(self):
        return hash(self.id)

    def __repr__(self):
        return f"<zcn.Connection {self.id}>"

    def send(self, data):
        """Copies and sends, all or nothing. False when the queue is full until `on_writable`."""
        answer = _lib.zcn_conn_send(self.loop._handle, self.id, bytes(data), len(data))
        return answer != _WOULD_BLOCK and _check(answer) == 0

    def close(self):
        """Sends what is queued, then closes."""
        _check(_lib.zcn_conn_close(self.loop._handle, self.id))

    def abort(self):
        """Closes with a reset."""
        _check(_lib.zcn_conn_abort(self.loop._handle, self.id))

    def shutdown(self):
        """Ends the write side after what is queued."""
        _check(_lib.zcn_conn_shutdown(self.loop._handle, self.id))

    def pause(self):
        """Receives nothing more until `resume`."""
        _check(_lib.zcn_conn_pause(self.loop._handle, self.id))

    def resume(self):
        """Receives again."""
        _check(_lib.zcn_conn_resume(self.loop._handle, self.id))

    @property
    def unsent(self):
        """Bytes that the kernel has not taken yet."""
        return _lib.zcn_conn_unsent(self.loop._handle, self.id)

    @property
    def peer(self):
        """The peer's address."""
        raw = _Address()
        _check(_lib.zcn_conn_peer(self.loop._handle, self.id, byref(raw)))
        return Address._of(raw)

    @property
    def local(self):
        """The address of this end."""
        raw = _Address()
        _check(_lib.zcn_conn_local(self.loop._handle, self.id, byref(raw)))
        return Address._of(raw)


class Loop:
    """An event loop, with the options of a loop. Close it after everything on it."""

    def __init__(self, **options):
        error = c_int()
        with _Options(options) as handle:
            self._handle = _lib.zcn_loop_create(handle, byref(error))
        _check(error.value)
        self._failed = None
        self._running = False
        self._asyncio = None

    def poll(self, timeout=None, max_events=0):
        """Makes the callbacks that are due, waiting up to `timeout` seconds (None: as long as it
        takes); how many they were."""
        timeout_ms = -1 if timeout is None else max(0, round(timeout * 1000))
        count = _check(_lib.zcn_loop_poll(self._handle, timeout_ms, max_events))
        failed, self._failed = self._failed, None
        if failed is not None:
            raise failed
        return count

    def run(self):
        """Polls until `stop`."""
        self._running = True
        while self._running:
            # A limit lets signal handlers of Python run.
            self.poll(timeout=1.0)

    def stop(self):
        """Ends `run` after this poll."""
        self._running = False
        self.wakeup()

    def wakeup(self):
        """Ends a wait, or the next one; from any thread."""
        _check(_lib.zcn_loop_wakeup(self._handle))

    def fileno(self):
        """A descriptor that is readable when `poll` has something to do."""
        return _check(_lib.zcn_loop_fd(self._handle))

    def attach(self, loop=None):
        """Runs inside an asyncio event loop (the running one) until `detach`."""
        self._asyncio = loop or asyncio.get_running_loop()
        self._asyncio.add_reader(self.fileno(), self._ready)
        self._ready()

    def detach(self):
        """Leaves the asyncio event loop."""
        if self._asyncio is not None:
            self._asyncio.remove_reader(self.fileno())
            self._asyncio = None

    def _ready(self):
        try:
            self.poll(timeout=0)
        except Exception as error:  # noqa: BLE001: whatever a callback threw
            context = {"message": "a zcn callback failed", "exception": error}
            self._asyncio.call_exception_handler(context)

    def _keep(self, error):
        self._failed = self._failed or error

    @property
    def is_uring(self):
        """Whether it runs on io_uring, or on epoll."""
        return _check(_lib.zcn_loop_is_uring(self._handle)) == 1

    def close(self):
        """Ends the loop and everything on it."""
        self.detach()
        if self._handle:
            _check(_lib.zcn_loop_destroy(self._handle))
            self._handle = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class _Endpoint:
    """What servers and clients have in common. Callbacks are attributes; None is no callback."""

    on_data = None
    on_close = None
    on_writable = None
    on_end = None

    def __init__(self, loop, options, create):
        error = c_int()
        with _Options(options) as handle:
            self._handle = create(loop._handle, handle, byref(error))
        _check(error.value)
        self.loop = loop
        self._on_data = _OnData(self._data)
        self._on_close = _OnConnection(lambda _, id_: self._call(self.on_close, id_))
        self._on_writable = _OnConnection(lambda _, id_: self._call(self.on_writable, id_))
        self._on_end = _OnConnection(self._end)

    def _call(self, callback, id_, *more):
        if callback is not None:
            try:
                callback(Connection(self.loop, id_), *more)
            except BaseException as error:  # noqa: BLE001: thrown by the poll
                self.loop._keep(error)

    def _data(self, _, id_, data, length):
        self._call(self.on_data, id_, ctypes.string_at(data, length))

    def _end(self, _, id_):
        # As without a callback in C: what is queued is sent, then the connection closes.
        self._call(self.on_end or Connection.close, id_)

    def _stats(self, ask):
        stats = _Stats()
        _check(ask(self._handle, byref(stats), ctypes.sizeof(stats)))
        return {name: getattr(stats, name) for name, _ in _Stats._fields_}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Server(_Endpoint):
    """A TCP server: `on_accept(connection)`, `on_data(connection, bytes)`, `on_close(connection)`,
    `on_writable(connection)`, `on_end(connection)` (the peer has finished sending)."""

    on_accept = None

    def __init__(self, loop, **options):
        super().__init__(loop, options, _lib.zcn_server_create_on)
        self._on_accept = _OnConnection(lambda _, id_: self._call(self.on_accept, id_))
        _lib.zcn_server_set_callbacks(
            self._handle, None, self._on_accept, self._on_data, self._on_close
        )
        _check(_lib.zcn_server_set_on_writable(self._handle, self._on_writable))
        _check(_lib.zcn_server_set_on_end(self._handle, self._on_end))

    def start(self):
        """Binds the address and listens."""
        _check(_lib.zcn_server_start(self._handle))

    @property
    def address(self):
        """The address it listens on."""
        raw = _Address()
        _check(_lib.zcn_server_address(self._handle, byref(raw)))
        return Address._of(raw)

    @property
    def stats(self):
        """What it did so far, by the names of ZCN_StatsEx."""
        return self._stats(_lib.zcn_server_stats_ex)

    def shutdown(self, timeout=1.0):
        """Stops listening and lets the connections finish; poll until `is_stopped`."""
        _check(_lib.zcn_server_shutdown(self._handle, round(timeout * 1000)))

    @property
    def is_stopped(self):
        """Whether a shutdown is complete."""
        return _check(_lib.zcn_server_is_stopped(self._handle)) == 1

    def close(self):
        """Ends the server and its connections; no callback comes any more."""
        _lib.zcn_server_destroy(self._handle)
        self._handle = None


class Client(_Endpoint):
    """A maker of connections: `on_connect(connection, error)` with None or an Error, and the
    callbacks of a server."""

    on_connect = None

    def __init__(self, loop, **options):
        super().__init__(loop, options, _lib.zcn_client_create_on)
        self._on_connect = _OnConnect(self._connected)
        _check(
            _lib.zcn_client_set_callbacks(
                self._handle, None, self._on_connect, self._on_data, self._on_close
            )
        )
        _check(_lib.zcn_client_set_on_writable(self._handle, self._on_writable))
        _check(_lib.zcn_client_set_on_end(self._handle, self._on_end))

    def connect(self, host, port=0):
        """Begins to connect; `on_connect` tells the outcome."""
        id_ = _check(_lib.zcn_client_connect(self._handle, host.encode(), port))
        return Connection(self.loop, id_)

    def _connected(self, _, id_, code):
        self._call(self.on_connect, id_, Error(code) if code < 0 else None)

    @property
    def stats(self):
        """What it did so far, by the names of ZCN_StatsEx."""
        return self._stats(_lib.zcn_client_stats_ex)

    def close(self):
        """Ends the client and its connections; no callback comes any more."""
        _lib.zcn_client_destroy(self._handle)
        self._handle = None


class Udp:
    """A UDP socket: `on_datagram(data, peer, timestamp_ns)`, `on_writable()`, `on_error(error)`."""

    on_datagram = None
    on_writable = None
    on_error = None

    def __init__(self, loop, **options):
        error = c_int()
        with _Options(options) as handle:
            self._handle = _lib.zcn_udp_create_on(loop._handle, handle, byref(error))
        _check(error.value)
        self.loop = loop
        self._callbacks = (
            _OnDatagram(self._datagram),
            _OnUdpWritable(lambda _: self._call(self.on_writable)),
            _OnUdpError(lambda _, code, os_error: self._failed(code, os_error)),
        )
        _check(_lib.zcn_udp_set_callbacks(self._handle, None, *self._callbacks))

    def _call(self, callback, *arguments):
        if callback is not None:
            try:
                callback(*arguments)
            except BaseException as error:  # noqa: BLE001: thrown by the poll
                self.loop._keep(error)

    def _datagram(self, _, datagram):
        raw = datagram.contents
        data = ctypes.string_at(raw.data, raw.len)
        # One call a datagram, also where the kernel has joined several.
        step = raw.segment_size or raw.len or 1
        for start in range(0, max(raw.len, 1), step):
            part = data[start : start + step]
            self._call(self.on_datagram, part, Address._of(raw.peer), raw.timestamp_ns)

    def _failed(self, code, os_error):
        error = Error(code, os.strerror(os_error))
        error.os_error = os_error
        self._call(self.on_error, error)

    def send(self, data, peer=None):
        """Sends one datagram to (host, port), or where the socket is connected to. False when the
        queue is full until `on_writable`."""
        raw = None if peer is None else byref(Address._raw(peer))
        answer = _lib.zcn_udp_send_to(self._handle, raw, bytes(data), len(data))
        return answer != _WOULD_BLOCK and _check(answer) == 0

    @property
    def address(self):
        """The address it is bound to."""
        raw = _Address()
        _check(_lib.zcn_udp_address(self._handle, byref(raw)))
        return Address._of(raw)

    def close(self):
        """Ends the socket; what is queued is sent as the loop runs on."""
        _lib.zcn_udp_destroy(self._handle)
        self._handle = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
