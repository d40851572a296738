/* Loads the library as the tool does, by name, and looks at a SYN through the table. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

struct table {
    void *userdata;
    void (*free)(void *);
    int (*socket)(void *, int, int, int);
    int (*bind)(void *, int, const struct sockaddr *, socklen_t);
    int (*listen)(void *, int, int);
    int (*accept)(void *, int, struct sockaddr *, socklen_t *);
    int (*connect)(void *, int, const struct sockaddr *, socklen_t);
    ssize_t (*read)(void *, int, void *, size_t);
    ssize_t (*readv)(void *, int, const struct iovec *, int);
    ssize_t (*recv)(void *, int, void *, size_t, int);
    ssize_t (*recvfrom)(void *, int, void *, size_t, int, struct sockaddr *, socklen_t *);
    ssize_t (*recvmsg)(void *, int, struct msghdr *, int);
    ssize_t (*write)(void *, int, const void *, size_t);
    ssize_t (*writev)(void *, int, const struct iovec *, int);
    ssize_t (*send)(void *, int, const void *, size_t, int);
    ssize_t (*sendto)(void *, int, const void *, size_t, int, const struct sockaddr *, socklen_t);
    ssize_t (*sendmsg)(void *, int, const struct msghdr *, int);
    int (*fcntl)(void *, int, int, ...);
    int (*ioctl)(void *, int, unsigned long, ...);
    int (*close)(void *, int);
    int (*shutdown)(void *, int, int);
    int (*getsockopt)(void *, int, int, int, void *, socklen_t *);
    int (*setsockopt)(void *, int, int, int, const void *, socklen_t);
    int (*poll)(void *, struct pollfd *, nfds_t, int);
    int (*netdev_send)(void *, const void *, size_t);
    int (*netdev_receive)(void *, void *, size_t *, long long *);
    int (*usleep)(void *, useconds_t);
    int (*gettimeofday)(void *, struct timeval *, struct timezone *);
    int (*epoll_create)(void *, int);
    int (*epoll_ctl)(void *, int, int, int, struct epoll_event *);
    int (*epoll_wait)(void *, int, struct epoll_event *, int, int);
    int (*pipe)(void *, int[2]);
    ssize_t (*splice)(void *, int, long *, int, long *, size_t, unsigned);
};

#define CHECK(what)                                                    \
    do {                                                               \
        if (!(what)) {                                                 \
            fprintf(stderr, "line %d: %s: %m\n", __LINE__, #what);     \
            return 1;                                                  \
        }                                                              \
    } while (0)

int main(int argc, char **argv) {
    void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
    CHECK(library);
    void (*init)(const char *, struct table *);
    *(void **)&init = dlsym(library, "packetdrill_interface_init");
    CHECK(init);
    struct table t;
    init("freebsd no-sysctl", &t);
    void *u = t.userdata;
    int fd = t.socket(u, AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0);
    CHECK(t.fcntl(u, fd, F_SETFL, O_RDWR | O_NONBLOCK) == 0);
    CHECK(t.fcntl(u, fd, F_GETFL, 0) & O_NONBLOCK);
    struct sockaddr_in remote = {.sin_family = AF_INET, .sin_port = htons(80)};
    inet_pton(AF_INET, "192.0.2.1", &remote.sin_addr);
    CHECK(t.connect(u, fd, (struct sockaddr *)&remote, sizeof remote) < 0 && errno == EINPROGRESS);
    unsigned char packet[2048];
    size_t count = sizeof packet;
    long long first = 0, second = 0;
    CHECK(t.netdev_receive(u, packet, &count, &first) == 0 && count == 60);
    CHECK(packet[9] == 6 && packet[33] == 2);
    CHECK(packet[44] == 1 && packet[45] == 3 && packet[47] == 6); /* NOP, window scale 6 */
    count = sizeof packet;
    CHECK(t.netdev_receive(u, packet, &count, &second) == 0);
    CHECK(second - first >= 1000000 && second - first <= 1001000);
    struct tcp_info info;
    socklen_t len = sizeof info;
    int (*option)(int, int, int, void *, socklen_t *);
    *(void **)&option = dlsym(library, "getsockopt");
    CHECK(option && option(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0);
    CHECK(len == sizeof info && info.tcpi_state == TCP_SYN_SENT);
    int ends[2];
    char byte = 0;
    CHECK(t.pipe(u, ends) == 0 && t.write(u, ends[1], "x", 1) == 1);
    CHECK(t.read(u, ends[0], &byte, 1) == 1 && byte == 'x');
    CHECK(t.close(u, ends[0]) == 0 && t.close(u, ends[1]) == 0);
    CHECK(t.close(u, fd) == 0 && t.close(u, fd) < 0 && errno == EBADF);
    t.free(u);
    return 0;
}
