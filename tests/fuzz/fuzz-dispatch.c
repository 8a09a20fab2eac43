/*
 * Messages of a hostile kernel. An input is a row of requests: eight bytes that tell what it is
 * (struct step), then its body. Ids and handles that an earlier reply has given are named by
 * their number, since no fuzzer would guess them.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "dispatch-reply.h"
#include "dispatch-view.h"
#include "fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);

struct step {
	uint8_t opcode;
	uint8_t node;	/* number of an id; 255: one that there never was */
	uint8_t handle; /* number of a handle */
	uint8_t flags;
	uint8_t other; /* number of a second id and handle */
	uint8_t extensions;
	uint16_t size; /* of the body, as far as there is one */
};

enum step_flags {
	STEP_HANDLE_FIRST = 0x01,  /* the handle goes to the beginning of the body */
	STEP_HANDLE_SECOND = 0x02, /* to its second eight bytes */
	STEP_OTHER_FIRST = 0x04,   /* the other id goes to its beginning */
	STEP_OTHER_BOTH = 0x08,	   /* the other id and handle go where COPY_FILE_RANGE has them */
	STEP_ANNOUNCER = 0x10,
	STEP_USER = 0x20, /* not root */
	STEP_WRONG_SIZE = 0x40,
	STEP_RESENT = 0x80,
};

#define KNOWN_MAX 64

/* What the kernel knows, in the order of the replies. */
struct known {
	uint64_t ids[KNOWN_MAX];
	uint64_t handles[KNOWN_MAX];
	unsigned id_count;
	unsigned handle_count;
};

static struct fuzz_view view;

static uint64_t known_id(const struct known *k, uint8_t number)
{
	return number == 255 ? 0x7777777700000001 : k->ids[number % k->id_count];
}

static uint64_t known_handle(const struct known *k, uint8_t number)
{
	return k->handle_count ? k->handles[number % k->handle_count] : number;
}

static void id_add(struct known *k, uint64_t id)
{
	if (id && k->id_count < KNOWN_MAX)
		k->ids[k->id_count++] = id;
}

static void handle_add(struct known *k, uint64_t handle)
{
	if (k->handle_count < KNOWN_MAX)
		k->handles[k->handle_count++] = handle;
}

static void put(char *body, size_t size, size_t at, uint64_t value)
{
	if (size >= at + sizeof(value))
		memcpy(body + at, &value, sizeof(value));
}

/* Copies the body and puts in what the input could not know. */
static void body_fill(const struct known *k, const struct step *step, const uint8_t *data,
		      char *body, size_t size)
{
	memcpy(body, data, size);
	if (step->flags & STEP_HANDLE_FIRST)
		put(body, size, 0, known_handle(k, step->handle));
	if (step->flags & STEP_HANDLE_SECOND)
		put(body, size, 8, known_handle(k, step->handle));
	if (step->flags & STEP_OTHER_FIRST)
		put(body, size, 0, known_id(k, step->other));
	if (step->flags & STEP_OTHER_BOTH) {
		put(body, size, 16, known_id(k, step->other));
		put(body, size, 24, known_handle(k, step->other));
	}
}

/*
 * The kernel opens a FIFO itself, and the open of one could wait for ever here: so there is none.
 * Returns false for a request that would make one.
 */
static bool is_harmless(const struct step *step, const char *body, size_t size)
{
	const struct fuse_mknod_in *in = (const void *)body;

	return step->opcode != FUSE_MKNOD || size < sizeof(*in) || !S_ISFIFO(in->mode);
}

/* ---- what the replies tell ---- */

static void learn_entries(struct known *k, const char *data, size_t size)
{
	for (size_t at = 0; at < size;) {
		const struct fuse_direntplus *d = (const void *)(data + at);

		id_add(k, d->entry_out.nodeid);
		at += FUSE_DIRENTPLUS_SIZE(d);
	}
}

static void learn(struct known *k, uint32_t opcode, const struct fuzz_reply *reply)
{
	const struct fuse_entry_out *entry = (const void *)reply->data;
	const struct wire_create_out *create = (const void *)reply->data;
	const struct wire_open_out *open = (const void *)reply->data;

	switch (opcode) {
	case FUSE_CREATE:
	case FUSE_TMPFILE:
		handle_add(k, create->open.fh);
		id_add(k, entry->nodeid);
		break;
	case FUSE_LOOKUP:
	case FUSE_MKDIR:
	case FUSE_MKNOD:
	case FUSE_SYMLINK:
	case FUSE_LINK:
		id_add(k, entry->nodeid);
		break;
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		handle_add(k, open->fh);
		break;
	case FUSE_READDIRPLUS:
		learn_entries(k, reply->data, reply->size);
		break;
	default:
		break;
	}
}

/* Whether the message must be answered, and at once. */
static bool is_answered(const struct fuse_in_header *head, size_t size)
{
	struct node_info node;

	if (head->len != size || head->total_extlen * 8UL > size - sizeof(*head))
		return false;
	if (head->opcode == FUSE_FORGET || head->opcode == FUSE_BATCH_FORGET ||
	    head->opcode == FUSE_INTERRUPT)
		return false;
	return nodes_get(&view.view->nodes, head->nodeid, &node) < 0 ||
	       node.key.slot != view.media[FUZZ_HIDDEN]->slot;
}

static void replies_check(struct known *k, const struct fuse_in_header *head, const char *body,
			  size_t body_size, bool answered)
{
	off_t size = lseek(view.reply_fd, 0, SEEK_CUR);
	_cleanup_free_ char *replies = malloc((size_t)size + 1);
	struct fuzz_reply reply;

	MUST(replies && pread(view.reply_fd, replies, (size_t)size, 0) == size);
	fuzz_reply_read(replies, (size_t)size, head, body, body_size, &reply);
	MUST(reply.count <= 1);
	MUST(!answered || reply.count == 1);
	MUST(reply.error != -EIO); /* no disk fails here: it would be a handler without an answer */
	if (reply.count == 1 && reply.error == 0)
		learn(k, head->opcode, &reply);
	MUST(ftruncate(view.reply_fd, 0) == 0 && lseek(view.reply_fd, 0, SEEK_SET) == 0);
}

/* A request that is sent again is handled by a thread of its own. */
static void settle(void)
{
	for (int i = 0; i < FUZZ_MEDIA; i++) {
		struct medium *m = view.media[i];
		bool busy = i != FUZZ_HIDDEN;

		while (busy) {
			pthread_mutex_lock(&m->lock);
			busy = m->running_count + m->waiting_count > 0;
			pthread_mutex_unlock(&m->lock);
			if (busy)
				(void)usleep(100);
		}
	}
}

static void request_send(struct known *k, const struct step *step, const uint8_t *data, size_t size)
{
	static uint64_t unique = 2;
	size_t whole = sizeof(struct fuse_in_header) + size;
	_cleanup_free_ char *message = malloc(whole); /* of its own, for the sanitizer */
	struct fuse_in_header *head = (struct fuse_in_header *)message;
	char *body = message + sizeof(*head);
	bool answered;

	MUST(message);
	*head = (struct fuse_in_header){
		.len = (uint32_t)whole + (step->flags & STEP_WRONG_SIZE ? 1 : 0),
		.opcode = step->opcode,
		.unique = (unique += 2) | (step->flags & STEP_RESENT ? WIRE_UNIQUE_RESEND : 0),
		.nodeid = known_id(k, step->node),
		.uid = step->flags & STEP_USER ? 1000 : 0,
		.gid = step->flags & STEP_USER ? 1000 : 0,
		.pid = step->flags & STEP_ANNOUNCER ? FUZZ_ANNOUNCER : 1,
		.total_extlen = step->extensions,
	};
	body_fill(k, step, data, body, size);
	if (!is_harmless(step, body, size))
		return;
	answered = is_answered(head, whole);
	view_dispatch(view.view, message, whole);
	if (step->flags & STEP_RESENT)
		settle();
	replies_check(k, head, body, size, answered);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	if (!view.view && !fuzz_view_make(&view)) {
		(void)fprintf(stderr, "this machine cannot make user namespaces with a tmpfs\n");
		exit(77); /* skipped */
	}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct known known = {0};

	(void)LLVMFuzzerInitialize(NULL, NULL);
	fuzz_view_begin(&view);
	id_add(&known, NODE_ID_ROOT);
	for (int i = 0; i < FUZZ_MEDIA; i++)
		id_add(&known, view.roots[i]);
	while (size >= sizeof(struct step)) {
		struct step step;
		size_t body_size;

		memcpy(&step, data, sizeof(step));
		data += sizeof(step);
		size -= sizeof(step);
		body_size = MIN(step.size, size);
		request_send(&known, &step, data, body_size);
		data += body_size;
		size -= body_size;
	}
	fuzz_view_end(&view);
	return 0;
}
