/* An echo server that copies nothing: what came in goes out of the buffer that it came in.
 *
 *     echo_server [ADDRESS [PORT [NAME=VALUE...]]]    (default 127.0.0.1 7007; port 0 picks one)
 *     printf 'hello\n' | nc -N 127.0.0.1 7007
 *
 * The rest are options by name, for example those that put it on the user-space TCP/IP:
 *
 *     echo_server 10.9.0.2 7007 backend=stack link=tap:zcn0 \
 *                 addresses=10.9.0.2/24 kernel_addresses=10.9.0.1/24
 */
#include "example.h"

static void on_data(void *user_data, int fd, const uint8_t *data, size_t len)
{
    ZCN_Loop *event_loop = user_data;
    ZCN_Buf buf;

    (void)data;
    (void)len;
    /* The bytes become ours and go straight on. While the connection's queue is full the library
     * receives nothing from it, so this is refused only when the connection is about to end. */
    if (zcn_buf_retain(event_loop, &buf) == ZCN_SUCCESS &&
        zcn_conn_send_buf(event_loop, fd, &buf) != ZCN_SUCCESS)
        zcn_buf_release(&buf);
}

int main(int argc, char **argv)
{
    const char *address = argc > 1 ? argv[1] : "127.0.0.1";
    ZCN_Options *options = example_options(address, argc > 2 ? example_port(argv[2]) : 7007);
    ZCN_Error error;
    ZCN_Server *server;
    ZCN_Address bound;
    ZCN_StatsEx stats;
    int i;

    for (i = 3; i < argc; i++)
        example_set(options, argv[i]);
    server = zcn_server_create_opts(options, &error);
    example_check(error);
    example_check(zcn_options_free(options));
    zcn_server_set_callbacks(server, zcn_server_loop(server), NULL, on_data, NULL);
    example_catch_signals();
    example_check(zcn_server_start(server));
    example_check(zcn_server_address(server, &bound));
    example_listening(&bound);

    while (!example_stop)
        example_check(zcn_server_run_once(server));

    /* What is on its way is delivered before the end. */
    example_check(zcn_server_shutdown(server, 1000));
    while (zcn_server_is_stopped(server) == 0)
        zcn_server_poll(server, 100, 0);
    example_check(zcn_server_stats_ex(server, &stats, sizeof stats));
    printf("%llu connections, %llu bytes in, %llu bytes out, %llu buffers still in use\n",
           (unsigned long long)stats.connections_opened,
           (unsigned long long)stats.bytes_received,
           (unsigned long long)stats.bytes_sent,
           (unsigned long long)stats.buffers_in_use);
    zcn_server_destroy(server);
    return 0;
}
