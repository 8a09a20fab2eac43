/* The control socket's objects. Internal to control*.c. */
#pragma once

#include "base/list.h"
#include "base/listen.h"
#include "daemon/control.h"

struct control {
	struct loop *loop;
	control_request_fn fn;
	void *data;
	char *path;
	char *made_dir; /* the directory of path, if it was not there before */
	int fd;
	struct loop_fd *source;
	struct listen_pause pause;
	struct list peers; /* of control_peer */
	unsigned peer_count;
};

struct control_peer {
	struct control *control;
	struct list link;
	int fd; /* -EBADF: dropped; freed when nobody can be using it any more */
	struct loop_fd *source;
	uid_t uid;
	bool end_of_input;
	bool monitor;
	enum control_wait wait;
	char wait_name[LIMIT_NAME + 1];
	uint32_t wait_id;
	char input[LIMIT_CONTROL_LINE];
	size_t input_len;
	char *output;
	size_t output_len;
};

/* Callbacks of the event loop. */
void control_listener_ready(int fd, uint32_t events, void *data);
void control_peer_ready(int fd, uint32_t events, void *data);

/* Waits for what there is to do for a client. */
void control_peer_arm(struct control_peer *peer);
