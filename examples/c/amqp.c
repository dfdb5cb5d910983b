/* Publishes and consumes over AMQP with librabbitmq: amqp [PORT].
 *
 * Start a system with `STREAMS_AMQP_PORT=5672 streams up` first.  Build with
 *     cc -Wall amqp.c -o amqp -lrabbitmq
 */

#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <stdio.h>
#include <stdlib.h>

#define CHANNEL 1
#define MESSAGES 3
#define PERSISTENT 2

static void check(amqp_rpc_reply_t reply, const char *what)
{
    if (reply.reply_type != AMQP_RESPONSE_NORMAL) {
        fprintf(stderr, "%s failed (reply type %d)\n", what, (int)reply.reply_type);
        exit(1);
    }
}

int main(int count, char **arguments)
{
    int port = count > 1 ? atoi(arguments[1]) : 5672;
    amqp_bytes_t queue = amqp_cstring_bytes("letters-in-c");
    amqp_connection_state_t connection = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(connection);

    if (socket == NULL || amqp_socket_open(socket, "127.0.0.1", port) != AMQP_STATUS_OK) {
        fprintf(stderr, "cannot connect to 127.0.0.1:%d\n", port);
        return 1;
    }
    /* With authentication, the password is a token. */
    check(amqp_login(connection, "/", 0, AMQP_DEFAULT_FRAME_SIZE, 60, AMQP_SASL_METHOD_PLAIN,
                     "anybody", "none"), "login");
    amqp_channel_open(connection, CHANNEL);
    check(amqp_get_rpc_reply(connection), "channel.open");
    amqp_confirm_select(connection, CHANNEL);
    check(amqp_get_rpc_reply(connection), "confirm.select");
    amqp_queue_declare(connection, CHANNEL, queue, 0, 1, 0, 0, amqp_empty_table);
    check(amqp_get_rpc_reply(connection), "queue.declare");

    for (int number = 1; number <= MESSAGES; number++) {
        char text[32];
        amqp_basic_properties_t properties = {
            ._flags = AMQP_BASIC_DELIVERY_MODE_FLAG, .delivery_mode = PERSISTENT};
        amqp_frame_t frame;

        snprintf(text, sizeof text, "letter %d", number);
        if (amqp_basic_publish(connection, CHANNEL, amqp_empty_bytes, queue, 0, 0, &properties,
                               amqp_cstring_bytes(text)) != AMQP_STATUS_OK) {
            fprintf(stderr, "basic.publish failed\n");
            return 1;
        }
        /* Kafka has the message once its basic.ack comes. */
        if (amqp_simple_wait_frame(connection, &frame) != AMQP_STATUS_OK ||
            frame.frame_type != AMQP_FRAME_METHOD ||
            frame.payload.method.id != AMQP_BASIC_ACK_METHOD) {
            fprintf(stderr, "message %d was not confirmed\n", number);
            return 1;
        }
    }

    amqp_basic_qos(connection, CHANNEL, 0, 10, 0);
    check(amqp_get_rpc_reply(connection), "basic.qos");
    amqp_basic_consume(connection, CHANNEL, queue, amqp_empty_bytes, 0, 0, 0, amqp_empty_table);
    check(amqp_get_rpc_reply(connection), "basic.consume");
    for (int number = 1; number <= MESSAGES; number++) {
        amqp_envelope_t envelope;
        struct timeval longest = {60, 0};

        amqp_maybe_release_buffers(connection);
        check(amqp_consume_message(connection, &envelope, &longest, 0), "consuming");
        printf("%.*s\n", (int)envelope.message.body.len, (char *)envelope.message.body.bytes);
        amqp_basic_ack(connection, CHANNEL, envelope.delivery_tag, 0);
        amqp_destroy_envelope(&envelope);
    }
    check(amqp_channel_close(connection, CHANNEL, AMQP_REPLY_SUCCESS), "channel.close");
    check(amqp_connection_close(connection, AMQP_REPLY_SUCCESS), "connection.close");
    amqp_destroy_connection(connection);
    return 0;
}
