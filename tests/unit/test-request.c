/* Requests: bodies that nobody vouches for, and replies, of which there is one each. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "base/limits.h"
#include "fs/channel.h"
#include "fs/request.h"
#include "fs/view_internal.h"

/* A view whose kernel is a file: replies pile up in it. */
struct world {
	struct view *view;
	struct fuse_in_header head;
	struct request req;
	off_t read_to;
	char *body;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->view = calloc(1, sizeof(*w->view));
	assert_non_null(w->view);
	w->view->channel.fd = memfd_create("kernel", MFD_CLOEXEC);
	assert_true(w->view->channel.fd >= 0);
	w->head.unique = 0x1122334455667788;
	w->req = (struct request){.view = w->view, .head = &w->head};
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	close(w->view->channel.fd);
	free(w->body);
	free(w->view);
	free(w);
	return 0;
}

static void again(struct world *w)
{
	atomic_store(&w->req.answered, false);
}

static bool answered(struct world *w)
{
	return lseek(w->view->channel.fd, 0, SEEK_END) > w->read_to;
}

/* The next reply: its error, and its data behind the header. Returns how much data. */
static size_t next_reply(struct world *w, int *ret_error, char *data, size_t size)
{
	struct fuse_out_header out;
	size_t payload;

	assert_int_equal(pread(w->view->channel.fd, &out, sizeof(out), w->read_to), sizeof(out));
	assert_int_equal(out.unique, w->head.unique);
	assert_true(out.len >= sizeof(out));
	payload = out.len - sizeof(out);
	assert_true(payload <= size);
	w->read_to += (off_t)sizeof(out);
	assert_int_equal(pread(w->view->channel.fd, data, payload, w->read_to), payload);
	w->read_to += (off_t)payload;
	*ret_error = out.error;
	return payload;
}

static void assert_error(struct world *w, int error)
{
	int got = 1;

	assert_int_equal(next_reply(w, &got, NULL, 0), 0);
	assert_int_equal(got, error);
	assert_false(answered(w));
}

static void assert_data(struct world *w, const char *data, size_t size)
{
	static char got[2 << 20];
	int error = 1;

	assert_int_equal(next_reply(w, &error, got, sizeof(got)), size);
	assert_int_equal(error, 0);
	assert_memory_equal(got, data, size);
	assert_false(answered(w));
}

/* ---- bodies ---- */

/* Exactly as long as the body, so that a sanitizer sees what reads behind it. */
static struct request *body_set(struct world *w, const void *data, size_t size)
{
	free(w->body);
	w->body = malloc(size ? size : 1);
	assert_non_null(w->body);
	memcpy(w->body, data, size);
	w->req.body = w->body;
	w->req.body_size = size;
	return &w->req;
}

static void short_bodies_are_none(void **state)
{
	struct world *w = *state;
	const char data[sizeof(struct fuse_open_in) + 1] = {77};
	size_t least = sizeof(struct fuse_open_in);
	struct request *req;

	for (size_t size = 0; size < least; size++) {
		req = body_set(w, data, size);
		assert_null(REQUEST_BODY(req, struct fuse_open_in));
		assert_ptr_equal(request_body(req, size), w->body);
	}
	for (size_t size = least; size <= least + 1; size++) {
		req = body_set(w, data, size);
		assert_ptr_equal(REQUEST_BODY(req, struct fuse_open_in), w->body);
	}
	req->body = NULL;
	req->body_size = 0;
	assert_null(REQUEST_BODY(req, struct fuse_open_in));
	assert_null(request_text(req, 0));
}

static void texts_end_within_the_body(void **state)
{
	struct world *w = *state;
	const struct request *req = body_set(w, "one\0two\0cut", 11);

	assert_string_equal(request_text(req, 0), "one");
	assert_string_equal(request_text(req, 3), "");
	assert_string_equal(request_text(req, 4), "two");
	assert_null(request_text(req, 8));
	assert_null(request_text(req, 10));
	assert_null(request_text(req, 11));
	assert_null(request_text(req, 12));
	assert_null(request_text(req, SIZE_MAX));
}

static void hostile_names_are_refused(void **state)
{
	static const struct {
		const char *data;
		size_t size;
	} bad[] = {
		{"", 0},      {"", 1},	    {"name", 4},   {"/", 2},	  {".", 2},	{"..", 3},
		{"a/b", 4},   {"/etc", 5},  {"a/", 3},	   {"../x", 5},	  {"./", 3},	{"...", 3},
		{"\0abc", 5}, {"..\0.", 4}, {".\0x\0", 4}, {"//////", 7}, {"a\n/b", 5},
	};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const struct request *req = body_set(w, bad[i].data, bad[i].size);
		const char *name = NULL;

		assert_int_equal(request_name(req, 0, &name), -EINVAL);
		assert_string_equal(name, "");
	}
}

static void odd_names_are_names(void **state)
{
	static const char *const good[] = {
		"a",  "...", "..a",	 ".a",	      "a..", " ",
		"\n", "\\",  "\xff\xfe", "a;$(b)`c`", "-rf", "~",
	};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		const struct request *req = body_set(w, good[i], strlen(good[i]) + 1);
		const char *name = NULL;

		assert_int_equal(request_name(req, 0, &name), 0);
		assert_ptr_equal(name, w->body);
	}
}

static void long_names(void **state)
{
	struct world *w = *state;
	char text[LIMIT_FILE_NAME + 46];
	const char *name = NULL;

	memset(text, 'x', sizeof(text));
	text[LIMIT_FILE_NAME] = '\0';
	assert_int_equal(request_name(body_set(w, text, LIMIT_FILE_NAME + 1), 0, &name), 0);
	assert_int_equal(strlen(name), LIMIT_FILE_NAME);
	text[LIMIT_FILE_NAME] = 'x';
	for (size_t n = LIMIT_FILE_NAME + 1; n < sizeof(text); n++) {
		text[n] = '\0';
		assert_int_equal(request_name(body_set(w, text, n + 1), 0, &name), -ENAMETOOLONG);
		assert_string_equal(name, "");
		text[n] = 'x';
	}
	/* no end at all */
	assert_int_equal(request_name(body_set(w, text, sizeof(text)), 0, &name), -EINVAL);
}

/* The second name of a rename, behind the first. */
static void names_at_offsets(void **state)
{
	struct world *w = *state;
	const struct request *req = body_set(w, "head----from\0to", 16);
	const char *name = NULL;

	assert_int_equal(request_name(req, 8, &name), 0);
	assert_string_equal(name, "from");
	assert_int_equal(request_name(req, 13, &name), 0);
	assert_string_equal(name, "to");
	assert_int_equal(request_name(req, 15, &name), -EINVAL);
	assert_int_equal(request_name(req, 16, &name), -EINVAL);
	assert_int_equal(request_name(req, SIZE_MAX - 1, &name), -EINVAL);
}

/* ---- replies ---- */

static void one_answer_each(void **state)
{
	struct world *w = *state;
	struct iovec iov[2] = {{0}, {.iov_base = (char[]){"x"}, .iov_len = 1}};

	assert_int_equal(reply_error(&w->req, -ENOENT), 0);
	assert_error(w, -ENOENT);
	assert_int_equal(reply_error(&w->req, 0), -ECANCELED);
	assert_int_equal(reply_data(&w->req, "x", 1), -ECANCELED);
	assert_int_equal(reply_vector(&w->req, iov, 2), -ECANCELED);
	assert_int_equal(reply_splice(&w->req, w->view->channel.fd, 0, 16), -ECANCELED);
	assert_false(request_claim(&w->req));
	assert_false(answered(w));
	again(w);
	assert_true(request_claim(&w->req));
	assert_int_equal(reply_error(&w->req, 0), -ECANCELED);
	assert_false(answered(w));
}

static void answers_with_data(void **state)
{
	struct world *w = *state;
	struct iovec iov[3] = {
		{0},
		{.iov_base = (char[]){"one"}, .iov_len = 3},
		{.iov_base = (char[]){"four"}, .iov_len = 4},
	};

	assert_int_equal(reply_data(&w->req, "data", 4), 0);
	assert_data(w, "data", 4);
	again(w);
	assert_int_equal(reply_data(&w->req, NULL, 0), 0);
	assert_error(w, 0);
	again(w);
	assert_int_equal(reply_vector(&w->req, iov, 3), 0);
	assert_data(w, "onefour", 7);
	again(w);
	assert_int_equal(reply_vector(&w->req, iov, 1), 0);
	assert_error(w, 0);
}

/* What was handed over in a reply that nobody took is still the caller's. */
static void failed_answers_are_told(void **state)
{
	struct world *w = *state;
	int fd = w->view->channel.fd;

	w->view->channel.fd = -EBADF;
	assert_int_equal(reply_error(&w->req, 0), -EBADF);
	again(w);
	assert_int_equal(reply_data(&w->req, "x", 1), -EBADF);
	w->view->channel.fd = fd;
}

/* ---- replies from a file ---- */

#define CONTENT (300 << 10)

static int content_make(char *content)
{
	int fd = memfd_create("content", MFD_CLOEXEC);

	for (size_t i = 0; i < CONTENT; i++)
		content[i] = (char)(i * 7 + i / 4096);
	assert_int_equal(write(fd, content, CONTENT), CONTENT);
	return fd;
}

static void answers_from_a_file(void **state)
{
	static const struct {
		size_t offset;
		size_t size;
	} reads[] = {
		{0, 16384},    {1, 16384},	    {4095, 8193},    {0, CONTENT},
		{100, 131072}, {CONTENT - 5, 9000}, {CONTENT, 9000}, {CONTENT + 9000, 9000},
		{4096, 1},     {3, 500000},	    {0, 4096},
	};
	struct world *w = *state;
	_cleanup_free_ char *content = malloc(CONTENT);
	_cleanup_close_ int fd = content_make(content);

	for (size_t i = 0; i < ARRAY_SIZE(reads); i++) {
		size_t at = MIN(reads[i].offset, (size_t)CONTENT);

		again(w);
		assert_int_equal(reply_splice(&w->req, fd, (off_t)reads[i].offset, reads[i].size),
				 0);
		assert_data(w, content + at, MIN(reads[i].size, CONTENT - at));
	}
}

/* A disk that cannot be read is an answer, too. */
static void read_errors_are_answered(void **state)
{
	struct world *w = *state;
	_cleanup_close_ int unreadable = open("/dev/null", O_WRONLY | O_CLOEXEC);

	assert_true(unreadable >= 0);
	assert_int_equal(reply_splice(&w->req, unreadable, 0, 16384), 0);
	assert_error(w, -EBADF);
	again(w);
	assert_int_equal(reply_splice(&w->req, -1, 0, 16384), 0);
	assert_error(w, -EBADF);
}

/* What cannot be spliced is left to the caller, with the right to answer. */
static void no_splice_here(void **state)
{
	struct world *w = *state;
	_cleanup_close_ int dir = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_int_equal(reply_splice(&w->req, dir, 0, 16384), -EAGAIN);
	assert_false(answered(w));
	assert_int_equal(reply_error(&w->req, -EISDIR), 0);
	assert_error(w, -EISDIR);
}

/* Whatever went wrong before, nothing of it is in the next answer. */
static void no_leftovers_in_the_pipes(void **state)
{
	struct world *w = *state;
	_cleanup_free_ char *content = malloc(CONTENT);
	_cleanup_close_ int fd = content_make(content);
	int kernel = w->view->channel.fd;

	assert_true(request_claim(&w->req)); /* by the fence, while the file was read */
	assert_int_equal(reply_splice(&w->req, fd, 0, 20000), -ECANCELED);
	assert_false(answered(w));
	again(w);
	w->view->channel.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_true(reply_splice(&w->req, fd, 0, 20000) < 0);
	close(w->view->channel.fd);
	w->view->channel.fd = kernel;
	again(w);
	assert_int_equal(reply_splice(&w->req, fd, 50, 20000), 0);
	assert_data(w, content + 50, 20000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(short_bodies_are_none, setup, teardown),
		cmocka_unit_test_setup_teardown(texts_end_within_the_body, setup, teardown),
		cmocka_unit_test_setup_teardown(hostile_names_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(odd_names_are_names, setup, teardown),
		cmocka_unit_test_setup_teardown(long_names, setup, teardown),
		cmocka_unit_test_setup_teardown(names_at_offsets, setup, teardown),
		cmocka_unit_test_setup_teardown(one_answer_each, setup, teardown),
		cmocka_unit_test_setup_teardown(answers_with_data, setup, teardown),
		cmocka_unit_test_setup_teardown(failed_answers_are_told, setup, teardown),
		cmocka_unit_test_setup_teardown(answers_from_a_file, setup, teardown),
		cmocka_unit_test_setup_teardown(read_errors_are_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(no_splice_here, setup, teardown),
		cmocka_unit_test_setup_teardown(no_leftovers_in_the_pipes, setup, teardown),
	};

	return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}
