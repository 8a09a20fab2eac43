/*
 * One request of the kernel, from the read of /dev/fuse to its reply. A request is answered at
 * most once: by its handler, or by the gate when the medium is fenced while the handler is stuck
 * on a dead device. Whoever claims it first replies; the other's reply is dropped.
 */
#pragma once

#include <stdatomic.h>
#include <sys/uio.h>

#include "base/list.h"
#include "fs/pace.h"
#include "fs/wire.h"

struct view;
struct medium;

struct request {
	struct view *view;
	const struct fuse_in_header *head;
	const char *body; /* behind the header; may be hostile: see request_body() */
	size_t body_size;
	struct medium *medium; /* whose gate it has passed, or NULL */
	struct list link;      /* medium->running or medium->waiting; under the medium's lock */
	struct request *next;  /* workers->unstarted; under its lock */
	struct pace_mark pace; /* since it passed the gate */
	atomic_bool answered;
	bool allocated; /* a copy that waited in a queue, freed when handled */
	bool passive;	/* is no use of the medium: does not keep it mounted */
	bool made_up; /* when it came, its caller had been let in by attributes that are made up */
	bool changes; /* something of the medium: see request_changes() */
};

/* The body as a structure of the given size, or NULL when the request is too short for it. */
const void *request_body(const struct request *req, size_t size);
#define REQUEST_BODY(req, type) ((const type *)request_body((req), sizeof(type)))

/*
 * The name at the given offset of the body: NUL terminated within the request, no '/', not
 * empty, not "." or "..". The kernel promises as much (fs/namei.c); a server must not rely on it.
 * Returns 0, -ENAMETOOLONG for more than LIMIT_FILE_NAME bytes (the disk may allow less), or
 * -EINVAL; the name is "" then.
 */
int request_name(const struct request *req, size_t offset, const char **ret_name);

/* Any text at the offset that is terminated within the request, or NULL. */
const char *request_text(const struct request *req, size_t offset);

/*
 * Of the structure of a SETXATTR: without FUSE_SETXATTR_EXT (Linux 5.12) its flags are not there
 * (fuse_setxattr() in fs/fuse/xattr.c).
 */
size_t request_setxattr_size(const struct request *req);

/*
 * Whether the kernel sends it again, since a server that died had read it: it may have been
 * carried out already, and "exists" or "is not there" then means success.
 */
static inline bool request_resent(const struct request *req)
{
	return req->head->unique & WIRE_UNIQUE_RESEND;
}

/* What the kernel calls it, whether it is sent again or not. */
static inline uint64_t request_unique(const struct request *req)
{
	return req->head->unique & ~WIRE_UNIQUE_RESEND;
}

/*
 * Whether even to copy its data takes longer than to wake another thread: others had better read
 * and run meanwhile. Pure. Behind the header is room for a fuse_read_in.
 */
bool request_moves_much(const struct fuse_in_header *head);

/* Whether its sender waits for the answer. What nobody waits for comes while the client goes on. */
bool request_is_waited_for(const struct fuse_in_header *head);

/* Claims the right to answer. False: somebody else has answered already. */
bool request_claim(struct request *req);

/*
 * Replies. Each claims the request first and returns -ECANCELED when it was answered already or
 * when the kernel does not know it any more (ENOENT): what the reply would have handed over
 * (lookups, open files) is then still ours and the caller takes it back. Never blocks on a
 * device; no lock may be held.
 */
int reply_error(struct request *req, int err); /* err: 0 or negative errno */
int reply_data(struct request *req, const void *data, size_t size);
int reply_vector(struct request *req, struct iovec *iov, int count); /* iov[0] is filled in */

/*
 * Answers with size bytes of the file at the offset, through a pipe and without a copy in this
 * process. Returns like the others, or -EAGAIN when splicing is not possible here and nothing
 * was answered.
 */
int reply_splice(struct request *req, int fd, off_t offset, size_t size);
