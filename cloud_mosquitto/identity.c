/*
 * Who may do what at the cloud broker, and whose each face is: a plugin of Mosquitto 2, compiled with the image.
 *
 * A client with a certificate (port 8883) has the certificate's common name as its user name, and is an edge. It may
 *   publish    the faces' topic and below, unretained; facedetection_status/NAME and its health below it, of 16 KiB
 *              at most
 *   subscribe  facedetection_receipts/NAME and facedetection_control/NAME, and below
 * and nothing else. A client without one (port 1883, which only the inside reaches) may do everything.
 *
 * To each face of an edge the broker appends the user property `identity`, so that no edge can pass for another. The
 * last one counts: whatever the edge itself has sent stands before it.
 *
 * The plugin also has the kernel probe silent connections, so that a client that has vanished is noticed whatever
 * keepalive it asked for.
 */
#define _DEFAULT_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/*
 * What is used here of mosquitto_broker.h and mosquitto_plugin.h, version 5 of the plugin interface (Mosquitto 2.x). Of
 * the functions for properties, 2.0 lets plugins use those that add.
 */
struct mosquitto;
typedef struct mqtt5__property mosquitto_property;
typedef struct mosquitto_plugin_id_t mosquitto_plugin_id_t;
struct mosquitto_opt;
struct mosquitto_evt_acl_check {
    void *future;
    struct mosquitto *client;
    const char *topic;
    const void *payload;
    mosquitto_property *properties;
    int access;
    uint32_t payloadlen;
    uint8_t qos;
    bool retain;
    void *future2[4];
};
struct mosquitto_evt_basic_auth {
    void *future;
    struct mosquitto *client;
    char *username;
    char *password;
    void *future2[4];
};
struct mosquitto_evt_message {
    void *future;
    struct mosquitto *client;
    char *topic;
    void *payload;
    mosquitto_property *properties;
    char *reason_string;
    uint32_t payloadlen;
    uint8_t qos;
    uint8_t reason_code;
    bool retain;
    void *future2[4];
};
enum { MOSQ_EVT_ACL_CHECK = 2, MOSQ_EVT_BASIC_AUTH = 3, MOSQ_EVT_MESSAGE = 7, MOSQ_EVT_TICK = 9 };
enum { MOSQ_ACL_READ = 1, MOSQ_ACL_WRITE = 2, MOSQ_ACL_SUBSCRIBE = 4, MOSQ_ACL_UNSUBSCRIBE = 8 };
enum { MOSQ_ERR_SUCCESS = 0, MOSQ_ERR_ACL_DENIED = 12 };
enum { MQTT_PROP_USER_PROPERTY = 38 };
int mosquitto_callback_register(mosquitto_plugin_id_t *, int, int (*)(int, void *, void *), const void *, void *);
const char *mosquitto_client_username(const struct mosquitto *);
void *mosquitto_client_certificate(const struct mosquitto *);
int mosquitto_set_username(struct mosquitto *, const char *);
int mosquitto_property_add_string_pair(mosquitto_property **, int, const char *, const char *);

int mosquitto_plugin_version(int count, const int *supported);
int mosquitto_plugin_init(mosquitto_plugin_id_t *id, void **data, struct mosquitto_opt *options, int count);
int mosquitto_plugin_cleanup(void *data, struct mosquitto_opt *options, int count);

static const char *faces = "facedetection_topic";

/*
 * An edge's will would come without its identity: Mosquitto asks whether it may be published, and passes it on without
 * showing it. So a face that was allowed counts only once it was seen; until then nobody may read it.
 */
static bool unseen;

/* Whether a topic is `root` or below it. */
static bool within(const char *topic, const char *root)
{
    size_t length = strlen(root);
    return strncmp(topic, root, length) == 0 && (topic[length] == '\0' || topic[length] == '/');
}

/* Whether a topic, or a filter, is `root`/`name` or below it. */
static bool own(const char *topic, const char *root, const char *name)
{
    return within(topic, root) && topic[strlen(root)] == '/' && within(topic + strlen(root) + 1, name);
}

/* The own status, or health. What is retained stays in memory, so it is bounded. */
static bool own_status(const char *name, const struct mosquitto_evt_acl_check *asked)
{
    static const char *root = "facedetection_status";
    const char *rest;

    if (!own(asked->topic, root, name) || asked->payloadlen > 16384) {
        return false;
    }
    rest = asked->topic + strlen(root) + 1 + strlen(name);
    return *rest == '\0' || strcmp(rest, "/health") == 0;
}

static bool may(const char *name, const struct mosquitto_evt_acl_check *asked)
{
    switch (asked->access) {
    case MOSQ_ACL_WRITE:
        if (within(asked->topic, faces)) {
            return !asked->retain;
        }
        return own_status(name, asked);
    case MOSQ_ACL_READ:
    case MOSQ_ACL_SUBSCRIBE:
        return own(asked->topic, "facedetection_receipts", name) || own(asked->topic, "facedetection_control", name);
    default:
        return asked->access == MOSQ_ACL_UNSUBSCRIBE;
    }
}

static int on_acl_check(int event, void *event_data, void *data)
{
    const struct mosquitto_evt_acl_check *asked = event_data;
    const char *name = mosquitto_client_username(asked->client);
    bool is_face = within(asked->topic, faces);
    (void)event, (void)data;

    if (is_face && unseen && asked->access == MOSQ_ACL_READ) {
        return MOSQ_ERR_ACL_DENIED;
    }
    if (name != NULL && !may(name, asked)) {
        return MOSQ_ERR_ACL_DENIED;
    }
    if (asked->access == MOSQ_ACL_WRITE) {
        unseen = name != NULL && is_face;
    }
    return MOSQ_ERR_SUCCESS;
}

static int on_message(int event, void *event_data, void *data)
{
    struct mosquitto_evt_message *message = event_data;
    const char *name = mosquitto_client_username(message->client);
    (void)event, (void)data;

    unseen = false;
    if (name == NULL || !within(message->topic, faces)) {
        return MOSQ_ERR_SUCCESS;
    }
    return mosquitto_property_add_string_pair(&message->properties, MQTT_PROP_USER_PROPERTY, "identity", name);
}

/* A client without a certificate may call itself what it likes; it must not have a user name, which makes an edge. */
static int on_basic_auth(int event, void *event_data, void *data)
{
    struct mosquitto_evt_basic_auth *asked = event_data;
    (void)event, (void)data;

    if (mosquitto_client_certificate(asked->client) != NULL) {
        return MOSQ_ERR_SUCCESS;
    }
    /* What waits for a client that comes back is checked once more before anything else is asked. */
    unseen = false;
    return mosquitto_set_username(asked->client, NULL);
}

/*
 * Seconds of silence before the first probe, seconds between probes, and probes without an answer after which the
 * connection is gone: five minutes in all.
 *
 * MQTT's own keepalive cannot be bounded for outsiders alone: `max_keepalive` holds for all listeners, and shuts out
 * clients of MQTT 3.1.1 that ask for more, or for none. A client that only holds its connection takes one place: its
 * id is its certificate's name.
 */
enum { PROBE_AFTER = 120, PROBE_EVERY = 30, PROBES = 6 };

static void probe_silent_connections(int listener)
{
    static const struct {
        int level, option, value;
    } options[] = {
        {IPPROTO_TCP, TCP_KEEPIDLE, PROBE_AFTER},
        {IPPROTO_TCP, TCP_KEEPINTVL, PROBE_EVERY},
        {IPPROTO_TCP, TCP_KEEPCNT, PROBES},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
    };

    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        (void)setsockopt(listener, options[i].level, options[i].option, &options[i].value, sizeof options[i].value);
    }
}

/* Once the broker listens. A connection inherits its listener's options (Linux). */
static int on_tick(int event, void *event_data, void *data)
{
    static bool done;
    (void)event, (void)event_data, (void)data;

    /* Listeners are among the first files that the broker opens. */
    for (int file = 0; !done && file < 1024; file++) {
        int listens = 0;
        socklen_t size = sizeof listens;
        if (getsockopt(file, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens) {
            probe_silent_connections(file);
        }
    }
    done = true;
    return MOSQ_ERR_SUCCESS;
}

int mosquitto_plugin_version(int count, const int *supported)
{
    for (int i = 0; i < count; i++) {
        if (supported[i] == 5) {
            return 5;
        }
    }
    return -1;
}

int mosquitto_plugin_init(mosquitto_plugin_id_t *id, void **data, struct mosquitto_opt *options, int count)
{
    const char *topic = getenv("MQTT_TOPIC");
    int failed;
    (void)data, (void)options, (void)count;

    if (topic != NULL && topic[0] != '\0') {
        faces = topic;
    }
    failed = mosquitto_callback_register(id, MOSQ_EVT_ACL_CHECK, on_acl_check, NULL, NULL);
    failed = failed ? failed : mosquitto_callback_register(id, MOSQ_EVT_BASIC_AUTH, on_basic_auth, NULL, NULL);
    failed = failed ? failed : mosquitto_callback_register(id, MOSQ_EVT_TICK, on_tick, NULL, NULL);
    return failed ? failed : mosquitto_callback_register(id, MOSQ_EVT_MESSAGE, on_message, NULL, NULL);
}

/* Mosquitto removes the callbacks by itself. */
int mosquitto_plugin_cleanup(void *data, struct mosquitto_opt *options, int count)
{
    (void)data, (void)options, (void)count;
    return MOSQ_ERR_SUCCESS;
}
