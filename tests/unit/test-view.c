/*
 * The view without a kernel: a socket stands for /dev/fuse, a directory for a disk.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <cmocka.h>

#include "fs/ops.h"
#include "fs/view_internal.h"

#define ID   1
#define WAIT 20000 /* ms; never as long as that */

/* ---- INIT ---- */

#define UNIQUE 6

struct init_message {
	struct fuse_in_header head;
	struct fuse_init_in in;
};

static int kernel_open(int *ret_peer)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	*ret_peer = pair[1];
	return pair[0];
}

static void kernel_sends(int peer, uint32_t opcode)
{
	const struct init_message message = {
		.head = {.len = sizeof(message), .opcode = opcode, .unique = UNIQUE},
		.in = {.major = FUSE_KERNEL_VERSION,
		       .minor = FUSE_KERNEL_MINOR_VERSION,
		       .flags = FUSE_ASYNC_READ},
	};

	assert_int_equal(write(peer, &message, sizeof(message)), sizeof(message));
}

/* The next message that is an answer and no notification. */
static struct fuse_out_header kernel_gets(int peer)
{
	struct fuse_out_header out = {0};
	char buf[4096];

	while (out.unique == 0) {
		ssize_t n = recv(peer, buf, sizeof(buf), MSG_DONTWAIT);

		assert_true(n >= (ssize_t)sizeof(out));
		memcpy(&out, buf, sizeof(out));
	}
	return out;
}

static void init_that_was_not_answered(void **state)
{
	char saved[STORE_SAVED_INIT] = {0};
	struct channel channel = {0};
	int peer;

	/* the server dies while it answers */
	channel.fd = kernel_open(&peer);
	kernel_sends(peer, FUSE_INIT);
	assert_int_equal(shutdown(peer, SHUT_RD), 0);
	assert_true(channel_init(&channel, saved, sizeof(saved), true) < 0);
	close_fd(channel.fd);
	close_fd(peer);

	/* the next one does not wait for another INIT */
	channel = (struct channel){.fd = kernel_open(&peer)};
	kernel_sends(peer, FUSE_LOOKUP);
	assert_int_equal(channel_init(&channel, saved, sizeof(saved), true), 0);
	assert_true(channel.restarted);
	assert_int_equal(channel.features.flags, FUSE_ASYNC_READ);
	assert_int_equal(kernel_gets(peer).unique, UNIQUE);

	/* nor does the one after that, which does not answer it again either */
	assert_int_equal(channel_init(&channel, saved, sizeof(saved), true), 0);
	assert_true(recv(peer, saved, sizeof(saved), MSG_DONTWAIT) < 0);
	close_fd(channel.fd);
	close_fd(peer);
}

/* ---- requests ---- */

struct world {
	struct view *view;
	struct medium *medium; /* with a reference */
	uint64_t root;
	char path[64];
	int peer;
	unsigned closed; /* how often the daemon was told so */
};

static void on_id(uint32_t id, void *data)
{
}

static void on_closed(uint32_t id, int err, void *data)
{
	(*(unsigned *)data)++;
}

static void on_changed(void *data)
{
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct view_args args = {
		.store_fd = store_new_fd(),
		.previous_fd = -EBADF,
		.events = {.want_mount = on_id,
			   .changed = on_changed,
			   .closed = on_closed,
			   .fenced = on_id,
			   .data = w ? &w->closed : NULL},
	};
	const struct view_medium facts = {.id = ID, .name = "one", .visible = true};
	struct view_features features;
	struct fuse_entry_out entry;

	assert_non_null(w);
	args.fuse_fd = kernel_open(&w->peer);
	kernel_sends(w->peer, FUSE_INIT);
	assert_int_equal(view_new(&args, &w->view, &features), 0);
	(void)kernel_gets(w->peer);
	w->view->workers.reading = 1; /* nobody need come to read */
	assert_int_equal(view_medium_add(w->view, &facts), 0);
	w->medium = medium_by_id(w->view, ID);
	assert_int_equal(root_medium_entry(w->view, w->medium, false, &entry), 0);
	w->root = entry.nodeid;
	(void)snprintf(w->path, sizeof(w->path), "/tmp/test-view-XXXXXX");
	assert_non_null(mkdtemp(w->path));
	*state = w;
	return 0;
}

/* The process ends: what the view has is not taken apart. */
static int teardown(void **state)
{
	struct world *w = *state;
	char file[96];

	(void)snprintf(file, sizeof(file), "%s/file", w->path);
	(void)unlink(file);
	(void)snprintf(file, sizeof(file), "%s/link", w->path);
	(void)unlink(file);
	(void)rmdir(w->path);
	medium_put(w->medium);
	close_fd(w->peer);
	free(w);
	return 0;
}

/* Sends a request and takes the answer. Returns its error. */
static int ask(struct world *w, uint32_t opcode, uint64_t nodeid, const void *body, size_t size,
	       void *ret_body, size_t ret_size)
{
	struct {
		struct fuse_in_header head;
		char body[256];
	} in = {.head = {.len = (uint32_t)(sizeof(in.head) + size),
			 .opcode = opcode,
			 .unique = UNIQUE,
			 .nodeid = nodeid,
			 .uid = getuid(),
			 .gid = getgid()}};
	struct {
		struct fuse_out_header head;
		char body[4096];
	} out;
	ssize_t n;

	memcpy(in.body, body, size);
	view_dispatch(w->view, (const char *)&in, in.head.len);
	n = recv(w->peer, &out, sizeof(out), MSG_DONTWAIT);
	assert_true(n >= (ssize_t)sizeof(out.head));
	assert_int_equal(out.head.unique, UNIQUE);
	if (out.head.error == 0 && ret_size) {
		assert_true(n >= (ssize_t)(sizeof(out.head) + ret_size));
		memcpy(ret_body, out.body, ret_size);
	}
	return out.head.error;
}

static mode_t mode_of(const struct world *w, const char *name)
{
	char path[96];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/%s", w->path, name);
	assert_int_equal(lstat(path, &st), 0);
	return st.st_mode & 07777;
}

/* A kernel before Linux 6.6 asks for it: chmod() of /proc/self/fd/N, an O_PATH fd of the link. */
static void mode_of_a_link(void **state)
{
	struct world *w = *state;
	const struct fuse_setattr_in in = {.valid = FATTR_MODE, .mode = 0777};
	struct fuse_entry_out entry;
	struct fuse_attr_out attr;
	int dir = open(w->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd = openat(dir, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	close_fd(fd);
	assert_int_equal(symlinkat("file", dir, "link"), 0);
	view_medium_root(w->view, ID, dir, 0);
	assert_int_equal(ask(w, FUSE_LOOKUP, w->root, "link", 5, &entry, sizeof(entry)), 0);
	assert_int_equal(ask(w, FUSE_SETATTR, entry.nodeid, &in, sizeof(in), NULL, 0), -EOPNOTSUPP);
	assert_int_equal(mode_of(w, "file"), 0600);
	assert_int_equal(ask(w, FUSE_LOOKUP, w->root, "file", 5, &entry, sizeof(entry)), 0);
	assert_int_equal(ask(w, FUSE_SETATTR, entry.nodeid, &in, sizeof(in), &attr, sizeof(attr)),
			 0);
	assert_int_equal(mode_of(w, "file"), 0777);
}

static bool is_frozen(struct world *w)
{
	bool frozen;

	pthread_mutex_lock(&w->view->nodes.lock);
	frozen = w->view->nodes.frozen[w->medium->slot];
	pthread_mutex_unlock(&w->view->nodes.lock);
	return frozen;
}

/* What ends something runs while nothing is mounted, too. */
static void removed_while_something_ends(void **state)
{
	struct world *w = *state;
	const struct fuse_in_header head = {.len = sizeof(head), .opcode = FUSE_RELEASE};
	struct request req = {.view = w->view, .head = &head, .answered = true};

	list_init(&req.link);
	assert_int_equal(gate_enter(w->medium, &req, false), GATE_GO);
	view_medium_remove(w->view, ID, -ENODEV);
	assert_true(is_frozen(w));
	/* the thread that conceals it has ended */
	for (int i = 0; i < WAIT && atomic_load(&w->medium->refs) > 2; i++)
		(void)usleep(1000);
	assert_true(is_frozen(w));
	assert_null(gate_leave(w->medium, &req));
	assert_false(is_frozen(w));
}

/* The kernel has not agreed to FUSE_SETXATTR_EXT: its structure is the short one. */
static void attribute_of_an_old_kernel(void **state)
{
	struct world *w = *state;
	struct {
		uint32_t size, flags;
		char name_and_value[11];
	} in = {.size = 3, .name_and_value = "user.x\0abc"};
	int dir = open(w->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd = openat(dir, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct fuse_entry_out entry;
	char value[8] = "";

	assert_true(fd >= 0);
	view_medium_root(w->view, ID, dir, 0);
	assert_int_equal(ask(w, FUSE_LOOKUP, w->root, "file", 5, &entry, sizeof(entry)), 0);
	if (fsetxattr(fd, "user.y", "", 0, 0) < 0)
		skip(); /* not on this filesystem */
	assert_int_equal(ask(w, FUSE_SETXATTR, entry.nodeid, &in, 8 + 7 + 3, NULL, 0), 0);
	assert_int_equal(fgetxattr(fd, "user.x", value, sizeof(value)), 3);
	assert_string_equal(value, "abc");
	close_fd(fd);
}

/* An eject that comes when the last file is closed already, and its RELEASE not yet through. */
static void ejected_while_something_ends(void **state)
{
	struct world *w = *state;
	const struct fuse_in_header head = {.len = sizeof(head), .opcode = FUSE_RELEASE};
	struct request req = {.view = w->view, .head = &head, .answered = true};

	list_init(&req.link);
	assert_int_equal(gate_enter(w->medium, &req, false), GATE_GO);
	view_medium_close(w->view, ID, VIEW_CLOSE_EJECT);
	assert_int_equal(w->closed, 0);
	assert_int_equal(w->medium->state, GATE_EJECTING);
	assert_null(gate_leave(w->medium, &req));
	assert_int_equal(w->closed, 1);
	assert_int_equal(w->medium->state, GATE_EJECTED);

	/* told once, whatever ends after it */
	assert_int_equal(gate_enter(w->medium, &req, false), GATE_GO);
	assert_null(gate_leave(w->medium, &req));
	assert_int_equal(w->closed, 1);

	/* asked again, also while something ends, it is told again */
	assert_int_equal(gate_enter(w->medium, &req, false), GATE_GO);
	view_medium_close(w->view, ID, VIEW_CLOSE_EJECT);
	assert_int_equal(w->closed, 2);
	assert_null(gate_leave(w->medium, &req));
	assert_int_equal(w->closed, 2);

	/* the eject was given up: what ends does not close it */
	view_medium_reopen(w->view, ID);
	assert_int_equal(gate_enter(w->medium, &req, false), GATE_GO);
	view_medium_close(w->view, ID, VIEW_CLOSE_EJECT);
	view_medium_reopen(w->view, ID);
	assert_null(gate_leave(w->medium, &req));
	assert_int_equal(w->closed, 2);
	assert_int_equal(w->medium->state, GATE_UNMOUNTED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(init_that_was_not_answered),
		cmocka_unit_test_setup_teardown(mode_of_a_link, setup, teardown),
		cmocka_unit_test_setup_teardown(attribute_of_an_old_kernel, setup, teardown),
		cmocka_unit_test_setup_teardown(removed_while_something_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(ejected_while_something_ends, setup, teardown),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
