/* The owners for C++: they clean up, throw, and survive what callbacks do to them. */
#include <memory>
#include <string>
#include <vector>

#include "expect.h"
#include "zero_copy_net.hpp"

namespace {

zcn::Options any_port()
{
    zcn::Options options;
    options.set("address", "127.0.0.1").set("port", 0).set("buffers", 64);
    return options;
}

/* Echo without copying, between two objects on one loop. */
void echo()
{
    zcn::Loop event_loop;
    zcn::Server server(event_loop, any_port());
    server.on_data([](zcn::Connection connection, zcn::Bytes) {
        EXPECT(connection.send(zcn::Buffer::retain(connection.event_loop())));
    });
    server.start();
    EXPECT(server.port() == server.address().port());

    zcn::Client client(event_loop, zcn::Options());
    const std::string message(100000, 'z');
    std::string answer;
    bool over = false;
    client.on_connect([&](zcn::Connection connection, ZCN_Error error) {
        zcn::check(error);
        EXPECT(connection.peer().port() == server.port());
        EXPECT(connection.send(message));
    });
    client.on_data([&](zcn::Connection connection, zcn::Bytes bytes) {
        answer += bytes.str();
        if (answer.size() == message.size())
            connection.close();
    });
    client.on_close([&](zcn::Connection) { over = true; });
    client.connect("127.0.0.1", server.port());
    while (!over)
        event_loop.poll();
    EXPECT(answer == message);
    EXPECT(server.stats().bytes_received == message.size());
}

/* What a callback throws comes out of the poll. */
void exceptions()
{
    zcn::Server server(any_port());
    server.on_accept([](zcn::Connection) { throw std::runtime_error("mine"); });
    server.start();
    zcn::Client client;
    client.connect("127.0.0.1", server.port());
    bool thrown = false;
    while (!thrown) {
        client.poll(1);
        try {
            server.poll(10);
        } catch (const std::runtime_error &error) {
            EXPECT(std::string(error.what()) == "mine");
            thrown = true;
        }
    }
    server.poll(0);
}

/* A callback may destroy the object that called it. */
void destroyed_by_itself()
{
    zcn::Loop event_loop;
    std::unique_ptr<zcn::Server> server(new zcn::Server(event_loop, any_port()));
    const std::vector<int> kept(1000, 7);
    server->on_accept([&server, kept](zcn::Connection) {
        server.reset();
        /* What was captured is still there. */
        EXPECT(kept.back() == 7);
    });
    server->start();
    zcn::Client client(event_loop, zcn::Options());
    client.connect("127.0.0.1", server->port());
    while (server)
        event_loop.poll();
}

/* Datagrams there and back, with the time of their arrival. */
void datagrams()
{
    zcn::Loop event_loop;
    zcn::Udp server(event_loop, any_port().set("timestamps", 1));
    server.on_datagram([&](const ZCN_Datagram &datagram) {
        EXPECT(datagram.timestamp_ns > 0);
        zcn::Buffer buffer = zcn::Buffer::retain(event_loop.raw());
        EXPECT(server.send_to(zcn::Address(datagram.peer), buffer));
    });
    zcn::Udp client(event_loop, any_port());
    client.connect(server.address());
    std::string answer;
    client.on_datagram([&](const ZCN_Datagram &datagram) {
        answer.assign(reinterpret_cast<const char *>(datagram.data), datagram.len);
    });
    EXPECT(client.send("ping", 4));
    while (answer.empty())
        event_loop.poll();
    EXPECT(answer == "ping");
}

void errors()
{
    try {
        zcn::Options().set("nonsense", 1);
        EXPECT(false);
    } catch (const zcn::Error &error) {
        EXPECT(error.code() == ZCN_ERROR_UNKNOWN_OPTION);
        EXPECT(std::string(error.what()).find("nonsense") != std::string::npos);
    }
    zcn::Server first(any_port());
    first.start();
    try {
        zcn::Server second(any_port().set("port", first.port()));
        second.start();
        EXPECT(false);
    } catch (const zcn::Error &error) {
        EXPECT(error.code() == ZCN_ERROR_BIND_FAILED);
        EXPECT(error.os_error() != 0);
    }
    /* Leases that are not sent go home. */
    {
        zcn::Buffer buffer = zcn::Buffer::acquire(first.event_loop());
        zcn::Buffer other(std::move(buffer));
        EXPECT(!buffer && other);
        other.commit(1);
        EXPECT(first.stats().buffers_in_use == 1);
    }
    EXPECT(first.stats().buffers_in_use == 0);
}

} // namespace

int main()
{
    echo();
    exceptions();
    destroyed_by_itself();
    datagrams();
    errors();
    std::puts("all owned");
    return 0;
}
