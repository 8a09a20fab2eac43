/*
 * What one program of the broker leaves to the next one that is executed in the same process: a
 * record in a memfd, and the descriptors that it names, which stay open over execve(2). The next
 * one may be another version.
 *
 *   hotplugfs-handover FORMAT LENGTH\n   then LENGTH bytes: a JSON object
 *
 * FORMAT is raised whenever a member changes its meaning, or a new one has to be understood; a
 * member that is not known is ignored, one that is missing is an error. Not in it is what the next
 * program finds out again: the configuration, devices that are not shown, event sources, and the
 * announcer.
 */
#pragma once

#include <json-c/json.h>
#include <limits.h>
#include <sys/types.h>

#include "daemon/medium.h"

#define HANDOVER_FORMAT 2

/* Names the descriptor of the record in the environment of the next program. */
#define HANDOVER_VARIABLE "HOTPLUGFS_HANDOVER"
/* Set beside it: the next program could not take over, and this one was there before. */
#define HANDOVER_RETURNED "HOTPLUGFS_HANDOVER_RETURNED"
/*
 * "hotplugfs --takeover FD COMMAND...", with the record as FD, only tells whether this program
 * could take over with that command line. It prints this line and ends with 0, or ends otherwise.
 */
#define HANDOVER_OPTION "--takeover"
#define HANDOVER_ANSWER "hotplugfs can take over: "

struct handover {
	char version[32];	   /* of the program that wrote it */
	char program[PATH_MAX];	   /* where it is executed from */
	char mountpoint[PATH_MAX]; /* of the view */
	char operand[PATH_MAX];	   /* the same, as it was given */
	uint64_t sequence;	   /* of records that the service manager keeps */
	char state[192];	   /* layout of the server's memfd: server_state_layout() */
	char staging[32];	   /* what the keeper understands: staging_protocol() */
	bool passthrough;	   /* of the connection */

	/* the connection: /dev/fuse, the server's memfd, its open files, the link with it */
	int32_t fuse_fd;
	int32_t nodes_fd;
	int32_t files_fd;
	int32_t link_fd;
	int32_t server_pid;

	int32_t keeper_fd;
	int32_t keeper_pid;
	int32_t guard_pid; /* 0: none */
	int32_t workload_pid;
	int32_t workload_state; /* enum workload_state */
	int32_t workload_place; /* enum terminal_place */
	int32_t events_fd;	/* an inherited socket of events, or -EBADF */
	int32_t program_fd;	/* the program that wrote it, to go back to */
	uint32_t last_id;	/* of the registry */
	int namespace_fd;	/* not in the record: kept by the service manager, or -EBADF */

	struct json_object *record;  /* all of it; the parts that have no member above: */
	struct json_object *argv;    /* array of texts: the command line of who wrote it */
	struct json_object *fds;     /* array of numbers: all descriptors that are left open */
	struct json_object *media;   /* array of objects: handover_take_medium() */
	struct json_object *names;   /* array of objects: remembered owners of names */
	struct json_object *jobs;    /* array of objects: staging jobs that nobody waits for */
	struct json_object *control; /* object: control_take() */
};

/* An empty record with its parts. Returns 0 or -ENOMEM. */
int handover_new(struct handover **ret_handover);
/* Closes no descriptor. Accepts NULL, returns NULL. */
struct handover *handover_free(struct handover *handover);
static inline void handover_freep(struct handover **handover)
{
	*handover = handover_free(*handover);
}

/* Remembers that a descriptor is to stay open; a negative one is left out. 0 or -ENOMEM. */
int handover_leave_fd(struct handover *handover, int fd);

/* Adds a medium, and its root if it has one. Returns 0 or -ENOMEM. */
int handover_leave_medium(struct handover *handover, const struct medium *medium);

/*
 * Sets those members of a new medium that are in an object of media. Returns 0; -EBADMSG with what
 * is wrong in error.
 */
int handover_take_medium(struct json_object *object, struct medium *medium, char *error,
			 size_t error_size);

/* Puts all members into the record, as handover_write() does. Returns 0 or -ENOMEM. */
int handover_pack(struct handover *handover);

/* Writes the record to a new memfd, which is closed on exec. Returns the fd or -errno. */
int handover_write(struct handover *handover);

/*
 * Reads a record. Returns 0; -EBADMSG when it is damaged, -EPROTONOSUPPORT when this program cannot
 * go on from it; or -errno; then with a line for people in error. Opens and closes nothing.
 */
int handover_read(int fd, struct handover **ret_handover, char *error, size_t error_size);

/*
 * Whether the descriptors of the record are closed on exec. Returns 0, or -EBADF when one of them
 * is not open.
 */
int handover_set_cloexec(const struct handover *handover, bool on);

/* Adds the command line of this process, from /proc. Returns 0 or -errno. */
int handover_leave_command_line(struct handover *handover);
/* The command line, with a NULL at its end; to be freed, its texts are the record's. NULL: ENOMEM.
 */
const char **handover_command_line(const struct handover *handover);

/*
 * The program that was left behind goes on in this process: if there is one, does not return. To be
 * called when taking over has failed before anything was changed.
 */
void handover_return(void);
