/* zcn (zero-copy net) for C. SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Made from crates/ffi/src by `UPDATE_HEADER=1 cargo test -p zero_copy_net`; not written by hand.
 *
 * Link with -lzero_copy_net -lpthread.
 *
 * Threads: an object belongs to the thread that made it, and calls from another are refused with
 * ZCN_ERROR_WRONG_THREAD. For any thread are zcn_loop_wakeup, zcn_server_wakeup, the statistics,
 * zcn_options_*, zcn_error_* and, of the buffers, commit, advance and release.
 *
 * Callbacks come from inside zcn_server_run_once, zcn_server_poll and zcn_loop_poll only. Inside
 * them everything may be called but these three on the same loop (ZCN_ERROR_REENTRANT): send,
 * close, set callbacks, make objects, destroy them (the end comes when the callback returns).
 * They return normally: no longjmp, no C++ exception out of them.
 *
 * Handles look like pointers and are numbers. One that is NULL, was destroyed or is of another kind
 * is refused with ZCN_ERROR_INVALID_HANDLE. */


#ifndef ZERO_COPY_NET_H
#define ZERO_COPY_NET_H

#include <stddef.h>
#include <stdint.h>

/* Marks what may change in the next release. Define it, e.g. as __attribute__((deprecated)), to see
 * where a program uses it. */
#ifndef ZCN_EXPERIMENTAL
#define ZCN_EXPERIMENTAL
#endif

/* The same under another name. */
#define ZCN_ERR_UNSUPPORTED ZCN_ERROR_UNSUPPORTED

#if defined(__cplusplus)
#define ZCN_STATIC_ASSERT(condition, name) static_assert(condition, #name)
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define ZCN_STATIC_ASSERT(condition, name) _Static_assert(condition, #name)
#else
#define ZCN_STATIC_ASSERT(condition, name) typedef char zcn_assert_##name[(condition) ? 1 : -1]
#endif

/**
 * Version of the header: 0xMMmmpp00 for M.m.p; `zcn_version` tells that of the library.
 */
#define ZCN_VERSION 65536

/**
 * `ZCN_Address.family` of IPv4.
 */
#define ZCN_FAMILY_IPV4 4

/**
 * `ZCN_Address.family` of IPv6.
 */
#define ZCN_FAMILY_IPV6 6

/**
 * `ZCN_Address.family` of a Unix socket; nothing else is filled in.
 */
#define ZCN_FAMILY_UNIX 1

/**
 * Most bytes that `zcn_address_format` writes, the NUL included.
 */
#define ZCN_ADDRESS_TEXT_BYTES 80

/**
 * What a call answers. Negative values are errors; `zcn_last_error_message` says more about the
 * last one of the calling thread.
 */
typedef enum ZCN_Error {
    /**
     * Done.
     */
    ZCN_SUCCESS = 0,
    /**
     * A setting is missing or out of range.
     */
    ZCN_ERROR_INVALID_CONFIG = -1,
    /**
     * Memory, address space or locked memory ran out.
     */
    ZCN_ERROR_OUT_OF_MEMORY = -2,
    /**
     * io_uring could not be set up.
     */
    ZCN_ERROR_IO_URING_INIT = -3,
    /**
     * The address could not be bound.
     */
    ZCN_ERROR_BIND_FAILED = -4,
    /**
     * Listening failed.
     */
    ZCN_ERROR_LISTEN_FAILED = -5,
    /**
     * The handle is NULL, was destroyed, or is of another kind of object.
     */
    ZCN_ERROR_INVALID_HANDLE = -6,
    /**
     * No such connection: never was, or is gone.
     */
    ZCN_ERROR_CONNECTION_NOT_FOUND = -7,
    /**
     * No free buffer.
     */
    ZCN_ERROR_NO_BUFFER = -8,
    /**
     * Nothing was sent.
     */
    ZCN_ERROR_SEND_FAILED = -9,
    /**
     * The library itself failed; the message says where. A bug to report.
     */
    ZCN_ERROR_PANIC = -10,
    /**
     * The object belongs to another thread.
     */
    ZCN_ERROR_WRONG_THREAD = -11,
    /**
     * The send queue is full until `on_writable`.
     */
    ZCN_ERROR_WOULD_BLOCK = -12,
    /**
     * Not available in this build, on this kernel, or not yet.
     */
    ZCN_ERROR_UNSUPPORTED = -13,
    /**
     * No option has this name.
     */
    ZCN_ERROR_UNKNOWN_OPTION = -14,
    /**
     * An argument is NULL where it may not be, or out of range.
     */
    ZCN_ERROR_INVALID_ARGUMENT = -15,
    /**
     * The connection is closing, or its write side is shut down.
     */
    ZCN_ERROR_CLOSED = -16,
    /**
     * The call cannot be made from inside a callback of the same loop.
     */
    ZCN_ERROR_REENTRANT = -17,
    /**
     * The peer could not be reached.
     */
    ZCN_ERROR_CONNECT_FAILED = -18,
    /**
     * The name could not be resolved.
     */
    ZCN_ERROR_RESOLVE_FAILED = -19,
    /**
     * The server has not been started.
     */
    ZCN_ERROR_NOT_STARTED = -20,
    /**
     * The server has been started already.
     */
    ZCN_ERROR_ALREADY_STARTED = -21,
    /**
     * The buffer was given back already, or never was one.
     */
    ZCN_ERROR_INVALID_BUFFER = -22,
    /**
     * The time limit has passed.
     */
    ZCN_ERROR_TIMED_OUT = -23,
    /**
     * The operating system refused; `zcn_last_os_error` tells why.
     */
    ZCN_ERROR_SYSTEM = -24,
} ZCN_Error;

/**
 * Why a connection ended.
 */
typedef enum ZCN_CloseReason {
    /**
     * It has not ended.
     */
    ZCN_CLOSE_NONE = 0,
    /**
     * Closed by this side.
     */
    ZCN_CLOSE_LOCAL = 1,
    /**
     * The peer had finished, then this side closed.
     */
    ZCN_CLOSE_PEER = 2,
    /**
     * An error; its errno is given.
     */
    ZCN_CLOSE_ERROR = 3,
    /**
     * Nothing came in for `idle_timeout_ms`.
     */
    ZCN_CLOSE_IDLE_TIMEOUT = 4,
    /**
     * The peer took nothing for `write_timeout_ms`.
     */
    ZCN_CLOSE_WRITE_TIMEOUT = 5,
    /**
     * The server was shut down.
     */
    ZCN_CLOSE_SHUTDOWN = 6,
    /**
     * A callback unwound.
     */
    ZCN_CLOSE_PANIC = 7,
} ZCN_CloseReason;

/**
 * A maker of outgoing connections, any number of them. It belongs to the thread that made it.
 */
typedef struct ZCN_Client ZCN_Client;

/**
 * An event loop. It belongs to the thread that made it, and so does everything on it.
 *
 * A server, client or UDP socket brings a loop of its own unless it is put on one with
 * `zcn_server_create_on` and the like; a thread needs one loop only.
 */
typedef struct ZCN_Loop ZCN_Loop;

/**
 * Options of a loop, server, client or UDP socket to be; made by `zcn_options_new`.
 *
 * An options object belongs to no thread, and what is made from it keeps nothing of it: one may
 * serve for many objects, on many threads. Options that do not concern the object are ignored.
 *
 * | name | value | meaning |
 * |---|---|---|
 * | `address` | text | where a server or UDP socket is bound: numeric, or `unix:PATH` for servers ["0.0.0.0"] |
 * | `port` | 0 to 65535 | its port; 0 picks a free one [0] |
 * | `backend` | `kernel`, `stack` | whose TCP/IP carries what is on the loop: the kernel's, or one of the loop's own in user space [`kernel`] |
 * | `link` | text | where the stack's frames go: `tap:NAME`, `tun:NAME`, `packet:INTERFACE`, or `memory`, where it meets itself |
 * | `addresses` | text | the stack's addresses with their networks, by commas: "10.9.0.2/24, fd09::2/64" |
 * | `routes` | text | its further routes, by commas: "0.0.0.0/0 via 10.9.0.1" |
 * | `kernel_addresses` | text | addresses for the kernel's end of a TAP or TUN device |
 * | `capture` | path | writes every frame of the stack's link into this pcapng file |
 * | `stack_file` | path | a TOML file with the link, addresses and routes, in place of the options above |
 * | `reactor` | `auto`, `uring`, `epoll` | how the kernel is waited on [`auto`] |
 * | `ring_entries` | 1 to 32768 | submission entries of the ring [1024] |
 * | `buffers` | 2 to 16777216 | buffers to receive into, and as many to send from [1024] |
 * | `buffer_size` | bytes | size of each, rounded up to pages [16384] |
 * | `receive_buffers` | power of two below `buffers` | how many are lent to the kernel [half] |
 * | `huge_pages` | `try`, `never`, `require` | memory of the buffers [`try`] |
 * | `zero_copy` | `auto`, `always`, `never` | sends without the kernel's copy [`auto`] |
 * | `spin_us` | microseconds | look for work for this long before sleeping; 0 sleeps at once [0] |
 * | `napi_us` | microseconds | busy-poll network devices inside the wait [0] |
 * | `cpu` | number | pin the creating thread to this core [not] |
 * | `backlog` | number | peers that the kernel queues [4096] |
 * | `reuse_port` | 0, 1 | several sockets share the address [0] |
 * | `nodelay` | 0, 1 | small messages leave at once [1] |
 * | `only_v6` | 0, 1 | an IPv6 wildcard takes IPv6 only [system] |
 * | `congestion` | text | congestion control by the kernel's name [system] |
 * | `max_connections` | number | further peers wait [1048576] |
 * | `high_water`, `low_water` | bytes | a queue this long refuses sends, until it is down to the low mark [262144, 65536] |
 * | `idle_timeout_ms` | milliseconds | close silent connections; 0 never [0] |
 * | `write_timeout_ms` | milliseconds | close connections whose peer takes nothing; 0 never [60000] |
 * | `connect_timeout_ms` | milliseconds | give up connecting; 0 leaves it to the kernel [0] |
 * | `keepalive_ms` | milliseconds | probe silent peers of clients; 0 never [0] |
 * | `local_address` | text | what clients connect from [any] |
 * | `max_datagram` | 1 to 65535 | longest datagram that arrives whole [65535] |
 * | `datagram_buffers` | 1 to 32768 | buffers of a UDP socket [64] |
 * | `receive_queue`, `send_queue` | number | datagrams that may wait, each way [1024] |
 * | `gro` | 0, 1 | the kernel may deliver several datagrams at once [0] |
 * | `coalesce` | 0, 1 | equal datagrams to one peer leave as one message (GSO) [0] |
 * | `timestamps` | 0, 1 | datagrams carry the kernel's receive time [0] |
 * | `socket_receive_buffer`, `socket_send_buffer` | bytes | `SO_RCVBUF`, `SO_SNDBUF` of UDP sockets [system] |
 * | `reuse_address`, `broadcast` | 0, 1 | `SO_REUSEADDR`, `SO_BROADCAST` of UDP sockets [0] |
 * | `ttl` | 1 to 255 | of what UDP sockets send [system] |
 * | `peer_address`, `peer_port` | text, number | connects a UDP socket: sends go there, and only its datagrams arrive |
 */
typedef struct ZCN_Options ZCN_Options;

/**
 * A TCP server (or one on a Unix socket) with callbacks. It belongs to the thread that made it.
 */
typedef struct ZCN_Server ZCN_Server;

/**
 * A UDP socket, connected to one peer or not. It belongs to the thread that made it.
 */
typedef struct ZCN_Udp ZCN_Udp;

/**
 * An IP address and port.
 */
typedef struct ZCN_Address {
    /**
     * The address in network byte order; IPv4 uses the first four bytes.
     */
    uint8_t bytes[16];
    /**
     * Scope of an IPv6 link-local address (the interface's index), else 0.
     */
    uint32_t scope_id;
    /**
     * Port, host byte order.
     */
    uint16_t port;
    /**
     * `ZCN_FAMILY_IPV4`, `ZCN_FAMILY_IPV6` or `ZCN_FAMILY_UNIX`; 0 is no address.
     */
    uint16_t family;
} ZCN_Address;

/**
 * A connection that `zcn_client_connect` began is made (`ZCN_SUCCESS`), or is not: then this is the
 * last callback for it, and `zcn_last_error_message` and `zcn_last_os_error` tell more.
 */
typedef void (*ZCN_OnConnect)(void *user_data, int fd, enum ZCN_Error error);

/**
 * Bytes arrived. `data` is borrowed for the time of the call; `zcn_buf_retain` keeps it.
 */
typedef void (*ZCN_OnData)(void *user_data, int fd, const uint8_t *data, size_t len);

/**
 * The connection is gone: the last callback for it, after which its id is void.
 * `zcn_conn_close_reason` tells why.
 */
typedef void (*ZCN_OnClose)(void *user_data, int fd);

/**
 * The send queue, which had refused something or was above its high-water mark, is down to the low
 * one.
 */
typedef void (*ZCN_OnWritable)(void *user_data, int fd);

/**
 * The kernel has taken bytes; `unsent` are left in the queue. 0 means that everything sent so far
 * is with the kernel, and every leased buffer back.
 */
typedef void (*ZCN_OnSent)(void *user_data, int fd, size_t unsent);

/**
 * The peer has finished sending (half-close). Without this callback, what is queued is sent and
 * the connection closed; with it, closing is up to the application.
 */
typedef void (*ZCN_OnEnd)(void *user_data, int fd);

/**
 * A buffer of a loop in the caller's hands: a lease, which ends by sending or releasing it, once.
 *
 * Read `data`, `len` and `capacity`; write up to `capacity` bytes at `data`, then say with
 * `zcn_buf_commit` how many they are. The rest is the library's. Copying the struct does not copy
 * the lease: the copy that is used second is refused with `ZCN_ERROR_INVALID_BUFFER`.
 *
 * A lease may be filled, read and released on any thread; it is sent on the thread of the loop.
 */
typedef struct ZCN_Buf {
    /**
     * The bytes; NULL if this is no lease.
     */
    uint8_t *data;
    /**
     * How many bytes there are.
     */
    size_t len;
    /**
     * How many there can be.
     */
    size_t capacity;
    /**
     * The library's.
     */
    uint32_t pool;
    /**
     * The library's.
     */
    uint32_t index;
    /**
     * The library's.
     */
    uint32_t generation;
    /**
     * The library's.
     */
    uint32_t reserved;
} ZCN_Buf;

/**
 * Settings of a server. Its layout is frozen; `ZCN_Options` has all the others.
 */
typedef struct ZCN_Config {
    /**
     * Numeric IP address to listen on, e.g. "127.0.0.1", "0.0.0.0", "::"; "unix:PATH" for a Unix
     * socket.
     */
    const char *address;
    /**
     * Port; 0 picks a free one, which `zcn_server_port` tells.
     */
    uint16_t port;
    /**
     * Submission entries of the ring; 0 for the default, 1024.
     */
    uint32_t io_uring_entries;
    /**
     * Buffers to receive into, and as many to send from; 0 for the default, 1024.
     */
    uint32_t buffer_pool_size;
    /**
     * Size of a buffer in bytes, rounded up to pages; 0 for the default, 16384.
     */
    uint32_t buffer_size;
} ZCN_Config;

/**
 * A peer was accepted; `fd` names the connection from here on. It is an id and not a descriptor
 * (`zcn_conn_fd` gives that), is above 0, and does not come back when the connection is gone.
 */
typedef void (*ZCN_OnAccept)(void *user_data, int fd);

/**
 * Buffers and connections of a server.
 */
typedef struct ZCN_Stats {
    /**
     * Buffers of its loop, to receive into and to send from.
     */
    size_t total_buffers;
    /**
     * How many of them hold something: received and not given back, filled or being sent.
     */
    size_t buffers_in_use;
    /**
     * How many are free, or lent to the kernel to receive into.
     */
    size_t buffers_free;
    /**
     * Connections open now.
     */
    size_t connections_active;
} ZCN_Stats;

/**
 * What a server, client or UDP socket did so far; grows at its end only.
 */
typedef struct ZCN_StatsEx {
    /**
     * Connections open now.
     */
    uint64_t connections_active;
    /**
     * Connections accepted, or connected.
     */
    uint64_t connections_opened;
    /**
     * Peers that could not be taken, or connections that could not be made.
     */
    uint64_t connections_failed;
    /**
     * Connections closed.
     */
    uint64_t connections_closed;
    /**
     * Calls of `on_data` or `on_datagram`.
     */
    uint64_t messages_received;
    /**
     * Their bytes.
     */
    uint64_t bytes_received;
    /**
     * Sends that were accepted.
     */
    uint64_t messages_sent;
    /**
     * Their bytes.
     */
    uint64_t bytes_sent;
    /**
     * Sends refused because a queue was full or no buffer was free.
     */
    uint64_t sends_refused;
    /**
     * Buffers of the loop, to receive into and to send from.
     */
    uint64_t buffers_total;
    /**
     * How many of them hold something.
     */
    uint64_t buffers_in_use;
    /**
     * How many are lent to the kernel to receive into.
     */
    uint64_t buffers_lent;
    /**
     * Polls of the loop.
     */
    uint64_t polls;
    /**
     * System calls of the loop.
     */
    uint64_t system_calls;
} ZCN_StatsEx;

/**
 * One datagram, or several of one size with the option `gro`, as it arrived.
 */
typedef struct ZCN_Datagram {
    /**
     * The bytes, borrowed for the time of the call; `zcn_buf_retain` keeps them.
     */
    const uint8_t *data;
    /**
     * How many there are.
     */
    size_t len;
    /**
     * Size of each datagram in it, of which the last may be shorter; `len` if it is one.
     */
    size_t segment_size;
    /**
     * When the kernel received it, in nanoseconds of `CLOCK_REALTIME`, with the option
     * `timestamps`; else 0.
     */
    uint64_t timestamp_ns;
    /**
     * Who sent it.
     */
    struct ZCN_Address peer;
    /**
     * 1 if it was longer than `max_datagram` and is cut, else 0.
     */
    int truncated;
} ZCN_Datagram;

/**
 * A datagram arrived; `datagram` is borrowed for the time of the call.
 */
typedef void (*ZCN_OnDatagram)(void *user_data, const struct ZCN_Datagram *datagram);

/**
 * There is room for sends again, after one was refused with `ZCN_ERROR_WOULD_BLOCK`.
 */
typedef void (*ZCN_OnUdpWritable)(void *user_data);

/**
 * The network or the kernel reported an error, for example that nobody listens at the peer's port;
 * the socket goes on. `os_error` is its errno.
 */
typedef void (*ZCN_OnUdpError)(void *user_data, enum ZCN_Error error, int os_error);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Fills `out` from a numeric IP address ("127.0.0.1", "::1", "fe80::1%2") and a port.
 */
ZCN_EXPERIMENTAL
enum ZCN_Error zcn_address_parse(const char *text,
                                 uint16_t port,
                                 struct ZCN_Address *out);

/**
 * Writes an address as text ("127.0.0.1:80", "[::1]:80") into `text`, NUL included.
 * `ZCN_ADDRESS_TEXT_BYTES` are always enough.
 */
ZCN_EXPERIMENTAL
enum ZCN_Error zcn_address_format(const struct ZCN_Address *address,
                                  char *text,
                                  size_t len);

/**
 * A client with a loop of its own, from options (NULL: the defaults); NULL on failure, with the
 * reason in `error` unless that is NULL. Poll `zcn_client_loop`.
 */
ZCN_EXPERIMENTAL
struct ZCN_Client *zcn_client_create(const struct ZCN_Options *options,
                                     enum ZCN_Error *error);

/**
 * A client on a loop that there is already, for example a server's. Options of the loop itself
 * (buffers, ring, spinning) are those of the loop.
 */
ZCN_EXPERIMENTAL
struct ZCN_Client *zcn_client_create_on(struct ZCN_Loop *event_loop,
                                        const struct ZCN_Options *options,
                                        enum ZCN_Error *error);

/**
 * Destroys a client and ends its connections, as `zcn_server_destroy` does.
 */
ZCN_EXPERIMENTAL void zcn_client_destroy(struct ZCN_Client *client);

/**
 * Sets what is called, with `user_data` as its first argument: when a connection is made or has
 * failed, when bytes arrived, when a connection is gone. Each may be NULL.
 */
ZCN_EXPERIMENTAL
enum ZCN_Error zcn_client_set_callbacks(struct ZCN_Client *client,
                                        void *user_data,
                                        ZCN_OnConnect on_connect,
                                        ZCN_OnData on_data,
                                        ZCN_OnClose on_close);

/**
 * As `zcn_server_set_on_writable`.
 */
ZCN_EXPERIMENTAL
enum ZCN_Error zcn_client_set_on_writable(struct ZCN_Client *client,
                                          ZCN_OnWritable on_writable);

/**
 * As `zcn_server_set_on_sent`; for connections that are made from now on.
 */
ZCN_EXPERIMENTAL
enum ZCN_Error zcn_client_set_on_sent(struct ZCN_Client *client,
                                      ZCN_OnSent on_sent);

/**
 * As `zcn_server_set_on_end`.
 */
ZCN_EXPERIMENTAL enum ZCN_Error zcn_client_set_on_end(struct ZCN_Client *client, ZCN_OnEnd on_end);

/**
 * Begins to connect to `host`, a numeric address, a name, or "unix:PATH" (whose port is ignored).
 *
 * Returns the connection's id, above 0, or a negative error. `on_connect` tells the outcome, never
 * from inside this call. Until then the connection can be closed, and have user data.
 */
ZCN_EXPERIMENTAL int zcn_client_connect(struct ZCN_Client *client, const char *host, uint16_t port);

/**
 * As `zcn_server_send`, on a connection of the client. `ZCN_ERROR_WOULD_BLOCK` before it is
 * connected.
 */
ZCN_EXPERIMENTAL
enum ZCN_Error zcn_client_send(struct ZCN_Client *client,
                               int fd,
                               const uint8_t *data,
                               size_t len);

/**
 * The loop that the client is on. NULL for a void handle.
 */
ZCN_EXPERIMENTAL struct ZCN_Loop *zcn_client_loop(struct ZCN_Client *client);

/**
 * Sends bytes on a connection of the loop, a server's or a client's: copies them, all or nothing.
 * Otherwise as `zcn_server_send`.
 */
ZCN_EXPERIMENTAL
enum ZCN_Error zcn_conn_send(struct ZCN_Loop *event_loop,
                             int fd,
                             const uint8_t *data,
                             size_t len);

/**
 * Sends what a lease holds without copying it. On success the lease is over and `buf` zeroed; on
 * failure it is the caller's as before.
 *
 * Forwarding is `zcn_buf_retain` in one connection's `on_data` and this on another.
 */
ZCN_EXPERIMENTAL
enum ZCN_Error zcn_conn_send_buf(struct ZCN_Loop *event_loop,
                                 int fd,
                                 struct ZCN_Buf *buf);

/**
 * Sends what one lease holds on many connections without copying it. The lease is over and `buf`
 * zeroed, whoever took it. Returns how many connections did, or a negative error if the lease was
 * not one.
 */
ZCN_EXPERIMENTAL
int zcn_conn_send_buf_to_all(struct ZCN_Loop *event_loop,
                             const int *fds,
                             size_t fd_count,
                             struct ZCN_Buf *buf);

/**
 * Sends what is queued, then closes; `on_close` comes when the connection is gone. One that is
 * still being made is given up: `on_connect` comes with `ZCN_ERROR_CLOSED`.
 */
ZCN_EXPERIMENTAL enum ZCN_Error zcn_conn_close(struct ZCN_Loop *event_loop, int fd);

/**
 * Closes with a reset; what is queued is dropped.
 */
ZCN_EXPERIMENTAL enum ZCN_Error zcn_conn_abort(struct ZCN_Loop *event_loop, int fd);

/**
 * Ends the write side after what is queued: the peer sees the end of the stream, receiving goes on
 * (half-close).
 */
ZCN_EXPERIMENTAL enum ZCN_Error zcn_conn_shutdown(struct ZCN_Loop *event_loop, int fd);

/**
 * Receives nothing more until `zcn_conn_resume`: the peer's window fills up. What has been
 * received already may still be delivered.
 */
ZCN_EXPERIMENTAL enum ZCN_Error zcn_conn_pause(struct ZCN_Loop *event_loop, int fd);

/**
 * Receives again.
 */
ZCN_EXPERIMENTAL enum ZCN_Error zcn_conn_resume(struct ZCN_Loop *event_loop, int fd);

/**
 * Sets a connection's water marks: from `high` queued bytes on, sends are refused and receiving
 * pauses, until the queue is down to `low`.
 */
ZCN_EXPERIMENTAL
enum ZCN_Error zcn_conn_set_water_marks(struct ZCN_Loop *event_loop,
                                        int fd,
                                        uint32_t high,
                                        uint32_t low);

/**
 * Bytes accepted for sending that the kernel has not taken yet, 0 for an unknown connection.
 */
ZCN_EXPERIMENTAL size_t zcn_conn_unsent(const struct ZCN_Loop *event_loop, int fd);

/**
 * 1 if a send would be accepted now, 0 if not; a negative error for an unknown connection.
 */
ZCN_EXPERIMENTAL int zcn_conn_is_writable(const struct ZCN_Loop *event_loop, int fd);

/**
 * The connection's descriptor, for `getsockopt` and the like, or a negative error:
 * `ZCN_ERROR_UNSUPPORTED` with `backend` = `stack`, whose connections have none. It stays the
 * library's: do not read, write or close it, and do not keep it beyond `on_close`.
 */
ZCN_EXPERIMENTAL int zcn_conn_fd(const struct ZCN_Loop *event_loop, int fd);

/**
 * The peer's address; in `on_close` too.
 */
ZCN_EXPERIMENTAL
enum ZCN_Error zcn_conn_peer(const struct ZCN_Loop *event_loop,
                             int fd,
                             struct ZCN_Address *out);

/**
 * The address of this end.
 */
ZCN_EXPERIMENTAL
enum ZCN_Error zcn_conn_local(const struct ZCN_Loop *event_loop,
                              int fd,
                              struct ZCN_Address *out);

/**
 * Keeps a pointer with the connection, until it is gone.
 */
ZCN_EXPERIMENTAL
enum ZCN_Error zcn_conn_set_user_data(struct ZCN_Loop *event_loop,
                                      int fd,
                                      void *user_data);

/**
 * The pointer kept with the connection, in `on_close` too; NULL if there is none.
 */
ZCN_EXPERIMENTAL void *zcn_conn_user_data(const struct ZCN_Loop *event_loop, int fd);

/**
 * Why a connection ended, asked inside its `on_close`; for `ZCN_CLOSE_ERROR` its errno is written
 * to `os_error`, otherwise 0, unless that is NULL.
 */
ZCN_EXPERIMENTAL
enum ZCN_CloseReason zcn_conn_close_reason(const struct ZCN_Loop *event_loop,
                                           int fd,
                                           int *os_error);

/**
 * A short English text for an error code. Never NULL; static.
 */
const char *zcn_error_string(enum ZCN_Error error);

/**
 * The name of an error code as it is spelled in this header, e.g. "ZCN_ERROR_BIND_FAILED".
 * Never NULL; static.
 */
ZCN_EXPERIMENTAL const char *zcn_error_name(enum ZCN_Error error);

/**
 * What went wrong in the last call of this thread that failed: what was tried, on which address,
 * why, and what helps. Calls that succeed leave it alone. Never NULL; valid until the next call
 * of this thread that fails.
 */
ZCN_EXPERIMENTAL const char *zcn_last_error_message(void);

/**
 * The errno of the last call of this thread that failed, or 0 if no system call was to blame.
 */
ZCN_EXPERIMENTAL int zcn_last_os_error(void);

/**
 * An event loop with the given options (NULL: the defaults); NULL on failure, with the reason in
 * `error` unless that is NULL.
 */
ZCN_EXPERIMENTAL
struct ZCN_Loop *zcn_loop_create(const struct ZCN_Options *options,
                                 enum ZCN_Error *error);

/**
 * Destroys a loop and everything on it; all their handles are void, connections are ended, no
 * callback comes any more. Inside one of its callbacks, the end comes when the callback returns.
 *
 * `ZCN_ERROR_INVALID_ARGUMENT` for the loop that a server, client or UDP socket brought: it goes
 * with that. NULL is ignored.
 */
ZCN_EXPERIMENTAL enum ZCN_Error zcn_loop_destroy(struct ZCN_Loop *event_loop);

/**
 * Handles what there is, waiting for it for at most `timeout_ms` (0 does not wait, negative waits
 * as long as it takes), with at most `max_events` callbacks (0: no limit; the rest comes with the
 * next call).
 *
 * Returns the number of callbacks, or a negative error. 0 when the time has passed, and also after
 * a wake-up, a signal, or something that concerned only the library: call it again.
 */
ZCN_EXPERIMENTAL
int zcn_loop_poll(struct ZCN_Loop *event_loop,
                  int timeout_ms,
                  uint32_t max_events);

/**
 * A descriptor that is readable whenever `zcn_loop_poll` has something to do, timers included, for
 * `poll`, `epoll`, `select` or another event loop: when it is readable, call
 * `zcn_loop_poll(loop, 0, 0)`. It stays the library's: do not read, write or close it. A negative
 * error if there is none to be had.
 */
ZCN_EXPERIMENTAL int zcn_loop_fd(struct ZCN_Loop *event_loop);

/**
 * Ends the wait of a loop, or the next one: from any thread, and the only call besides statistics
 * and buffers that is for any thread. It does not allocate; in a signal handler write to a pipe of
 * your own, as the handle is looked up under a lock.
 */
ZCN_EXPERIMENTAL enum ZCN_Error zcn_loop_wakeup(struct ZCN_Loop *event_loop);

/**
 * When the loop last took what the kernel had for it, in nanoseconds of `CLOCK_MONOTONIC`: inside
 * a callback, when its data was seen, without another look at the clock. 0 for a void handle.
 */
ZCN_EXPERIMENTAL uint64_t zcn_loop_time_ns(const struct ZCN_Loop *event_loop);

/**
 * Whether the loop runs on io_uring (1) or, where that is refused, on epoll (0); a negative error
 * for a void handle.
 */
ZCN_EXPERIMENTAL int zcn_loop_is_uring(const struct ZCN_Loop *event_loop);

/**
 * An empty buffer of the loop to fill and send.
 *
 * `ZCN_ERROR_NO_BUFFER` if none is free: buffers come back as sends end and leases are released.
 */
ZCN_EXPERIMENTAL enum ZCN_Error zcn_buf_acquire(struct ZCN_Loop *event_loop, struct ZCN_Buf *out);

/**
 * Keeps what is being delivered beyond the callback: inside `on_data` or `on_datagram`, `out`
 * becomes a lease of the received bytes, which stay where they are. Once per callback.
 *
 * The buffer is one of those the loop receives into. Keeping many for long makes receiving wait.
 */
ZCN_EXPERIMENTAL enum ZCN_Error zcn_buf_retain(struct ZCN_Loop *event_loop, struct ZCN_Buf *out);

/**
 * Says that the first `len` bytes at `data` are the message.
 */
ZCN_EXPERIMENTAL enum ZCN_Error zcn_buf_commit(struct ZCN_Buf *buf, size_t len);

/**
 * Drops the first `count` bytes, for example a header that has been read: `data` moves on.
 */
ZCN_EXPERIMENTAL enum ZCN_Error zcn_buf_advance(struct ZCN_Buf *buf, size_t count);

/**
 * Gives a buffer back unsent; `buf` is zeroed. From any thread, also after its loop is gone.
 *
 * A second release is `ZCN_ERROR_INVALID_BUFFER`, that of a zeroed struct too; NULL is an
 * argument error.
 */
ZCN_EXPERIMENTAL enum ZCN_Error zcn_buf_release(struct ZCN_Buf *buf);

/**
 * An options object with the defaults; free it with `zcn_options_free`.
 */
ZCN_EXPERIMENTAL struct ZCN_Options *zcn_options_new(void);

/**
 * Sets an option by its name to a text, or to a number in decimal digits.
 *
 * `ZCN_ERROR_UNKNOWN_OPTION` and `ZCN_ERROR_INVALID_CONFIG` name the option and, the latter, the
 * range; the option keeps its value.
 */
ZCN_EXPERIMENTAL
enum ZCN_Error zcn_options_set_str(struct ZCN_Options *options,
                                   const char *name,
                                   const char *value);

/**
 * Sets an option by its name to a number; switches are 0 or 1.
 */
ZCN_EXPERIMENTAL
enum ZCN_Error zcn_options_set_u64(struct ZCN_Options *options,
                                   const char *name,
                                   uint64_t value);

/**
 * Frees an options object. NULL is ignored.
 */
ZCN_EXPERIMENTAL enum ZCN_Error zcn_options_free(struct ZCN_Options *options);

/**
 * Version of the library: 0xMMmmpp00 for M.m.p; `ZCN_VERSION` is that of the header.
 */
ZCN_EXPERIMENTAL int zcn_version(void);

/**
 * A server with a loop of its own; NULL on failure, with the reason in `error` unless that is NULL.
 *
 * Nothing of `config` is kept. The address is bound by `zcn_server_start`.
 */
struct ZCN_Server *zcn_server_create(const struct ZCN_Config *config, enum ZCN_Error *error);

/**
 * A server with a loop of its own, from options (NULL: the defaults).
 */
ZCN_EXPERIMENTAL
struct ZCN_Server *zcn_server_create_opts(const struct ZCN_Options *options,
                                          enum ZCN_Error *error);

/**
 * A server on a loop that there is already, beside whatever else is on it. Options of the loop
 * itself (buffers, ring, spinning) are those of the loop.
 */
ZCN_EXPERIMENTAL
struct ZCN_Server *zcn_server_create_on(struct ZCN_Loop *event_loop,
                                        const struct ZCN_Options *options,
                                        enum ZCN_Error *error);

/**
 * Destroys a server. Its handle is void at once and no callback comes any more. What was queued
 * on connections that had been closed is sent, within a second; the others are ended.
 *
 * Inside a callback, the end comes when the callback has returned. On a loop of others, the port
 * and the connections are given back as the loop runs on. What others were put on the server's own
 * loop goes with it. NULL is ignored; a void handle is, too, with `zcn_last_error_message` to tell.
 */
void zcn_server_destroy(struct ZCN_Server *server);

/**
 * Sets what is called, with `user_data` as its first argument: when a peer was accepted, when
 * bytes arrived, when a connection is gone. Each may be NULL. Callbacks come from
 * `zcn_server_run_once` and the other polls only, on the thread that calls them; before or after
 * the start, inside callbacks too: the next callback is a new one.
 */
void zcn_server_set_callbacks(struct ZCN_Server *server,
                              void *user_data,
                              ZCN_OnAccept on_accept,
                              ZCN_OnData on_data,
                              ZCN_OnClose on_close);

/**
 * Sets what is called when a connection's send queue has room again; NULL for nothing.
 */
ZCN_EXPERIMENTAL
enum ZCN_Error zcn_server_set_on_writable(struct ZCN_Server *server,
                                          ZCN_OnWritable on_writable);

/**
 * Sets what is called when the kernel has taken sent bytes; NULL for nothing. For connections that
 * are accepted from now on.
 */
ZCN_EXPERIMENTAL
enum ZCN_Error zcn_server_set_on_sent(struct ZCN_Server *server,
                                      ZCN_OnSent on_sent);

/**
 * Sets what is called when a peer has finished sending; NULL for closing then.
 */
ZCN_EXPERIMENTAL enum ZCN_Error zcn_server_set_on_end(struct ZCN_Server *server, ZCN_OnEnd on_end);

/**
 * Binds the address and listens. Peers are accepted whenever the server is polled.
 */
enum ZCN_Error zcn_server_start(struct ZCN_Server *server);

/**
 * Waits until something happens and makes the callbacks of all of it. Returns after a signal and
 * after `zcn_server_wakeup` too, so that a loop around it can look whether it is to go on.
 */
enum ZCN_Error zcn_server_run_once(struct ZCN_Server *server);

/**
 * `zcn_loop_poll` on the server's loop.
 */
ZCN_EXPERIMENTAL
int zcn_server_poll(struct ZCN_Server *server,
                    int timeout_ms,
                    uint32_t max_events);

/**
 * `zcn_loop_fd` of the server's loop.
 */
ZCN_EXPERIMENTAL int zcn_server_fd(struct ZCN_Server *server);

/**
 * `zcn_loop_wakeup` of the server's loop: from any thread.
 */
ZCN_EXPERIMENTAL enum ZCN_Error zcn_server_wakeup(struct ZCN_Server *server);

/**
 * The loop that the server is on: its own, or the one it was created on. NULL for a void handle.
 * The `zcn_conn_*` and `zcn_buf_*` calls take it.
 */
ZCN_EXPERIMENTAL struct ZCN_Loop *zcn_server_loop(struct ZCN_Server *server);

/**
 * The port it listens on, also if it was chosen by the kernel; 0 before the start, for a Unix
 * socket and for a void handle.
 */
ZCN_EXPERIMENTAL uint16_t zcn_server_port(const struct ZCN_Server *server);

/**
 * The address it listens on.
 */
ZCN_EXPERIMENTAL
enum ZCN_Error zcn_server_address(const struct ZCN_Server *server,
                                  struct ZCN_Address *out);

/**
 * Sends bytes on a connection of the server: copies them, all or nothing. They leave when the loop
 * next runs; inside a callback, after it.
 *
 * `ZCN_ERROR_WOULD_BLOCK` when the queue is full until `on_writable`, `ZCN_ERROR_NO_BUFFER` when no
 * buffers are free for the copy, `ZCN_ERROR_CONNECTION_NOT_FOUND` when there is no such connection
 * of this server, `ZCN_ERROR_CLOSED` when it is closing.
 */
enum ZCN_Error zcn_server_send(struct ZCN_Server *server, int fd, const uint8_t *data, size_t len);

/**
 * Stops listening and lets the connections finish: what is queued is sent, then they are closed;
 * those that are left after `timeout_ms` are reset. Callbacks go on; poll until
 * `zcn_server_is_stopped`.
 */
ZCN_EXPERIMENTAL enum ZCN_Error zcn_server_shutdown(struct ZCN_Server *server, uint32_t timeout_ms);

/**
 * 1 when a shutdown is complete, 0 before; a negative error for a void handle.
 */
ZCN_EXPERIMENTAL int zcn_server_is_stopped(const struct ZCN_Server *server);

/**
 * Buffers and connections of a server; all zero if the handle is not one. From any thread.
 */
struct ZCN_Stats zcn_server_get_stats(const struct ZCN_Server *server);

/**
 * What a server did so far: fills the first `size` bytes of `out`, which is `sizeof *out`, so that
 * a program and a library of different ages understand each other. From any thread.
 */
ZCN_EXPERIMENTAL
enum ZCN_Error zcn_server_stats_ex(const struct ZCN_Server *server,
                                   struct ZCN_StatsEx *out,
                                   size_t size);

/**
 * `zcn_server_stats_ex` of a client.
 */
ZCN_EXPERIMENTAL
enum ZCN_Error zcn_client_stats_ex(const struct ZCN_Client *client,
                                   struct ZCN_StatsEx *out,
                                   size_t size);

/**
 * `zcn_server_stats_ex` of a UDP socket. Its own buffers, into which it receives, are not counted.
 */
ZCN_EXPERIMENTAL
enum ZCN_Error zcn_udp_stats_ex(const struct ZCN_Udp *udp,
                                struct ZCN_StatsEx *out,
                                size_t size);

/**
 * A UDP socket with a loop of its own, bound to the options' `address` and `port` and, with
 * `peer_address` and `peer_port`, connected; NULL on failure, with the reason in `error` unless
 * that is NULL. Poll `zcn_udp_loop`.
 */
ZCN_EXPERIMENTAL
struct ZCN_Udp *zcn_udp_create(const struct ZCN_Options *options,
                               enum ZCN_Error *error);

/**
 * A UDP socket on a loop that there is already.
 */
ZCN_EXPERIMENTAL
struct ZCN_Udp *zcn_udp_create_on(struct ZCN_Loop *event_loop,
                                  const struct ZCN_Options *options,
                                  enum ZCN_Error *error);

/**
 * Destroys a UDP socket: its handle is void, no callback comes any more, what is queued is sent as
 * the loop runs on or ends. NULL is ignored.
 */
ZCN_EXPERIMENTAL void zcn_udp_destroy(struct ZCN_Udp *udp);

/**
 * Sets what is called, with `user_data` as its first argument. Each may be NULL.
 */
ZCN_EXPERIMENTAL
enum ZCN_Error zcn_udp_set_callbacks(struct ZCN_Udp *udp,
                                     void *user_data,
                                     ZCN_OnDatagram on_datagram,
                                     ZCN_OnUdpWritable on_writable,
                                     ZCN_OnUdpError on_error);

/**
 * Connects the socket: sends without an address go to `peer`, only its datagrams arrive, and the
 * network's errors are reported.
 */
ZCN_EXPERIMENTAL
enum ZCN_Error zcn_udp_connect(struct ZCN_Udp *udp,
                               const struct ZCN_Address *peer);

/**
 * Sends a datagram: copies the bytes. `peer` may be NULL if the socket is connected. It leaves
 * when the loop next runs; inside a callback, after it.
 *
 * `ZCN_ERROR_WOULD_BLOCK` when the queue is full until `on_writable`.
 */
ZCN_EXPERIMENTAL
enum ZCN_Error zcn_udp_send_to(struct ZCN_Udp *udp,
                               const struct ZCN_Address *peer,
                               const uint8_t *data,
                               size_t len);

/**
 * Sends what a lease holds as one datagram without copying it, or, if `segment_size` is not 0, as
 * datagrams of that size, cut by the kernel (GSO). `peer` may be NULL if the socket is connected.
 * On success the lease is over and `buf` zeroed; on failure it is the caller's, with what has not
 * been sent.
 */
ZCN_EXPERIMENTAL
enum ZCN_Error zcn_udp_send_buf(struct ZCN_Udp *udp,
                                const struct ZCN_Address *peer,
                                struct ZCN_Buf *buf,
                                size_t segment_size);

/**
 * The address that the socket is bound to, with the port that the kernel picked.
 */
ZCN_EXPERIMENTAL enum ZCN_Error zcn_udp_address(const struct ZCN_Udp *udp, struct ZCN_Address *out);

/**
 * The loop that the socket is on. NULL for a void handle.
 */
ZCN_EXPERIMENTAL struct ZCN_Loop *zcn_udp_loop(struct ZCN_Udp *udp);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* ZERO_COPY_NET_H */

#ifndef ZERO_COPY_NET_H_CHECKED
#define ZERO_COPY_NET_H_CHECKED
#if UINTPTR_MAX == UINT64_MAX
ZCN_STATIC_ASSERT(sizeof(ZCN_Config) == 24, config_is_24_bytes);
ZCN_STATIC_ASSERT(offsetof(ZCN_Config, port) == 8, config_port);
ZCN_STATIC_ASSERT(offsetof(ZCN_Config, io_uring_entries) == 12, config_io_uring_entries);
ZCN_STATIC_ASSERT(offsetof(ZCN_Config, buffer_pool_size) == 16, config_buffer_pool_size);
ZCN_STATIC_ASSERT(offsetof(ZCN_Config, buffer_size) == 20, config_buffer_size);
ZCN_STATIC_ASSERT(sizeof(ZCN_Stats) == 32, stats_is_32_bytes);
ZCN_STATIC_ASSERT(sizeof(ZCN_Buf) == 40, buf_is_40_bytes);
ZCN_STATIC_ASSERT(sizeof(ZCN_Address) == 24, address_is_24_bytes);
#endif
ZCN_STATIC_ASSERT(sizeof(ZCN_Error) == sizeof(int), error_is_an_int);
#endif  /* ZERO_COPY_NET_H_CHECKED */
