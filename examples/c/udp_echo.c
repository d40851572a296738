/* Echo over UDP, from the buffer that the datagram came in.
 *
 *     udp_echo [ADDRESS [PORT]]           (default 127.0.0.1 7007; port 0 picks one)
 *     printf 'hello\n' | nc -u -w1 127.0.0.1 7007
 */
#include "example.h"

struct echo {
    ZCN_Udp *udp;
    unsigned long long echoed;
    unsigned long long dropped;
};

static void on_datagram(void *user_data, const ZCN_Datagram *datagram)
{
    struct echo *echo = user_data;
    ZCN_Buf buf;

    if (zcn_buf_retain(zcn_udp_loop(echo->udp), &buf) != ZCN_SUCCESS) {
        echo->dropped++;
        return;
    }
    if (zcn_udp_send_buf(echo->udp, &datagram->peer, &buf, 0) == ZCN_SUCCESS) {
        echo->echoed++;
    } else {
        /* The queue is full: a datagram may be lost, and the peer knows that. */
        zcn_buf_release(&buf);
        echo->dropped++;
    }
}

int main(int argc, char **argv)
{
    const char *address = argc > 1 ? argv[1] : "127.0.0.1";
    ZCN_Options *options = example_options(address, argc > 2 ? example_port(argv[2]) : 7007);
    struct echo echo = {NULL, 0, 0};
    ZCN_Address bound;
    ZCN_Error error;

    echo.udp = zcn_udp_create(options, &error);
    example_check(error);
    example_check(zcn_options_free(options));
    example_check(zcn_udp_set_callbacks(echo.udp, &echo, on_datagram, NULL, NULL));
    example_check(zcn_udp_address(echo.udp, &bound));
    example_catch_signals();
    example_listening(&bound);

    while (!example_stop) {
        int count = zcn_loop_poll(zcn_udp_loop(echo.udp), -1, 0);
        if (count < 0)
            example_check((ZCN_Error)count);
    }
    printf("%llu datagrams echoed, %llu dropped\n", echo.echoed, echo.dropped);
    zcn_udp_destroy(echo.udp);
    return 0;
}
