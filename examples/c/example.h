/* What the examples share: ending on a signal, and telling what went wrong. */
#ifndef ZCN_EXAMPLE_H
#define ZCN_EXAMPLE_H

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "zero_copy_net.h"

/* Set by SIGINT and SIGTERM. A poll returns after a signal, so a loop sees it at once. */
static volatile sig_atomic_t example_stop;

static inline void example_on_signal(int signal_number)
{
    (void)signal_number;
    example_stop = 1;
}

static inline void example_catch_signals(void)
{
    struct sigaction action;

    memset(&action, 0, sizeof action);
    action.sa_handler = example_on_signal;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* Ends the program if a call has failed. */
static inline void example_check(ZCN_Error error)
{
    if (error != ZCN_SUCCESS) {
        fprintf(stderr, "%s: %s\n", zcn_error_name(error), zcn_last_error_message());
        exit(1);
    }
}

/* A port out of a text; ends the program if it is none. */
static inline uint16_t example_port(const char *text)
{
    char *end;
    long port = strtol(text, &end, 10);

    if (*text == '\0' || *end != '\0' || port < 0 || port > 65535) {
        fprintf(stderr, "%s is not a port: 0 to 65535\n", text);
        exit(2);
    }
    return (uint16_t)port;
}

/* Options with an address and a port; free them. */
static inline ZCN_Options *example_options(const char *address, uint16_t port)
{
    ZCN_Options *options = zcn_options_new();

    example_check(zcn_options_set_str(options, "address", address));
    example_check(zcn_options_set_u64(options, "port", port));
    return options;
}

/* Sets an option written as NAME=VALUE. */
static inline void example_set(ZCN_Options *options, char *pair)
{
    char *value = strchr(pair, '=');

    if (value == NULL) {
        fprintf(stderr, "%s is not NAME=VALUE\n", pair);
        exit(2);
    }
    *value++ = '\0';
    example_check(zcn_options_set_str(options, pair, value));
}

/* Says where a server listens, which a script may wait for. */
static inline void example_listening(const ZCN_Address *address)
{
    char text[ZCN_ADDRESS_TEXT_BYTES];

    example_check(zcn_address_format(address, text, sizeof text));
    printf("listening on %s\n", text);
    fflush(stdout);
}

#endif
