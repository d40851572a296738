/* A TCP proxy that forwards leases: what the kernel has received into is what it sends from.
 *
 *     proxy TARGET-HOST TARGET-PORT [ADDRESS [PORT]]     (default 127.0.0.1 7008)
 *     proxy localhost 7007
 */
#include "example.h"

/* Bytes that one side may have received for a peer that is not ready; beyond, receiving pauses. */
#define HELD_MAX 8

struct pair;

/* One end of a pair. What comes in here goes out at `other`. */
struct side {
    struct pair *pair;
    struct side *other;
    int fd;              /* 0 when gone */
    int ready;           /* connected */
    int ended;           /* the other side has finished sending to us */
    ZCN_Buf held[HELD_MAX]; /* to be sent here, when there is room */
    int held_count;
};

struct pair {
    struct side client;
    struct side server;
};

static ZCN_Loop *event_loop;
static ZCN_Client *client;
static const char *target_host;
static uint16_t target_port;
static unsigned long pairs;

/* Closes a pair when both directions have come to their end. */
static void settle(struct pair *pair)
{
    struct side *sides[2];
    int i;

    sides[0] = &pair->client;
    sides[1] = &pair->server;
    for (i = 0; i < 2; i++)
        if (!sides[i]->ended || sides[i]->held_count > 0)
            return;
    for (i = 0; i < 2; i++)
        if (sides[i]->fd != 0)
            zcn_conn_close(event_loop, sides[i]->fd);
}

/* Sends what is held, and the end behind it. */
static void drain(struct side *side)
{
    int sent = 0;

    if (!side->ready)
        return;
    while (sent < side->held_count &&
           zcn_conn_send_buf(event_loop, side->fd, &side->held[sent]) == ZCN_SUCCESS)
        sent++;
    side->held_count -= sent;
    memmove(side->held, side->held + sent, (size_t)side->held_count * sizeof side->held[0]);
    if (side->held_count > 0)
        return;
    if (side->ended)
        zcn_conn_shutdown(event_loop, side->fd);
    else if (side->other->fd != 0)
        zcn_conn_resume(event_loop, side->other->fd);
    settle(side->pair);
}

static void on_data(void *user_data, int fd, const uint8_t *data, size_t len)
{
    struct side *from = zcn_conn_user_data(event_loop, fd);
    struct side *to = from->other;
    ZCN_Buf buf;

    (void)user_data;
    (void)data;
    (void)len;
    if (to->fd == 0 || zcn_buf_retain(event_loop, &buf) != ZCN_SUCCESS) {
        zcn_conn_abort(event_loop, fd); /* never lose bytes in silence */
        return;
    }
    if (to->ready && to->held_count == 0 &&
        zcn_conn_send_buf(event_loop, to->fd, &buf) == ZCN_SUCCESS) {
        if (zcn_conn_is_writable(event_loop, to->fd) == 0)
            zcn_conn_pause(event_loop, fd);
        return;
    }
    zcn_conn_pause(event_loop, fd);
    if (to->held_count == HELD_MAX) {
        zcn_buf_release(&buf);
        zcn_conn_abort(event_loop, fd);
        return;
    }
    to->held[to->held_count++] = buf;
}

static void on_writable(void *user_data, int fd)
{
    (void)user_data;
    drain(zcn_conn_user_data(event_loop, fd));
}

/* This side has finished: the other one is told once everything has gone there. */
static void on_end(void *user_data, int fd)
{
    struct side *from = zcn_conn_user_data(event_loop, fd);
    struct side *to = from->other;

    (void)user_data;
    to->ended = 1;
    drain(to);
}

static void on_close(void *user_data, int fd)
{
    struct side *side = zcn_conn_user_data(event_loop, fd);
    struct side *other = side->other;

    (void)user_data;
    side->fd = 0;
    side->ready = 0;
    while (side->held_count > 0)
        zcn_buf_release(&side->held[--side->held_count]);
    if (other->fd == 0) {
        free(side->pair);
        pairs--;
    } else if (!side->ended || !other->ended) {
        /* Broken on one side is broken on both. */
        zcn_conn_abort(event_loop, other->fd);
    }
}

static void on_accept(void *user_data, int fd)
{
    struct pair *pair = calloc(1, sizeof *pair);

    (void)user_data;
    if (pair == NULL) {
        zcn_conn_abort(event_loop, fd);
        return;
    }
    pairs++;
    pair->client.pair = pair->server.pair = pair;
    pair->client.other = &pair->server;
    pair->server.other = &pair->client;
    pair->client.fd = fd;
    pair->client.ready = 1;
    zcn_conn_set_user_data(event_loop, fd, &pair->client);
    zcn_conn_pause(event_loop, fd); /* until the target is there */
    pair->server.fd = zcn_client_connect(client, target_host, target_port);
    if (pair->server.fd < 0) {
        fprintf(stderr, "%s\n", zcn_last_error_message());
        pair->server.fd = 0;
        zcn_conn_abort(event_loop, fd);
        return;
    }
    zcn_conn_set_user_data(event_loop, pair->server.fd, &pair->server);
}

static void on_connect(void *user_data, int fd, ZCN_Error error)
{
    struct side *side = zcn_conn_user_data(event_loop, fd);

    (void)user_data;
    if (error == ZCN_SUCCESS) {
        side->ready = 1;
        drain(side);
        return;
    }
    fprintf(stderr, "%s\n", zcn_last_error_message());
    on_close(NULL, fd); /* no other callback comes for it */
}

int main(int argc, char **argv)
{
    ZCN_Options *options;
    ZCN_Server *server;
    ZCN_Address bound;
    ZCN_Error error;

    if (argc < 3) {
        fprintf(stderr, "usage: %s TARGET-HOST TARGET-PORT [ADDRESS [PORT]]\n", argv[0]);
        return 2;
    }
    target_host = argv[1];
    target_port = example_port(argv[2]);
    options = example_options(argc > 3 ? argv[3] : "127.0.0.1",
                              argc > 4 ? example_port(argv[4]) : 7008);
    example_check(zcn_options_set_u64(options, "connect_timeout_ms", 10000));
    event_loop = zcn_loop_create(options, &error);
    example_check(error);
    server = zcn_server_create_on(event_loop, options, &error);
    example_check(error);
    client = zcn_client_create_on(event_loop, options, &error);
    example_check(error);
    example_check(zcn_options_free(options));

    zcn_server_set_callbacks(server, NULL, on_accept, on_data, on_close);
    example_check(zcn_server_set_on_writable(server, on_writable));
    example_check(zcn_server_set_on_end(server, on_end));
    example_check(zcn_client_set_callbacks(client, NULL, on_connect, on_data, on_close));
    example_check(zcn_client_set_on_writable(client, on_writable));
    example_check(zcn_client_set_on_end(client, on_end));
    example_catch_signals();
    example_check(zcn_server_start(server));
    example_check(zcn_server_address(server, &bound));
    example_listening(&bound);

    while (!example_stop) {
        int count = zcn_loop_poll(event_loop, -1, 0);
        if (count < 0)
            example_check((ZCN_Error)count);
    }
    /* Each connection ends with on_close, which ends its other side and frees what they had. */
    example_check(zcn_server_shutdown(server, 0));
    while (zcn_server_is_stopped(server) == 0 || pairs > 0)
        zcn_loop_poll(event_loop, 100, 0);
    zcn_loop_destroy(event_loop);
    return 0;
}
