/* What C programmers do wrong with settings, moments and callbacks: each is an error with a
 * message, never a crash. Handles and arguments that are none: every_call.c. */
#include <pthread.h>

#include "expect.h"

static ZCN_Server *server;
static ZCN_Client *client;
static int closed;
static int data_calls;

static void ignore_accept(void *user_data, int fd)
{
    (void)user_data;
    (void)fd;
}

/* Settings that cannot be. */
static void absurd_configuration(void)
{
    ZCN_Config config = {"127.0.0.1", 0, 256, 64, 4096};
    ZCN_Options *options = zcn_options_new();
    ZCN_Error error;

    config.address = NULL;
    EXPECT(zcn_server_create(&config, &error) == NULL && error == ZCN_ERROR_INVALID_CONFIG);
    config.address = "not an address";
    EXPECT(zcn_server_create(&config, &error) == NULL && error == ZCN_ERROR_INVALID_CONFIG);
    EXPECT(strstr(zcn_last_error_message(), "not an address") != NULL);
    config.address = "127.0.0.1";
    config.io_uring_entries = 0xffffffffu;
    EXPECT(zcn_server_create(&config, &error) == NULL && error == ZCN_ERROR_INVALID_CONFIG);
    config.io_uring_entries = 256;
    config.buffer_pool_size = 0xffffffffu;
    EXPECT(zcn_server_create(&config, &error) == NULL && error != ZCN_SUCCESS);
    config.buffer_pool_size = 64;
    config.buffer_size = 0xffffffffu;
    EXPECT(zcn_server_create(&config, &error) == NULL && error != ZCN_SUCCESS);

    EXPECT(zcn_options_set_str(options, "no such", "1") == ZCN_ERROR_UNKNOWN_OPTION);
    EXPECT(strstr(zcn_last_error_message(), "no such") != NULL);
    EXPECT(zcn_options_set_u64(options, "port", 65536) == ZCN_ERROR_INVALID_CONFIG);
    EXPECT(zcn_options_set_str(options, "port", "-1") == ZCN_ERROR_INVALID_CONFIG);
    EXPECT(zcn_options_set_str(options, "buffers", "many") == ZCN_ERROR_INVALID_CONFIG);
    EXPECT(zcn_options_set_str(options, "port", NULL) == ZCN_ERROR_INVALID_ARGUMENT);
    EXPECT(zcn_options_set_str(options, NULL, "1") == ZCN_ERROR_INVALID_ARGUMENT);
    EXPECT(zcn_options_free(options) == ZCN_SUCCESS);
    EXPECT(zcn_options_free(options) == ZCN_ERROR_INVALID_HANDLE);
    EXPECT(zcn_options_set_str(options, "port", "1") == ZCN_ERROR_INVALID_HANDLE);
}

static void *foreign_thread(void *argument)
{
    ZCN_Server *of = argument;

    EXPECT(zcn_server_start(of) == ZCN_ERROR_WRONG_THREAD);
    EXPECT(zcn_server_run_once(of) == ZCN_ERROR_WRONG_THREAD);
    EXPECT(zcn_server_send(of, 1, (const uint8_t *)"x", 1) == ZCN_ERROR_WRONG_THREAD);
    EXPECT(strstr(zcn_last_error_message(), "thread") != NULL);
    zcn_server_destroy(of);
    /* What is for any thread. */
    EXPECT(zcn_server_get_stats(of).total_buffers > 0);
    EXPECT(zcn_server_wakeup(of) == ZCN_SUCCESS);
    return NULL;
}

static void wrong_thread(void)
{
    ZCN_Server *of = expect_server(NULL);
    pthread_t thread;

    EXPECT(pthread_create(&thread, NULL, foreign_thread, of) == 0);
    EXPECT(pthread_join(thread, NULL) == 0);
    /* Woken from there, and still ours. */
    EXPECT(zcn_server_start(of) == ZCN_SUCCESS);
    EXPECT(zcn_server_start(of) == ZCN_ERROR_ALREADY_STARTED);
    zcn_server_destroy(of);
}

static void wrong_moment(void)
{
    ZCN_Server *of = expect_server(NULL);
    ZCN_Server *again;
    ZCN_Buf buf;
    ZCN_Buf copy;

    /* Before the start. */
    EXPECT(zcn_server_run_once(of) == ZCN_ERROR_NOT_STARTED);
    EXPECT(zcn_server_send(of, 1, (const uint8_t *)"x", 1) == ZCN_ERROR_CONNECTION_NOT_FOUND);
    EXPECT(zcn_server_start(of) == ZCN_SUCCESS);
    /* Connections that are none. */
    EXPECT(zcn_server_send(of, 0, (const uint8_t *)"x", 1) == ZCN_ERROR_CONNECTION_NOT_FOUND);
    EXPECT(zcn_server_send(of, -7, (const uint8_t *)"x", 1) == ZCN_ERROR_CONNECTION_NOT_FOUND);
    EXPECT(zcn_conn_close(zcn_server_loop(of), 12345) == ZCN_ERROR_CONNECTION_NOT_FOUND);
    EXPECT(zcn_conn_user_data(zcn_server_loop(of), 12345) == NULL);
    /* Outside of a callback nothing is being delivered. */
    EXPECT(zcn_buf_retain(zcn_server_loop(of), &buf) != ZCN_SUCCESS);
    /* Past the end of a buffer, and given back twice. */
    EXPECT(zcn_buf_acquire(zcn_server_loop(of), &buf) == ZCN_SUCCESS);
    EXPECT(zcn_buf_commit(&buf, buf.capacity + 1) == ZCN_ERROR_INVALID_ARGUMENT);
    EXPECT(zcn_buf_commit(&buf, SIZE_MAX) == ZCN_ERROR_INVALID_ARGUMENT);
    EXPECT(zcn_buf_commit(&buf, 10) == ZCN_SUCCESS);
    EXPECT(zcn_buf_advance(&buf, 11) == ZCN_ERROR_INVALID_ARGUMENT);
    copy = buf;
    EXPECT(zcn_buf_release(&buf) == ZCN_SUCCESS);
    EXPECT(zcn_buf_release(&buf) == ZCN_ERROR_INVALID_BUFFER);
    EXPECT(zcn_buf_release(&copy) == ZCN_ERROR_INVALID_BUFFER);
    /* After the end. */
    again = of;
    zcn_server_destroy(of);
    EXPECT(zcn_server_start(again) == ZCN_ERROR_INVALID_HANDLE);
    EXPECT(zcn_server_run_once(again) == ZCN_ERROR_INVALID_HANDLE);
    EXPECT(zcn_server_get_stats(again).total_buffers == 0);
    zcn_server_destroy(again);
}

/* Everything at once from inside callbacks. */
static void data_that_destroys(void *user_data, int fd, const uint8_t *data, size_t len)
{
    ZCN_Loop *event_loop = user_data;

    data_calls++;
    EXPECT(len > 0 && data[0] == 'x');
    EXPECT(zcn_loop_poll(event_loop, 0, 0) == ZCN_ERROR_REENTRANT);
    EXPECT(zcn_server_run_once(server) == ZCN_ERROR_REENTRANT);
    EXPECT(zcn_server_send(server, fd, (const uint8_t *)"bye", 3) == ZCN_SUCCESS);
    zcn_server_set_callbacks(server, event_loop, ignore_accept, NULL, NULL);
    EXPECT(zcn_conn_close(event_loop, fd) == ZCN_SUCCESS);
    EXPECT(zcn_server_send(server, fd, (const uint8_t *)"late", 4) == ZCN_ERROR_CLOSED);
    zcn_server_destroy(server);
    /* The borrowed bytes last as long as the callback, whatever happened to the server. */
    EXPECT(data[0] == 'x' && data[len - 1] == 'x');
    EXPECT(zcn_server_start(server) == ZCN_ERROR_INVALID_HANDLE);
}

static void connected(void *user_data, int fd, ZCN_Error error)
{
    (void)user_data;
    EXPECT(error == ZCN_SUCCESS);
    EXPECT(zcn_client_send(client, fd, (const uint8_t *)"xxxx", 4) == ZCN_SUCCESS);
}

static void client_closed(void *user_data, int fd)
{
    (void)user_data;
    (void)fd;
    closed = 1;
}

static void destroy_inside_a_callback(void)
{
    ZCN_Error error;
    ZCN_Loop *event_loop = zcn_loop_create(NULL, &error);

    EXPECT(error == ZCN_SUCCESS);
    server = expect_server(event_loop);
    zcn_server_set_callbacks(server, event_loop, ignore_accept, data_that_destroys, NULL);
    EXPECT(zcn_server_start(server) == ZCN_SUCCESS);
    client = zcn_client_create_on(event_loop, NULL, &error);
    EXPECT(error == ZCN_SUCCESS);
    EXPECT(zcn_client_set_callbacks(client, NULL, connected, NULL, client_closed) == ZCN_SUCCESS);
    EXPECT(zcn_client_connect(client, "127.0.0.1", zcn_server_port(server)) > 0);
    while (!closed)
        EXPECT(zcn_loop_poll(event_loop, 10000, 0) >= 0);
    EXPECT(data_calls == 1);
    /* The loop takes the client with it, whose handle is void then. */
    EXPECT(zcn_loop_destroy(event_loop) == ZCN_SUCCESS);
    EXPECT(zcn_client_connect(client, "127.0.0.1", 1) == ZCN_ERROR_INVALID_HANDLE);
    EXPECT(zcn_loop_poll(event_loop, 0, 0) == ZCN_ERROR_INVALID_HANDLE);
}

/* The whole server, with its own loop, goes inside its own callback. */
static void accept_that_destroys(void *user_data, int fd)
{
    (void)user_data;
    (void)fd;
    zcn_server_destroy(server);
}

static void destroy_of_the_own_loop(void)
{
    ZCN_Error error;

    server = expect_server(NULL);
    zcn_server_set_callbacks(server, NULL, accept_that_destroys, NULL, NULL);
    EXPECT(zcn_server_start(server) == ZCN_SUCCESS);
    closed = 0;
    client = zcn_client_create(NULL, &error);
    EXPECT(error == ZCN_SUCCESS);
    EXPECT(zcn_client_set_callbacks(client, NULL, NULL, NULL, client_closed) == ZCN_SUCCESS);
    EXPECT(zcn_client_connect(client, "127.0.0.1", zcn_server_port(server)) > 0);
    while (!closed) {
        zcn_server_poll(server, 0, 0);
        EXPECT(zcn_loop_poll(zcn_client_loop(client), 1, 0) >= 0);
    }
    EXPECT(zcn_server_poll(server, 0, 0) == ZCN_ERROR_INVALID_HANDLE);
    zcn_client_destroy(client);
}

int main(void)
{
    absurd_configuration();
    wrong_thread();
    wrong_moment();
    destroy_inside_a_callback();
    destroy_of_the_own_loop();
    puts("everything was refused");
    return 0;
}
