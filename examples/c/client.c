/* A client like nc: what comes in on standard input goes to the server, what the server answers
 * goes to standard output. It ends when the server has.
 *
 *     client HOST PORT
 *     printf 'hello\n' | client 127.0.0.1 7007
 */
#include <poll.h>
#include <unistd.h>

#include "example.h"

struct session {
    ZCN_Client *client;
    ZCN_Loop *event_loop;
    int connected;
    int writable;
    int over;
    int status;
};

static void on_connect(void *user_data, int fd, ZCN_Error error)
{
    struct session *session = user_data;

    (void)fd;
    if (error == ZCN_SUCCESS) {
        session->connected = 1;
        session->writable = 1;
    } else {
        fprintf(stderr, "%s: %s\n", zcn_error_name(error), zcn_last_error_message());
        session->over = 1;
        session->status = 1;
    }
}

static void on_data(void *user_data, int fd, const uint8_t *data, size_t len)
{
    struct session *session = user_data;

    while (len > 0) {
        ssize_t written = write(STDOUT_FILENO, data, len);
        if (written < 0) {
            perror("standard output");
            session->status = 1;
            zcn_conn_abort(session->event_loop, fd);
            return;
        }
        data += written;
        len -= (size_t)written;
    }
}

static void on_writable(void *user_data, int fd)
{
    struct session *session = user_data;

    (void)fd;
    session->writable = 1;
}

static void on_close(void *user_data, int fd)
{
    struct session *session = user_data;
    int os_error = 0;

    if (zcn_conn_close_reason(session->event_loop, fd, &os_error) == ZCN_CLOSE_ERROR) {
        fprintf(stderr, "connection lost: %s\n", strerror(os_error));
        session->status = 1;
    }
    session->over = 1;
}

/* Reads standard input into a buffer of the library and sends it from there. */
static int send_input(struct session *session, int fd)
{
    ZCN_Buf buf;
    ssize_t count;
    ZCN_Error error;

    if (zcn_buf_acquire(session->event_loop, &buf) != ZCN_SUCCESS)
        return 1; /* all are on their way: later */
    count = read(STDIN_FILENO, buf.data, buf.capacity);
    if (count <= 0) {
        zcn_buf_release(&buf);
        zcn_conn_shutdown(session->event_loop, fd);
        return 0;
    }
    example_check(zcn_buf_commit(&buf, (size_t)count));
    error = zcn_conn_send_buf(session->event_loop, fd, &buf);
    if (error != ZCN_SUCCESS) {
        zcn_buf_release(&buf); /* the connection is closing */
        return 0;
    }
    session->writable = zcn_conn_is_writable(session->event_loop, fd) == 1;
    return 1;
}

int main(int argc, char **argv)
{
    struct session session;
    ZCN_Error error;
    int fd;
    int input = 1;

    if (argc != 3) {
        fprintf(stderr, "usage: %s HOST PORT\n", argv[0]);
        return 2;
    }
    memset(&session, 0, sizeof session);
    session.client = zcn_client_create(NULL, &error);
    example_check(error);
    session.event_loop = zcn_client_loop(session.client);
    example_check(zcn_client_set_callbacks(session.client, &session, on_connect, on_data, on_close));
    example_check(zcn_client_set_on_writable(session.client, on_writable));
    fd = zcn_client_connect(session.client, argv[1], example_port(argv[2]));
    if (fd < 0)
        example_check((ZCN_Error)fd);
    example_catch_signals();

    while (!session.over && !example_stop) {
        struct pollfd waiting[2];

        waiting[0].fd = zcn_loop_fd(session.event_loop);
        waiting[0].events = POLLIN;
        /* poll passes over negative descriptors: input waits while the server is slow. */
        waiting[1].fd = input && session.connected && session.writable ? STDIN_FILENO : -1;
        waiting[1].events = POLLIN;
        waiting[1].revents = 0;
        if (poll(waiting, 2, -1) < 0)
            continue; /* a signal */
        if (waiting[1].revents != 0)
            input = send_input(&session, fd);
        if (zcn_loop_poll(session.event_loop, 0, 0) < 0) {
            fprintf(stderr, "%s\n", zcn_last_error_message());
            session.status = 1;
            break;
        }
    }
    zcn_client_destroy(session.client);
    return session.status;
}
