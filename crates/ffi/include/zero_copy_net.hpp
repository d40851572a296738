/* zcn (zero-copy net) for C++11 and later: zero_copy_net.h with owners that clean up, exceptions
 * for errors and std::function for callbacks. Header only; link as for C.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * What is said of threads and handles in zero_copy_net.h holds here too. An exception that leaves a
 * callback is kept, and thrown by the poll that made the callback, once the others have run. Do not
 * replace a callback from inside itself. */
#ifndef ZERO_COPY_NET_HPP
#define ZERO_COPY_NET_HPP

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "zero_copy_net.h"

namespace zcn {

/* A call that failed: its code, its errno (0 if no system call was to blame) and, as what(), what
 * was tried and what helps. */
class Error : public std::runtime_error {
public:
    explicit Error(ZCN_Error error)
        : std::runtime_error(zcn_last_error_message()), code_(error), os_error_(zcn_last_os_error())
    {
    }

    ZCN_Error code() const noexcept { return code_; }
    const char *name() const noexcept { return zcn_error_name(code_); }
    int os_error() const noexcept { return os_error_; }

private:
    ZCN_Error code_;
    int os_error_;
};

/* Throws Error unless the call succeeded. */
inline void check(ZCN_Error error)
{
    if (error != ZCN_SUCCESS)
        throw Error(error);
}

/* For calls that return a count or a negative error. */
inline int check_count(int count)
{
    if (count < 0)
        throw Error(static_cast<ZCN_Error>(count));
    return count;
}

/* Bytes borrowed for the time of a callback. */
struct Bytes {
    const std::uint8_t *data;
    std::size_t size;

    std::string str() const { return std::string(reinterpret_cast<const char *>(data), size); }
};

/* An IP address and port. */
class Address {
public:
    Address() noexcept : raw_() {}
    explicit Address(const ZCN_Address &raw) noexcept : raw_(raw) {}
    Address(const std::string &numeric, std::uint16_t port) : raw_()
    {
        check(zcn_address_parse(numeric.c_str(), port, &raw_));
    }

    std::uint16_t port() const noexcept { return raw_.port; }
    const ZCN_Address &raw() const noexcept { return raw_; }

    std::string str() const
    {
        char text[ZCN_ADDRESS_TEXT_BYTES];
        check(zcn_address_format(&raw_, text, sizeof text));
        return text;
    }

private:
    ZCN_Address raw_;
};

/* Options by name; zero_copy_net.h lists them at ZCN_Options. */
class Options {
public:
    Options() : raw_(zcn_options_new()) {}
    Options(Options &&other) noexcept : raw_(other.raw_) { other.raw_ = nullptr; }
    Options &operator=(Options &&other) noexcept
    {
        std::swap(raw_, other.raw_);
        return *this;
    }
    Options(const Options &) = delete;
    Options &operator=(const Options &) = delete;
    ~Options() { zcn_options_free(raw_); }

    Options &set(const char *name, const std::string &value)
    {
        check(zcn_options_set_str(raw_, name, value.c_str()));
        return *this;
    }

    Options &set(const char *name, std::uint64_t value)
    {
        check(zcn_options_set_u64(raw_, name, value));
        return *this;
    }

    const ZCN_Options *raw() const noexcept { return raw_; }

private:
    ZCN_Options *raw_;
};

/* A leased buffer, given back when it is not sent. */
class Buffer {
public:
    /* An empty buffer of a loop; throws ZCN_ERROR_NO_BUFFER when none is free. */
    static Buffer acquire(ZCN_Loop *event_loop)
    {
        Buffer buffer;
        check(zcn_buf_acquire(event_loop, &buffer.raw_));
        return buffer;
    }

    /* Inside a data callback: what is being delivered, to be kept. */
    static Buffer retain(ZCN_Loop *event_loop)
    {
        Buffer buffer;
        check(zcn_buf_retain(event_loop, &buffer.raw_));
        return buffer;
    }

    Buffer() noexcept : raw_() {}
    Buffer(Buffer &&other) noexcept : raw_(other.raw_) { other.raw_ = ZCN_Buf(); }
    Buffer &operator=(Buffer &&other) noexcept
    {
        std::swap(raw_, other.raw_);
        return *this;
    }
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;
    ~Buffer()
    {
        if (raw_.data != nullptr)
            zcn_buf_release(&raw_);
    }

    explicit operator bool() const noexcept { return raw_.data != nullptr; }
    std::uint8_t *data() noexcept { return raw_.data; }
    const std::uint8_t *data() const noexcept { return raw_.data; }
    std::size_t size() const noexcept { return raw_.len; }
    std::size_t capacity() const noexcept { return raw_.capacity; }
    void commit(std::size_t size) { check(zcn_buf_commit(&raw_, size)); }
    void advance(std::size_t count) { check(zcn_buf_advance(&raw_, count)); }
    ZCN_Buf *raw() noexcept { return &raw_; }

private:
    ZCN_Buf raw_;
};

/* One connection, by its id: a value to copy, void when the connection is gone (then calls throw
 * ZCN_ERROR_CONNECTION_NOT_FOUND). */
class Connection {
public:
    Connection(ZCN_Loop *event_loop, int id) noexcept : loop_(event_loop), id_(id) {}

    int id() const noexcept { return id_; }
    ZCN_Loop *event_loop() const noexcept { return loop_; }

    /* Copies and sends, all or nothing. False when the queue is full until on_writable. */
    bool send(const void *data, std::size_t size)
    {
        return sent(zcn_conn_send(loop_, id_, static_cast<const std::uint8_t *>(data), size));
    }
    bool send(const std::string &text) { return send(text.data(), text.size()); }

    /* Sends without a copy. False when the queue is full: the buffer is still the caller's. */
    bool send(Buffer &buffer) { return sent(zcn_conn_send_buf(loop_, id_, buffer.raw())); }
    bool send(Buffer &&buffer) { return send(buffer); }

    void close() { check(zcn_conn_close(loop_, id_)); }
    void abort() { check(zcn_conn_abort(loop_, id_)); }
    void shutdown() { check(zcn_conn_shutdown(loop_, id_)); }
    void pause() { check(zcn_conn_pause(loop_, id_)); }
    void resume() { check(zcn_conn_resume(loop_, id_)); }
    void set_water_marks(std::uint32_t high, std::uint32_t low)
    {
        check(zcn_conn_set_water_marks(loop_, id_, high, low));
    }
    std::size_t unsent() const noexcept { return zcn_conn_unsent(loop_, id_); }
    bool is_writable() const { return check_count(zcn_conn_is_writable(loop_, id_)) == 1; }
    void set_user_data(void *data) { check(zcn_conn_set_user_data(loop_, id_, data)); }
    void *user_data() const noexcept { return zcn_conn_user_data(loop_, id_); }

    Address peer() const
    {
        ZCN_Address raw;
        check(zcn_conn_peer(loop_, id_, &raw));
        return Address(raw);
    }

    Address local() const
    {
        ZCN_Address raw;
        check(zcn_conn_local(loop_, id_, &raw));
        return Address(raw);
    }

    /* Inside on_close: why. */
    ZCN_CloseReason close_reason(int *os_error = nullptr) const noexcept
    {
        return zcn_conn_close_reason(loop_, id_, os_error);
    }

    friend bool operator==(const Connection &a, const Connection &b) noexcept
    {
        return a.loop_ == b.loop_ && a.id_ == b.id_;
    }

private:
    static bool sent(ZCN_Error error)
    {
        if (error == ZCN_ERROR_WOULD_BLOCK)
            return false;
        check(error);
        return true;
    }

    ZCN_Loop *loop_;
    int id_;
};

namespace detail {

/* The first exception that left a callback, until the poll throws it. */
class Pending {
public:
    void keep() noexcept
    {
        if (!exception_)
            exception_ = std::current_exception();
    }

    void rethrow()
    {
        if (exception_) {
            std::exception_ptr exception;
            std::swap(exception, exception_);
            std::rethrow_exception(exception);
        }
    }

private:
    std::exception_ptr exception_;
};

/* What callbacks need; outlives its owner when that is destroyed inside one of them. */
struct State {
    explicit State(std::shared_ptr<Pending> pending_)
        : loop(nullptr), pending(std::move(pending_)), depth(0), orphan(false)
    {
    }
    virtual ~State() {}

    template <typename Callback, typename... Arguments>
    void call(const Callback &callback, Arguments &&...arguments) noexcept
    {
        if (!callback)
            return;
        ++depth;
        try {
            callback(std::forward<Arguments>(arguments)...);
        } catch (...) {
            pending->keep();
        }
        if (--depth == 0 && orphan)
            delete this;
    }

    ZCN_Loop *loop;
    std::shared_ptr<Pending> pending;
    int depth;
    bool orphan;
};

struct Orphan {
    void operator()(State *state) const noexcept
    {
        if (state->depth > 0)
            state->orphan = true;
        else
            delete state;
    }
};

} // namespace detail

/* An event loop for several servers, clients and UDP sockets. Destroy it last. */
class Loop {
public:
    explicit Loop(const Options &options = Options()) : pending_(std::make_shared<detail::Pending>())
    {
        ZCN_Error error = ZCN_SUCCESS;
        raw_ = zcn_loop_create(options.raw(), &error);
        check(error);
    }
    Loop(const Loop &) = delete;
    Loop &operator=(const Loop &) = delete;
    ~Loop() { zcn_loop_destroy(raw_); }

    /* Callbacks made; see zcn_loop_poll. */
    int poll(int timeout_ms = -1, std::uint32_t max_events = 0)
    {
        int count = check_count(zcn_loop_poll(raw_, timeout_ms, max_events));
        pending_->rethrow();
        return count;
    }

    int fd() { return check_count(zcn_loop_fd(raw_)); }
    void wakeup() { check(zcn_loop_wakeup(raw_)); }
    bool is_uring() const noexcept { return zcn_loop_is_uring(raw_) == 1; }
    ZCN_Loop *raw() const noexcept { return raw_; }
    const std::shared_ptr<detail::Pending> &pending() const noexcept { return pending_; }

private:
    std::shared_ptr<detail::Pending> pending_;
    ZCN_Loop *raw_;
};

namespace detail {

/* What servers, clients and UDP sockets have in common: a handle, and what its callbacks need. Api
 * says which type, functions and callbacks are theirs. */
template <typename Api> class Owner {
public:
    Owner(const Owner &) = delete;
    Owner &operator=(const Owner &) = delete;

    int poll(int timeout_ms = -1, std::uint32_t max_events = 0)
    {
        int count = check_count(Api::poll(raw_, timeout_ms, max_events));
        state_->pending->rethrow();
        return count;
    }

    int fd() { return check_count(zcn_loop_fd(state_->loop)); }
    ZCN_Loop *event_loop() const noexcept { return state_->loop; }
    typename Api::Handle *raw() const noexcept { return raw_; }

    ZCN_StatsEx stats() const
    {
        ZCN_StatsEx stats;
        check(Api::stats(raw_, &stats, sizeof stats));
        return stats;
    }

protected:
    using Callbacks = typename Api::Callbacks;

    /* With a loop of its own. */
    explicit Owner(const Options &options) : Owner(std::make_shared<Pending>())
    {
        ZCN_Error error = ZCN_SUCCESS;
        adopt(Api::create(options.raw(), &error), error);
    }

    Owner(Loop &event_loop, const Options &options) : Owner(event_loop.pending())
    {
        ZCN_Error error = ZCN_SUCCESS;
        adopt(Api::create_on(event_loop.raw(), options.raw(), &error), error);
    }

    ~Owner() { Api::destroy(raw_); }

    Callbacks &state() noexcept { return static_cast<Callbacks &>(*state_); }
    void rethrow() { state_->pending->rethrow(); }

private:
    explicit Owner(std::shared_ptr<Pending> pending) : state_(new Callbacks(std::move(pending))) {}

    void adopt(typename Api::Handle *raw, ZCN_Error error)
    {
        check(error);
        raw_ = raw;
        state_->loop = Api::loop(raw);
        Api::set_callbacks(raw, state_.get());
    }

    std::unique_ptr<State, Orphan> state_;
    typename Api::Handle *raw_ = nullptr;
};

/* The callbacks of a server or client, and the functions by which C makes them. */
struct StreamCallbacks : State {
    using OnConnection = std::function<void(Connection)>;
    using OnConnect = std::function<void(Connection, ZCN_Error)>;
    using OnData = std::function<void(Connection, Bytes)>;
    using OnSent = std::function<void(Connection, std::size_t)>;

    explicit StreamCallbacks(std::shared_ptr<Pending> pending_) : State(std::move(pending_)) {}

    OnConnection accept, close, writable, end;
    OnConnect connect;
    OnData data;
    OnSent sent;

    static void accepted(void *user_data, int fd)
    {
        call_of(user_data, fd, &StreamCallbacks::accept);
    }
    static void closed(void *user_data, int fd) { call_of(user_data, fd, &StreamCallbacks::close); }
    static void has_room(void *user_data, int fd)
    {
        call_of(user_data, fd, &StreamCallbacks::writable);
    }
    static void ended(void *user_data, int fd) { call_of(user_data, fd, &StreamCallbacks::end); }
    static void connected(void *user_data, int fd, ZCN_Error error)
    {
        call_of(user_data, fd, &StreamCallbacks::connect, error);
    }
    static void arrived(void *user_data, int fd, const std::uint8_t *bytes, std::size_t size)
    {
        call_of(user_data, fd, &StreamCallbacks::data, Bytes{bytes, size});
    }
    static void was_sent(void *user_data, int fd, std::size_t unsent)
    {
        call_of(user_data, fd, &StreamCallbacks::sent, unsent);
    }

private:
    template <typename Callback, typename... Arguments>
    static void call_of(void *user_data, int fd, Callback StreamCallbacks::*callback,
                        Arguments... arguments) noexcept
    {
        StreamCallbacks &state = *static_cast<StreamCallbacks *>(static_cast<State *>(user_data));
        state.call(state.*callback, Connection(state.loop, fd), arguments...);
    }
};

/* What servers and clients have in common. */
template <typename Api> class StreamOwner : public Owner<Api> {
public:
    using OnConnection = StreamCallbacks::OnConnection;
    using OnData = StreamCallbacks::OnData;
    using OnSent = StreamCallbacks::OnSent;

    void on_data(OnData callback) { this->state().data = std::move(callback); }
    void on_close(OnConnection callback) { this->state().close = std::move(callback); }

    void on_writable(OnConnection callback)
    {
        this->state().writable = std::move(callback);
        check(Api::set_on_writable(this->raw(), StreamCallbacks::has_room));
    }

    void on_sent(OnSent callback)
    {
        this->state().sent = std::move(callback);
        check(Api::set_on_sent(this->raw(), StreamCallbacks::was_sent));
    }

    void on_end(OnConnection callback)
    {
        this->state().end = std::move(callback);
        check(Api::set_on_end(this->raw(), StreamCallbacks::ended));
    }

protected:
    using Owner<Api>::Owner;
};

struct ServerApi {
    using Handle = ZCN_Server;
    using Callbacks = StreamCallbacks;

    static constexpr auto create = zcn_server_create_opts;
    static constexpr auto create_on = zcn_server_create_on;
    static constexpr auto destroy = zcn_server_destroy;
    static constexpr auto loop = zcn_server_loop;
    static constexpr auto poll = zcn_server_poll;
    static constexpr auto stats = zcn_server_stats_ex;
    static constexpr auto set_on_writable = zcn_server_set_on_writable;
    static constexpr auto set_on_sent = zcn_server_set_on_sent;
    static constexpr auto set_on_end = zcn_server_set_on_end;

    static void set_callbacks(ZCN_Server *raw, State *state)
    {
        zcn_server_set_callbacks(raw, state, StreamCallbacks::accepted, StreamCallbacks::arrived,
                                 StreamCallbacks::closed);
    }
};

struct ClientApi {
    using Handle = ZCN_Client;
    using Callbacks = StreamCallbacks;

    static constexpr auto create = zcn_client_create;
    static constexpr auto create_on = zcn_client_create_on;
    static constexpr auto destroy = zcn_client_destroy;
    static constexpr auto loop = zcn_client_loop;
    static constexpr auto stats = zcn_client_stats_ex;
    static constexpr auto set_on_writable = zcn_client_set_on_writable;
    static constexpr auto set_on_sent = zcn_client_set_on_sent;
    static constexpr auto set_on_end = zcn_client_set_on_end;

    static int poll(ZCN_Client *raw, int timeout_ms, std::uint32_t max_events)
    {
        return zcn_loop_poll(zcn_client_loop(raw), timeout_ms, max_events);
    }
    static void set_callbacks(ZCN_Client *raw, State *state)
    {
        check(zcn_client_set_callbacks(raw, state, StreamCallbacks::connected,
                                       StreamCallbacks::arrived, StreamCallbacks::closed));
    }
};

/* The callbacks of a UDP socket, and the functions by which C makes them. */
struct DatagramCallbacks : State {
    explicit DatagramCallbacks(std::shared_ptr<Pending> pending_) : State(std::move(pending_)) {}

    std::function<void(const ZCN_Datagram &)> datagram;
    std::function<void()> writable;
    std::function<void(ZCN_Error, int)> error;

    static void arrived(void *user_data, const ZCN_Datagram *datagram)
    {
        DatagramCallbacks &state = of(user_data);
        state.call(state.datagram, *datagram);
    }
    static void has_room(void *user_data)
    {
        DatagramCallbacks &state = of(user_data);
        state.call(state.writable);
    }
    static void failed(void *user_data, ZCN_Error error, int os_error)
    {
        DatagramCallbacks &state = of(user_data);
        state.call(state.error, error, os_error);
    }

private:
    static DatagramCallbacks &of(void *user_data) noexcept
    {
        return *static_cast<DatagramCallbacks *>(static_cast<State *>(user_data));
    }
};

struct UdpApi {
    using Handle = ZCN_Udp;
    using Callbacks = DatagramCallbacks;

    static constexpr auto create = zcn_udp_create;
    static constexpr auto create_on = zcn_udp_create_on;
    static constexpr auto destroy = zcn_udp_destroy;
    static constexpr auto loop = zcn_udp_loop;
    static constexpr auto stats = zcn_udp_stats_ex;

    static int poll(ZCN_Udp *raw, int timeout_ms, std::uint32_t max_events)
    {
        return zcn_loop_poll(zcn_udp_loop(raw), timeout_ms, max_events);
    }
    static void set_callbacks(ZCN_Udp *raw, State *state)
    {
        check(zcn_udp_set_callbacks(raw, state, DatagramCallbacks::arrived,
                                    DatagramCallbacks::has_room, DatagramCallbacks::failed));
    }
};

} // namespace detail

/* A TCP server (or one on a Unix socket). */
class Server : public detail::StreamOwner<detail::ServerApi> {
public:
    /* With a loop of its own. */
    explicit Server(const Options &options) : StreamOwner(options) {}
    Server(Loop &event_loop, const Options &options) : StreamOwner(event_loop, options) {}

    void on_accept(OnConnection callback) { state().accept = std::move(callback); }

    void start() { check(zcn_server_start(raw())); }

    void run_once()
    {
        check(zcn_server_run_once(raw()));
        rethrow();
    }

    void shutdown(std::uint32_t timeout_ms) { check(zcn_server_shutdown(raw(), timeout_ms)); }
    bool is_stopped() const { return check_count(zcn_server_is_stopped(raw())) == 1; }
    void wakeup() { check(zcn_server_wakeup(raw())); }
    std::uint16_t port() const noexcept { return zcn_server_port(raw()); }

    Address address() const
    {
        ZCN_Address address;
        check(zcn_server_address(raw(), &address));
        return Address(address);
    }
};

/* A maker of connections. */
class Client : public detail::StreamOwner<detail::ClientApi> {
public:
    using OnConnect = detail::StreamCallbacks::OnConnect;

    /* With a loop of its own. */
    explicit Client(const Options &options = Options()) : StreamOwner(options) {}
    Client(Loop &event_loop, const Options &options) : StreamOwner(event_loop, options) {}

    void on_connect(OnConnect callback) { state().connect = std::move(callback); }

    /* Begins to connect; on_connect tells the outcome. */
    Connection connect(const std::string &host, std::uint16_t port)
    {
        return Connection(event_loop(), check_count(zcn_client_connect(raw(), host.c_str(), port)));
    }
};

/* A UDP socket. */
class Udp : public detail::Owner<detail::UdpApi> {
public:
    using OnDatagram = std::function<void(const ZCN_Datagram &)>;
    using OnWritable = std::function<void()>;
    using OnError = std::function<void(ZCN_Error, int)>;

    /* With a loop of its own. */
    explicit Udp(const Options &options) : Owner(options) {}
    Udp(Loop &event_loop, const Options &options) : Owner(event_loop, options) {}

    void on_datagram(OnDatagram callback) { state().datagram = std::move(callback); }
    void on_writable(OnWritable callback) { state().writable = std::move(callback); }
    void on_error(OnError callback) { state().error = std::move(callback); }

    void connect(const Address &peer) { check(zcn_udp_connect(raw(), &peer.raw())); }

    /* Copies and sends one datagram. False when the queue is full until on_writable. */
    bool send_to(const Address &peer, const void *data, std::size_t size)
    {
        return send(&peer.raw(), data, size);
    }
    bool send(const void *data, std::size_t size) { return send(nullptr, data, size); }

    /* Sends without a copy; with a segment size as datagrams of that size. */
    bool send_to(const Address &peer, Buffer &buffer, std::size_t segment_size = 0)
    {
        return sent(zcn_udp_send_buf(raw(), &peer.raw(), buffer.raw(), segment_size));
    }

    Address address() const
    {
        ZCN_Address address;
        check(zcn_udp_address(raw(), &address));
        return Address(address);
    }

private:
    bool send(const ZCN_Address *peer, const void *data, std::size_t size)
    {
        return sent(zcn_udp_send_to(raw(), peer, static_cast<const std::uint8_t *>(data), size));
    }

    static bool sent(ZCN_Error error)
    {
        if (error == ZCN_ERROR_WOULD_BLOCK)
            return false;
        check(error);
        return true;
    }
};

} // namespace zcn

#endif
