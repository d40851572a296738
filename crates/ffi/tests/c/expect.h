/* Expectations of the test programs. */
#ifndef ZCN_EXPECT_H
#define ZCN_EXPECT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "zero_copy_net.h"

#define EXPECT(condition)                                                                   \
    do {                                                                                    \
        if (!(condition)) {                                                                 \
            fprintf(stderr, "%s:%d: not so: %s (last error: %s)\n", __FILE__, __LINE__,     \
                    #condition, zcn_last_error_message());                                  \
            exit(1);                                                                        \
        }                                                                                   \
    } while (0)

/* A server on a free port of loopback, started. */
static inline ZCN_Server *expect_server(ZCN_Loop *event_loop)
{
    ZCN_Options *options = zcn_options_new();
    ZCN_Error error = ZCN_SUCCESS;
    ZCN_Server *server;

    EXPECT(zcn_options_set_str(options, "address", "127.0.0.1") == ZCN_SUCCESS);
    EXPECT(zcn_options_set_u64(options, "buffers", 64) == ZCN_SUCCESS);
    server = event_loop != NULL ? zcn_server_create_on(event_loop, options, &error)
                                : zcn_server_create_opts(options, &error);
    EXPECT(server != NULL && error == ZCN_SUCCESS);
    EXPECT(zcn_options_free(options) == ZCN_SUCCESS);
    return server;
}

#endif
