/* zcn inside somebody else's event loop: an echo server beside a timer of the program's own, both
 * in one epoll loop.
 *
 *     epoll_embed [ADDRESS [PORT]]        (default 127.0.0.1 7007; port 0 picks one)
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "example.h"

static void on_data(void *user_data, int fd, const uint8_t *data, size_t len)
{
    ZCN_Server *server = user_data;
    ZCN_Error error = zcn_server_send(server, fd, data, len);

    if (error != ZCN_SUCCESS && error != ZCN_ERROR_CLOSED)
        zcn_conn_abort(zcn_server_loop(server), fd);
}

static void watch(int epoll, int descriptor)
{
    struct epoll_event event;

    memset(&event, 0, sizeof event);
    event.events = EPOLLIN;
    event.data.fd = descriptor;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) != 0) {
        perror("epoll_ctl");
        exit(1);
    }
}

int main(int argc, char **argv)
{
    const char *address = argc > 1 ? argv[1] : "127.0.0.1";
    ZCN_Options *options = example_options(address, argc > 2 ? example_port(argv[2]) : 7007);
    struct itimerspec every = {{0, 200000000}, {0, 200000000}};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    unsigned long long ticks = 0;
    ZCN_Address bound;
    ZCN_Error error;
    ZCN_Server *server = zcn_server_create_opts(options, &error);
    int zcn;

    example_check(error);
    example_check(zcn_options_free(options));
    zcn_server_set_callbacks(server, server, NULL, on_data, NULL);
    example_catch_signals();
    example_check(zcn_server_start(server));
    zcn = zcn_server_fd(server);
    if (epoll < 0 || timer < 0 || timerfd_settime(timer, 0, &every, NULL) != 0) {
        perror("epoll and timer");
        return 1;
    }
    if (zcn < 0)
        example_check((ZCN_Error)zcn);
    watch(epoll, zcn);
    watch(epoll, timer);
    example_check(zcn_server_address(server, &bound));
    example_listening(&bound);

    while (!example_stop) {
        struct epoll_event events[8];
        int count = epoll_wait(epoll, events, 8, -1);
        int i;

        if (count < 0 && errno != EINTR) {
            perror("epoll_wait");
            return 1;
        }
        for (i = 0; i < count; i++) {
            if (events[i].data.fd == zcn) {
                /* Never waits, and leaves the descriptor readable if there is more to do. */
                int handled = zcn_server_poll(server, 0, 64);
                if (handled < 0)
                    example_check((ZCN_Error)handled);
            } else {
                uint64_t expired;
                if (read(timer, &expired, sizeof expired) == (ssize_t)sizeof expired)
                    ticks += expired;
            }
        }
    }
    printf("the timer struck%s\n", ticks > 0 ? "" : " never");
    zcn_server_destroy(server);
    close(timer);
    close(epoll);
    return 0;
}
