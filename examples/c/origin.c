/* The smallest server, with the frozen part of the interface only: what was written against the
 * first zero_copy_net.h compiles and runs unchanged.
 *
 *     gcc origin.c -o origin -lzero_copy_net -lpthread
 *     ./origin [PORT]
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "zero_copy_net.h"

static volatile sig_atomic_t running = 1;

static void on_signal(int signal_number)
{
    (void)signal_number;
    running = 0;
}

static void on_accept(void *user_data, int fd)
{
    (void)user_data;
    printf("connection %d\n", fd);
}

static void on_data(void *user_data, int fd, const uint8_t *data, size_t len)
{
    ZCN_Server *server = *(ZCN_Server **)user_data;
    ZCN_Error error = zcn_server_send(server, fd, data, len);

    if (error != ZCN_SUCCESS)
        fprintf(stderr, "send: %s\n", zcn_error_string(error));
}

static void on_close(void *user_data, int fd)
{
    (void)user_data;
    printf("connection %d closed\n", fd);
}

int main(int argc, char **argv)
{
    ZCN_Config config = {
        "127.0.0.1", /* address */
        8080,        /* port */
        256,         /* io_uring_entries */
        1024,        /* buffer_pool_size */
        4096         /* buffer_size */
    };
    ZCN_Error error = ZCN_SUCCESS;
    ZCN_Server *server;
    ZCN_Stats stats;

    if (argc > 1)
        config.port = (uint16_t)atoi(argv[1]);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);

    server = zcn_server_create(&config, &error);
    if (server == NULL) {
        fprintf(stderr, "create: %s\n", zcn_error_string(error));
        return 1;
    }
    zcn_server_set_callbacks(server, &server, on_accept, on_data, on_close);
    error = zcn_server_start(server);
    if (error != ZCN_SUCCESS) {
        fprintf(stderr, "start: %s\n", zcn_error_string(error));
        zcn_server_destroy(server);
        return 1;
    }
    printf("listening on port %u\n", (unsigned)config.port);
    fflush(stdout);

    while (running) {
        error = zcn_server_run_once(server);
        if (error != ZCN_SUCCESS) {
            fprintf(stderr, "run_once: %s\n", zcn_error_string(error));
            break;
        }
    }

    stats = zcn_server_get_stats(server);
    printf("buffers: %zu total, %zu in use, %zu free; connections: %zu\n",
           stats.total_buffers, stats.buffers_in_use, stats.buffers_free,
           stats.connections_active);
    zcn_server_destroy(server);
    return error == ZCN_SUCCESS ? 0 : 1;
}
