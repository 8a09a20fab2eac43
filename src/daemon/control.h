/*
 * The control socket: a unix stream socket, one JSON object a line in both directions.
 *
 *   {"command":"list","all":false}      -> {"ok":true,"media":[MEDIUM, ...]}
 *   {"command":"wait","name":"BACKUP"}  -> {"ok":true,"medium":MEDIUM}  as soon as it is visible
 *   {"command":"monitor"}               -> {"ok":true}, then for every event
 *                                          {"time":"2026-01-31T12:00:00.123Z","event":EVENT,"medium":MEDIUM}
 *   {"command":"eject","name":"BACKUP","force":false,"power_off":false}
 *                                       -> {"ok":true,"medium":MEDIUM} once it is safe to pull;
 *                                          {"ok":true} once its device is switched off
 *   {"command":"upgrade"}               -> {"ok":true,"version":VERSION} once the program that is
 *                                          installed now has taken over
 *   failure                             -> {"ok":false,"error":"one line for
 * people","errno":"EBUSY"}
 *
 * EVENT: appeared, mounted, idle, ejected, removed, failed.
 * MEDIUM: name (null if not shown), shown, state, reason, fstype, label, uuid, device, vendor,
 * model, bus, size_bytes, used_bytes (null while not mounted), driver, options, read_only,
 * passthrough. Texts from the disk are replaced by valid UTF-8 where they are not.
 *
 * Anybody may list, wait and monitor; eject and upgrade are for root and the user that runs the
 * daemon (SO_PEERCRED). Slow readers are dropped, never waited for.
 */
#pragma once

#include <json-c/json.h>

#include "base/limits.h"
#include "base/loop.h"

#define CONTROL_SOCKET_DEFAULT "/run/hotplugfs/control.sock"

enum control_command {
	CONTROL_LIST,
	CONTROL_WAIT,
	CONTROL_MONITOR,
	CONTROL_EJECT,
	CONTROL_UPGRADE,
};

struct control_request {
	enum control_command command;
	bool all;	/* LIST */
	bool force;	/* EJECT */
	bool power_off; /* EJECT */
	char name[LIMIT_NAME + 1];
};

/*
 * Reads one request of len bytes without its newline. Returns 0, or -EINVAL with one line for
 * the client in error. Unknown members are ignored. Pure.
 */
int control_request_parse(const char *line, size_t len, struct control_request *ret_request,
			  char *error, size_t error_size);

struct control;
struct control_peer;

/* What a client waits for, once it has been told to the control socket. */
enum control_wait {
	CONTROL_WAIT_NOTHING,
	CONTROL_WAIT_NAME,  /* that a name becomes visible */
	CONTROL_WAIT_EJECT, /* the end of an ejection */
	CONTROL_WAIT_UPGRADE,
	CONTROL_WAIT_POWER, /* that a device is switched off; never over execve(2) */
};

/* Answers request by control_reply*() or control_peer_wait(). */
typedef void (*control_request_fn)(struct control_peer *peer, const struct control_request *request,
				   void *data);

/*
 * Listens at path: its directory is made if it is missing, and a socket that nobody listens on is
 * replaced. Returns 0; -EADDRINUSE when somebody listens there; -EEXIST when it is not a socket;
 * or -errno.
 */
int control_new(struct loop *loop, const char *path, control_request_fn fn, void *data,
		struct control **ret_control);

/*
 * Over execve(2), the socket and its clients stay connected, and notice nothing. leave: describes
 * them in an object, and calls fd for each descriptor that is to stay open. Returns 0 or -errno of
 * fd. take: instead of control_new(), from that object. Returns 0, -EBADMSG, or -errno; then
 * nothing has been closed or changed.
 */
int control_leave(const struct control *control, struct json_object *into,
		  int (*fd)(int fd, void *data), void *data);
int control_take(struct loop *loop, struct json_object *from, control_request_fn fn, void *data,
		 struct control **ret_control);
/* Drops all clients and removes the socket. Accepts NULL, returns NULL. */
struct control *control_free(struct control *control);

/* Whether the client may change things: root, or the user that the daemon runs as. */
bool control_peer_trusted(const struct control_peer *peer);

/* Sends an object, which becomes the callee's (NULL: out of memory, the client is dropped). */
void control_reply(struct control_peer *peer, struct json_object *object);
/* {"ok":false,...} with the name of -err and a line for people. */
void control_reply_error(struct control_peer *peer, int err, const char *fmt, ...) _printf_(3, 4);

/* The client gets its answer later, and no further request of its is read before. */
void control_peer_wait(struct control_peer *peer, enum control_wait wait, const char *name,
		       uint32_t id);
/*
 * Takes one client out that waits for this: by name for CONTROL_WAIT_NAME, else by id (0 for
 * CONTROL_WAIT_UPGRADE). To be answered at once. NULL if there is none (any more).
 */
struct control_peer *control_take_waiting(struct control *control, enum control_wait wait,
					  const char *name, uint32_t id);

/* From now on the client gets what is broadcast. */
void control_peer_monitor(struct control_peer *peer);
/* Whether anybody would get a broadcast. */
bool control_has_monitors(const struct control *control);
/* Sends an object, which stays the caller's, to all of these. */
void control_broadcast(struct control *control, struct json_object *object);
