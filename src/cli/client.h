/* The client's end of the control socket (daemon/control.h). Blocks; one thread. */
#pragma once

#include "cli/medium.h"
#include "cli/options.h"

/* What a client waits for when it waits for ever. */
#define CLIENT_FOREVER UINT64_MAX

struct client;

/*
 * Connects to the daemon: --socket, else $HOTPLUGFS_SOCKET, else the default. Returns 0 or
 * -errno; what went wrong and what to do has then been printed.
 */
int client_open(const struct arguments *args, struct client **ret_client);
struct client *client_free(struct client *client);
static inline void client_freep(struct client **client)
{
	*client = client_free(*client);
}

/*
 * Sends one request (borrowed) and waits for its answer. Returns 0 and the answer, which is the
 * caller's to put, if it says ok; -ETIMEDOUT, and then nothing has been printed; or -errno, after
 * a line on stderr that says why.
 */
int client_call(struct client *client, struct json_object *request, uint64_t timeout_ms,
		struct json_object **ret_answer);

/* The same for what the daemon answers at once; no answer is told on stderr, too. */
int client_call_prompt(struct client *client, struct json_object *request,
		       struct json_object **ret_answer);

/* Builds {"command":NAME}, to which the caller adds members. NULL without memory. */
struct json_object *client_request(const char *name);

/*
 * Reads one more object (an event of monitor), however long it takes. Returns 0; or -errno after
 * a line on stderr, or -EPIPE without one when nobody reads our stdout any more.
 */
int client_read(struct client *client, struct json_object **ret_object);
