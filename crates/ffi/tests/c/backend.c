/* One program on either half: what its options say is all the difference.
 *
 *     backend [NAME=VALUE...]     options of the loop, e.g. backend=stack link=memory
 *
 * A server, clients and UDP sockets on one loop, waited for by its descriptor as in a loop of
 * others: echoes, leases, back-pressure, half-close, a refused connect, addresses. */
#include <poll.h>

#include "expect.h"

#define BYTES 300000

static ZCN_Loop *event_loop;
static ZCN_Server *server;
static ZCN_Client *client;
static size_t arrived;
static size_t pushed;
static int ended;
static int closed;
static int refused;
static int kernel;
static size_t datagrams;

static uint8_t pattern(size_t at) { return (uint8_t)(at * 31 + at / 251); }

/* The server sends back the very buffer that arrived. */
static void echo(void *user_data, int fd, const uint8_t *data, size_t len)
{
    ZCN_Buf buf;
    ZCN_Address peer;

    (void)user_data;
    EXPECT(data != NULL && len > 0);
    EXPECT(zcn_conn_peer(event_loop, fd, &peer) == ZCN_SUCCESS && peer.port != 0);
    EXPECT(zcn_buf_retain(event_loop, &buf) == ZCN_SUCCESS && buf.len == len);
    EXPECT(zcn_conn_send_buf(event_loop, fd, &buf) == ZCN_SUCCESS && buf.data == NULL);
}

static void server_end(void *user_data, int fd)
{
    (void)user_data;
    ended++;
    EXPECT(zcn_conn_close(event_loop, fd) == ZCN_SUCCESS);
}

/* The client sends as much as is taken, and goes on when there is room. */
static void push(void *user_data, int fd)
{
    uint8_t piece[1000];
    size_t i;

    (void)user_data;
    while (pushed < BYTES) {
        ZCN_Error error;

        for (i = 0; i < sizeof piece; i++)
            piece[i] = pattern(pushed + i);
        error = zcn_client_send(client, fd, piece, sizeof piece);
        if (error == ZCN_ERROR_WOULD_BLOCK || error == ZCN_ERROR_NO_BUFFER)
            return;
        EXPECT(error == ZCN_SUCCESS);
        pushed += sizeof piece;
    }
    EXPECT(zcn_conn_shutdown(event_loop, fd) == ZCN_SUCCESS);
}

static void connected(void *user_data, int fd, ZCN_Error error)
{
    ZCN_Address local;
    int descriptor;

    if (error != ZCN_SUCCESS) {
        EXPECT(error == ZCN_ERROR_CONNECT_FAILED);
        EXPECT(zcn_last_os_error() != 0);
        refused = 1;
        return;
    }
    EXPECT(zcn_conn_set_water_marks(event_loop, fd, 64 * 1024, 16 * 1024) == ZCN_SUCCESS);
    EXPECT(zcn_conn_local(event_loop, fd, &local) == ZCN_SUCCESS && local.port != 0);
    descriptor = zcn_conn_fd(event_loop, fd);
    EXPECT(kernel ? descriptor >= 0 : descriptor == ZCN_ERROR_UNSUPPORTED);
    push(user_data, fd);
}

static void answer(void *user_data, int fd, const uint8_t *data, size_t len)
{
    size_t i;

    (void)user_data;
    (void)fd;
    for (i = 0; i < len; i++)
        EXPECT(data[i] == pattern(arrived + i));
    arrived += len;
}

static void gone(void *user_data, int fd)
{
    (void)user_data;
    EXPECT(zcn_conn_close_reason(event_loop, fd, NULL) != ZCN_CLOSE_ERROR);
    closed++;
}

static void datagram_echo(void *user_data, const ZCN_Datagram *datagram)
{
    EXPECT(zcn_udp_send_to(user_data, &datagram->peer, datagram->data, datagram->len) ==
           ZCN_SUCCESS);
}

static void datagram_answer(void *user_data, const ZCN_Datagram *datagram)
{
    (void)user_data;
    EXPECT(datagram->len == 4 && memcmp(datagram->data, "ping", 4) == 0);
    datagrams++;
}

/* Waits as a foreign loop does. */
static void turn(void)
{
    struct pollfd waited;

    waited.fd = zcn_loop_fd(event_loop);
    waited.events = POLLIN;
    EXPECT(waited.fd >= 0);
    EXPECT(poll(&waited, 1, 20000) == 1);
    EXPECT(zcn_loop_poll(event_loop, 0, 0) >= 0);
}

static void set(ZCN_Options *options, char *pair)
{
    char *value = strchr(pair, '=');

    EXPECT(value != NULL);
    *value++ = '\0';
    EXPECT(zcn_options_set_str(options, pair, value) == ZCN_SUCCESS);
    if (strcmp(pair, "backend") == 0 && strcmp(value, "stack") == 0)
        kernel = 0;
}

static void streams(ZCN_Options *options)
{
    ZCN_Error error;

    server = zcn_server_create_on(event_loop, options, &error);
    EXPECT(server != NULL);
    zcn_server_set_callbacks(server, NULL, NULL, echo, gone);
    EXPECT(zcn_server_set_on_end(server, server_end) == ZCN_SUCCESS);
    EXPECT(zcn_server_start(server) == ZCN_SUCCESS);
    EXPECT(zcn_server_start(server) == ZCN_ERROR_ALREADY_STARTED);
    client = zcn_client_create_on(event_loop, NULL, &error);
    EXPECT(client != NULL);
    EXPECT(zcn_client_set_callbacks(client, NULL, connected, answer, gone) == ZCN_SUCCESS);
    EXPECT(zcn_client_set_on_writable(client, push) == ZCN_SUCCESS);
    EXPECT(zcn_client_connect(client, "127.0.0.1", zcn_server_port(server)) > 0);
    while (closed < 2)
        turn();
    EXPECT(pushed == BYTES && arrived == BYTES && ended == 1);
    EXPECT(zcn_client_connect(client, "127.0.0.1", 1) > 0);
    while (!refused)
        turn();
    /* Connections that are open at the end go with it. */
    EXPECT(zcn_client_connect(client, "127.0.0.1", zcn_server_port(server)) > 0);
    while (zcn_server_get_stats(server).connections_active == 0)
        turn();
}

static void datagram_sockets(ZCN_Options *options)
{
    ZCN_Error error;
    ZCN_Udp *one = zcn_udp_create_on(event_loop, options, &error);
    ZCN_Udp *other = zcn_udp_create_on(event_loop, options, &error);
    ZCN_Address address;
    int i;

    EXPECT(one != NULL && other != NULL);
    EXPECT(zcn_udp_set_callbacks(one, one, datagram_echo, NULL, NULL) == ZCN_SUCCESS);
    EXPECT(zcn_udp_set_callbacks(other, NULL, datagram_answer, NULL, NULL) == ZCN_SUCCESS);
    EXPECT(zcn_udp_address(one, &address) == ZCN_SUCCESS);
    for (i = 0; i < 10; i++)
        EXPECT(zcn_udp_send_to(other, &address, (const uint8_t *)"ping", 4) == ZCN_SUCCESS);
    while (datagrams < 10)
        turn();
    zcn_udp_destroy(one);
    zcn_udp_destroy(other);
}

int main(int argc, char **argv)
{
    ZCN_Options *options = zcn_options_new();
    ZCN_Error error;
    int i;

    kernel = 1;
    EXPECT(zcn_options_set_str(options, "address", "127.0.0.1") == ZCN_SUCCESS);
    for (i = 1; i < argc; i++)
        set(options, argv[i]);
    event_loop = zcn_loop_create(options, &error);
    EXPECT(event_loop != NULL);
    streams(options);
    datagram_sockets(options);
    EXPECT(zcn_options_free(options) == ZCN_SUCCESS);
    EXPECT(zcn_loop_destroy(event_loop) == ZCN_SUCCESS);
    printf("the same on either half\n");
    return 0;
}
