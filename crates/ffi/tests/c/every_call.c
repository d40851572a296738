/* Every function of the header, with handles that are none, of another kind, destroyed or of
 * another thread, and with NULL where something is expected: the documented error, and a message. */
#include <pthread.h>
#include <stdint.h>

#include "expect.h"

enum kind { LOOP, SERVER, CLIENT, UDP, OPTIONS, KINDS };

/* NULL stands for the defaults, or for nothing to destroy. */
#define NULL_IS_FINE 1
/* For any thread. */
#define ANY_THREAD 2

/* What a call answers that has no code: the caller looks at the message. */
#define NO_CODE 1

static int neutral(int is_neutral)
{
    EXPECT(is_neutral);
    return NO_CODE;
}

static ZCN_Address address;
static ZCN_StatsEx stats;
static ZCN_Buf buf;
static const int fds[1] = {1};
static const uint8_t bytes[1] = {'x'};

#define CALLS(CALL)                                                                             \
    CALL(zcn_loop_create, OPTIONS, NULL_IS_FINE, neutral(zcn_loop_create(handle, NULL) == NULL)) \
    CALL(zcn_loop_destroy, LOOP, NULL_IS_FINE, zcn_loop_destroy(handle))                        \
    CALL(zcn_loop_poll, LOOP, 0, zcn_loop_poll(handle, 0, 0))                                   \
    CALL(zcn_loop_fd, LOOP, 0, zcn_loop_fd(handle))                                             \
    CALL(zcn_loop_wakeup, LOOP, ANY_THREAD, zcn_loop_wakeup(handle))                            \
    CALL(zcn_loop_time_ns, LOOP, 0, neutral(zcn_loop_time_ns(handle) == 0))                     \
    CALL(zcn_loop_is_uring, LOOP, 0, zcn_loop_is_uring(handle))                                 \
    CALL(zcn_conn_send, LOOP, 0, zcn_conn_send(handle, 1, bytes, 1))                            \
    CALL(zcn_conn_send_buf, LOOP, 0, zcn_conn_send_buf(handle, 1, &buf))                        \
    CALL(zcn_conn_send_buf_to_all, LOOP, 0, zcn_conn_send_buf_to_all(handle, fds, 1, &buf))     \
    CALL(zcn_conn_close, LOOP, 0, zcn_conn_close(handle, 1))                                    \
    CALL(zcn_conn_abort, LOOP, 0, zcn_conn_abort(handle, 1))                                    \
    CALL(zcn_conn_shutdown, LOOP, 0, zcn_conn_shutdown(handle, 1))                              \
    CALL(zcn_conn_pause, LOOP, 0, zcn_conn_pause(handle, 1))                                    \
    CALL(zcn_conn_resume, LOOP, 0, zcn_conn_resume(handle, 1))                                  \
    CALL(zcn_conn_set_water_marks, LOOP, 0, zcn_conn_set_water_marks(handle, 1, 2, 1))          \
    CALL(zcn_conn_unsent, LOOP, 0, neutral(zcn_conn_unsent(handle, 1) == 0))                    \
    CALL(zcn_conn_is_writable, LOOP, 0, zcn_conn_is_writable(handle, 1))                        \
    CALL(zcn_conn_fd, LOOP, 0, zcn_conn_fd(handle, 1))                                          \
    CALL(zcn_conn_peer, LOOP, 0, zcn_conn_peer(handle, 1, &address))                            \
    CALL(zcn_conn_local, LOOP, 0, zcn_conn_local(handle, 1, &address))                          \
    CALL(zcn_conn_set_user_data, LOOP, 0, zcn_conn_set_user_data(handle, 1, NULL))              \
    CALL(zcn_conn_user_data, LOOP, 0, neutral(zcn_conn_user_data(handle, 1) == NULL))           \
    CALL(zcn_conn_close_reason, LOOP, 0,                                                        \
         neutral(zcn_conn_close_reason(handle, 1, NULL) == ZCN_CLOSE_NONE))                     \
    CALL(zcn_buf_acquire, LOOP, 0, zcn_buf_acquire(handle, &buf))                               \
    CALL(zcn_buf_retain, LOOP, 0, zcn_buf_retain(handle, &buf))                                 \
    CALL(zcn_server_create_opts, OPTIONS, NULL_IS_FINE,                                         \
         neutral(zcn_server_create_opts(handle, NULL) == NULL))                                 \
    CALL(zcn_server_create_on, LOOP, 0,                                                         \
         neutral(zcn_server_create_on(handle, NULL, NULL) == NULL))                             \
    CALL(zcn_server_destroy, SERVER, NULL_IS_FINE, (zcn_server_destroy(handle), NO_CODE))       \
    CALL(zcn_server_set_callbacks, SERVER, 0,                                                   \
         (zcn_server_set_callbacks(handle, NULL, NULL, NULL, NULL), NO_CODE))                   \
    CALL(zcn_server_set_on_writable, SERVER, 0, zcn_server_set_on_writable(handle, NULL))       \
    CALL(zcn_server_set_on_sent, SERVER, 0, zcn_server_set_on_sent(handle, NULL))               \
    CALL(zcn_server_set_on_end, SERVER, 0, zcn_server_set_on_end(handle, NULL))                 \
    CALL(zcn_server_start, SERVER, 0, zcn_server_start(handle))                                 \
    CALL(zcn_server_run_once, SERVER, 0, zcn_server_run_once(handle))                           \
    CALL(zcn_server_poll, SERVER, 0, zcn_server_poll(handle, 0, 0))                             \
    CALL(zcn_server_fd, SERVER, 0, zcn_server_fd(handle))                                       \
    CALL(zcn_server_wakeup, SERVER, ANY_THREAD, zcn_server_wakeup(handle))                      \
    CALL(zcn_server_loop, SERVER, 0, neutral(zcn_server_loop(handle) == NULL))                  \
    CALL(zcn_server_port, SERVER, 0, neutral(zcn_server_port(handle) == 0))                     \
    CALL(zcn_server_address, SERVER, 0, zcn_server_address(handle, &address))                   \
    CALL(zcn_server_send, SERVER, 0, zcn_server_send(handle, 1, bytes, 1))                      \
    CALL(zcn_server_shutdown, SERVER, 0, zcn_server_shutdown(handle, 0))                        \
    CALL(zcn_server_is_stopped, SERVER, 0, zcn_server_is_stopped(handle))                       \
    CALL(zcn_server_get_stats, SERVER, ANY_THREAD,                                              \
         neutral(zcn_server_get_stats(handle).total_buffers == 0))                              \
    CALL(zcn_server_stats_ex, SERVER, ANY_THREAD,                                               \
         zcn_server_stats_ex(handle, &stats, sizeof stats))                                     \
    CALL(zcn_client_create, OPTIONS, NULL_IS_FINE,                                              \
         neutral(zcn_client_create(handle, NULL) == NULL))                                      \
    CALL(zcn_client_create_on, LOOP, 0,                                                         \
         neutral(zcn_client_create_on(handle, NULL, NULL) == NULL))                             \
    CALL(zcn_client_destroy, CLIENT, NULL_IS_FINE, (zcn_client_destroy(handle), NO_CODE))       \
    CALL(zcn_client_set_callbacks, CLIENT, 0,                                                   \
         zcn_client_set_callbacks(handle, NULL, NULL, NULL, NULL))                              \
    CALL(zcn_client_set_on_writable, CLIENT, 0, zcn_client_set_on_writable(handle, NULL))       \
    CALL(zcn_client_set_on_sent, CLIENT, 0, zcn_client_set_on_sent(handle, NULL))               \
    CALL(zcn_client_set_on_end, CLIENT, 0, zcn_client_set_on_end(handle, NULL))                 \
    CALL(zcn_client_connect, CLIENT, 0, zcn_client_connect(handle, "127.0.0.1", 1))             \
    CALL(zcn_client_send, CLIENT, 0, zcn_client_send(handle, 1, bytes, 1))                      \
    CALL(zcn_client_loop, CLIENT, 0, neutral(zcn_client_loop(handle) == NULL))                  \
    CALL(zcn_client_stats_ex, CLIENT, ANY_THREAD,                                               \
         zcn_client_stats_ex(handle, &stats, sizeof stats))                                     \
    CALL(zcn_udp_create, OPTIONS, NULL_IS_FINE, neutral(zcn_udp_create(handle, NULL) == NULL))  \
    CALL(zcn_udp_create_on, LOOP, 0, neutral(zcn_udp_create_on(handle, NULL, NULL) == NULL))    \
    CALL(zcn_udp_destroy, UDP, NULL_IS_FINE, (zcn_udp_destroy(handle), NO_CODE))                \
    CALL(zcn_udp_set_callbacks, UDP, 0, zcn_udp_set_callbacks(handle, NULL, NULL, NULL, NULL))  \
    CALL(zcn_udp_connect, UDP, 0, zcn_udp_connect(handle, &address))                            \
    CALL(zcn_udp_send_to, UDP, 0, zcn_udp_send_to(handle, &address, bytes, 1))                  \
    CALL(zcn_udp_send_buf, UDP, 0, zcn_udp_send_buf(handle, &address, &buf, 0))                 \
    CALL(zcn_udp_address, UDP, 0, zcn_udp_address(handle, &address))                            \
    CALL(zcn_udp_loop, UDP, 0, neutral(zcn_udp_loop(handle) == NULL))                           \
    CALL(zcn_udp_stats_ex, UDP, ANY_THREAD, zcn_udp_stats_ex(handle, &stats, sizeof stats))     \
    CALL(zcn_options_set_str, OPTIONS, ANY_THREAD, zcn_options_set_str(handle, "port", "1"))    \
    CALL(zcn_options_set_u64, OPTIONS, ANY_THREAD, zcn_options_set_u64(handle, "port", 1))      \
    CALL(zcn_options_free, OPTIONS, NULL_IS_FINE, zcn_options_free(handle))

#define FUNCTION(name, kind, flags, call)                                                       \
    static int call_##name(void *handle) { return call; }
CALLS(FUNCTION)

struct call {
    const char *name;
    enum kind kind;
    int flags;
    int (*make)(void *handle);
};

#define ROW(name, kind, flags, call) {#name, kind, flags, call_##name},
static const struct call calls[] = {CALLS(ROW)};
#define CALL_COUNT (sizeof calls / sizeof calls[0])

/* Makes the call, which is to fail with this code and a message that has this text. */
static void refused(const struct call *call, void *handle, ZCN_Error code, const char *text)
{
    int answer;

    /* So that the message is that of the call. */
    EXPECT(zcn_address_parse("", 0, NULL) == ZCN_ERROR_INVALID_ARGUMENT);
    answer = call->make(handle);
    if ((answer != NO_CODE && answer != (int)code) ||
        strstr(zcn_last_error_message(), text) == NULL) {
        fprintf(stderr, "%s(%p) answered %d: %s\n", call->name, handle, answer,
                zcn_last_error_message());
        exit(1);
    }
    EXPECT(zcn_last_os_error() == 0);
}

static void void_handle(const struct call *call, void *handle)
{
    refused(call, handle, ZCN_ERROR_INVALID_HANDLE, zcn_error_string(ZCN_ERROR_INVALID_HANDLE));
}

static void make_all(void *handles[KINDS])
{
    ZCN_Options *options = zcn_options_new();
    ZCN_Error error;

    EXPECT(zcn_options_set_str(options, "address", "127.0.0.1") == ZCN_SUCCESS);
    EXPECT(zcn_options_set_u64(options, "buffers", 64) == ZCN_SUCCESS);
    handles[OPTIONS] = options;
    EXPECT((handles[LOOP] = zcn_loop_create(options, &error)) != NULL);
    EXPECT((handles[SERVER] = zcn_server_create_on(handles[LOOP], options, &error)) != NULL);
    EXPECT((handles[CLIENT] = zcn_client_create_on(handles[LOOP], options, &error)) != NULL);
    EXPECT((handles[UDP] = zcn_udp_create_on(handles[LOOP], options, &error)) != NULL);
}

static void destroy_all(void *handles[KINDS])
{
    zcn_udp_destroy(handles[UDP]);
    zcn_client_destroy(handles[CLIENT]);
    zcn_server_destroy(handles[SERVER]);
    EXPECT(zcn_loop_destroy(handles[LOOP]) == ZCN_SUCCESS);
    EXPECT(zcn_options_free(handles[OPTIONS]) == ZCN_SUCCESS);
}

static void *on_another_thread(void *argument)
{
    void **handles = argument;
    size_t i;

    for (i = 0; i < CALL_COUNT; i++)
        if (calls[i].kind != OPTIONS && !(calls[i].flags & ANY_THREAD))
            refused(&calls[i], handles[calls[i].kind], ZCN_ERROR_WRONG_THREAD, "another thread");
    return NULL;
}

static void void_handles(void)
{
    static const uintptr_t numbers[] = {1, 4096, 0x7fffffffffffffffu, UINTPTR_MAX};
    void *live[KINDS];
    void *dead[KINDS];
    pthread_t thread;
    size_t i;
    size_t other;

    make_all(live);
    make_all(dead);
    destroy_all(dead);
    for (i = 0; i < CALL_COUNT; i++) {
        if (!(calls[i].flags & NULL_IS_FINE))
            void_handle(&calls[i], NULL);
        for (other = 0; other < sizeof numbers / sizeof numbers[0]; other++)
            void_handle(&calls[i], (void *)numbers[other]);
        for (other = 0; other < KINDS; other++)
            if (other != calls[i].kind)
                void_handle(&calls[i], live[other]);
        void_handle(&calls[i], dead[calls[i].kind]);
    }
    EXPECT(pthread_create(&thread, NULL, on_another_thread, live) == 0);
    EXPECT(pthread_join(thread, NULL) == 0);
    /* None of it has touched them. */
    EXPECT(zcn_server_start(live[SERVER]) == ZCN_SUCCESS);
    EXPECT(zcn_loop_poll(live[LOOP], 0, 0) >= 0);
    destroy_all(live);
}

static void null_arguments(void)
{
    const ZCN_Error wrong = ZCN_ERROR_INVALID_ARGUMENT;
    void *handles[KINDS];
    ZCN_Loop *event_loop;
    ZCN_Error error;

    make_all(handles);
    event_loop = handles[LOOP];
    EXPECT(zcn_server_create(NULL, &error) == NULL && error == ZCN_ERROR_INVALID_CONFIG);
    EXPECT(zcn_server_create(NULL, NULL) == NULL);
    zcn_server_destroy(NULL);
    zcn_client_destroy(NULL);
    zcn_udp_destroy(NULL);
    EXPECT(zcn_loop_destroy(NULL) == ZCN_SUCCESS);
    EXPECT(zcn_options_free(NULL) == ZCN_SUCCESS);
    EXPECT(zcn_address_parse(NULL, 1, &address) == wrong);
    EXPECT(zcn_address_parse("127.0.0.1", 1, NULL) == wrong);
    EXPECT(zcn_address_parse("nonsense", 1, &address) == wrong);
    EXPECT(zcn_address_format(NULL, NULL, 0) == wrong);
    EXPECT(zcn_options_set_str(handles[OPTIONS], NULL, "1") == wrong);
    EXPECT(zcn_options_set_str(handles[OPTIONS], "port", NULL) == wrong);
    EXPECT(zcn_options_set_u64(handles[OPTIONS], NULL, 1) == wrong);
    EXPECT(zcn_buf_acquire(event_loop, NULL) == wrong);
    EXPECT(zcn_buf_retain(event_loop, NULL) == wrong);
    EXPECT(zcn_buf_commit(NULL, 0) == wrong);
    EXPECT(zcn_buf_advance(NULL, 0) == wrong);
    EXPECT(zcn_buf_release(NULL) == wrong);
    EXPECT(zcn_conn_send(event_loop, 1, NULL, 1) == wrong);
    EXPECT(zcn_conn_send(event_loop, 1, bytes, SIZE_MAX) == wrong);
    EXPECT(zcn_conn_send_buf(event_loop, 1, NULL) == wrong);
    EXPECT(zcn_conn_send_buf_to_all(event_loop, fds, 1, NULL) == (int)wrong);
    EXPECT(zcn_conn_send_buf_to_all(event_loop, NULL, 1, &buf) == (int)wrong);
    EXPECT(zcn_conn_peer(event_loop, 1, NULL) == wrong);
    EXPECT(zcn_conn_local(event_loop, 1, NULL) == wrong);
    EXPECT(zcn_server_send(handles[SERVER], 1, NULL, 1) == wrong);
    EXPECT(zcn_server_send(handles[SERVER], 1, bytes, SIZE_MAX) == wrong);
    EXPECT(zcn_server_address(handles[SERVER], NULL) == wrong);
    EXPECT(zcn_server_stats_ex(handles[SERVER], NULL, 8) == wrong);
    EXPECT(zcn_client_connect(handles[CLIENT], NULL, 1) == (int)wrong);
    EXPECT(zcn_client_connect(handles[CLIENT], "127.0.0.1", 0) == (int)wrong);
    EXPECT(zcn_client_send(handles[CLIENT], 1, NULL, 1) == wrong);
    EXPECT(zcn_client_stats_ex(handles[CLIENT], NULL, 8) == wrong);
    EXPECT(zcn_udp_connect(handles[UDP], NULL) == wrong);
    EXPECT(zcn_udp_send_to(handles[UDP], NULL, NULL, 1) == wrong);
    EXPECT(zcn_udp_send_to(handles[UDP], NULL, bytes, SIZE_MAX) == wrong);
    EXPECT(zcn_udp_send_buf(handles[UDP], NULL, NULL, 0) == wrong);
    EXPECT(zcn_udp_address(handles[UDP], NULL) == wrong);
    EXPECT(zcn_udp_stats_ex(handles[UDP], NULL, 8) == wrong);
    destroy_all(handles);
}

/* What takes no handle and answers whatever it is asked. */
static void numbers_that_are_no_codes(void)
{
    int number;

    for (number = -1000; number < 1000; number++) {
        EXPECT(zcn_error_string((ZCN_Error)number)[0] != '\0');
        EXPECT(strncmp(zcn_error_name((ZCN_Error)number), "ZCN_", 4) == 0);
    }
    EXPECT(zcn_version() == ZCN_VERSION);
}

int main(void)
{
    EXPECT(zcn_address_parse("127.0.0.1", 9, &address) == ZCN_SUCCESS);
    void_handles();
    null_arguments();
    numbers_that_are_no_codes();
    puts("every call was refused");
    return 0;
}
