#include "handover.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/environment.h"
#include "base/log.h"
#include "daemon/record.h"
#include "daemon/server.h"
#include "staging/staging.h"

#define HEADER	   "hotplugfs-handover %u %u\n"
#define HEADER_MAX 64
/* LIMIT_MEDIA media with all their texts are less. */
#define RECORD_MAX (64u << 20)

#define FIELD(kind, member) RECORD_FIELD(struct handover, RECORD_##kind, #member, member)

static const struct record_field fields[] = {
	FIELD(TEXT, version),	       FIELD(TEXT, program),	    FIELD(TEXT, mountpoint),
	FIELD(TEXT, operand),	       FIELD(NUMBER, sequence),	    FIELD(TEXT, state),
	FIELD(TEXT, staging),	       FIELD(BOOL, passthrough),    FIELD(NUMBER, fuse_fd),
	FIELD(NUMBER, nodes_fd),       FIELD(NUMBER, files_fd),	    FIELD(NUMBER, link_fd),
	FIELD(NUMBER, server_pid),     FIELD(NUMBER, keeper_fd),    FIELD(NUMBER, keeper_pid),
	FIELD(NUMBER, guard_pid),      FIELD(NUMBER, workload_pid), FIELD(NUMBER, workload_state),
	FIELD(NUMBER, workload_place), FIELD(NUMBER, events_fd),    FIELD(NUMBER, program_fd),
	FIELD(NUMBER, last_id),
};

static const struct {
	const char *name;
	enum json_type type;
	size_t offset; /* of the pointer */
} parts[] = {
	{"argv", json_type_array, offsetof(struct handover, argv)},
	{"fds", json_type_array, offsetof(struct handover, fds)},
	{"media", json_type_array, offsetof(struct handover, media)},
	{"names", json_type_array, offsetof(struct handover, names)},
	{"jobs", json_type_array, offsetof(struct handover, jobs)},
	{"control", json_type_object, offsetof(struct handover, control)},
};

static struct json_object **part(struct handover *h, size_t i)
{
	return (struct json_object **)((char *)h + parts[i].offset);
}

static int parts_new(struct handover *h)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(parts); i++) {
		*part(h, i) = parts[i].type == json_type_array ? json_object_new_array()
							       : json_object_new_object();
		r = record_add(h->record, parts[i].name, *part(h, i));
	}
	return r;
}

int handover_new(struct handover **ret_handover)
{
	_cleanup_(handover_freep) struct handover *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return -ENOMEM;
	h->namespace_fd = -EBADF;
	h->record = json_object_new_object();
	if (!h->record)
		return -ENOMEM;
	r = parts_new(h);
	if (r < 0)
		return r;
	*ret_handover = TAKE_PTR(h);
	return 0;
}

struct handover *handover_free(struct handover *h)
{
	if (h)
		json_object_put(h->record);
	free(h);
	return NULL;
}

int handover_leave_fd(struct handover *h, int fd)
{
	struct json_object *number;

	if (fd < 0)
		return 0;
	number = json_object_new_int(fd);
	if (number && json_object_array_add(h->fds, number) == 0)
		return 0;
	json_object_put(number);
	return -ENOMEM;
}

static int write_all(int fd, const char *data, size_t size)
{
	while (size > 0) {
		ssize_t n = write(fd, data, size);

		if (n < 0)
			return -errno;
		data += n;
		size -= (size_t)n;
	}
	return 0;
}

int handover_pack(struct handover *h)
{
	return record_pack(fields, ARRAY_SIZE(fields), h, h->record);
}

int handover_write(struct handover *h)
{
	_cleanup_close_ int fd = -EBADF;
	char header[HEADER_MAX];
	const char *text;
	size_t len;
	int r = handover_pack(h);

	if (r < 0)
		return r;
	text = json_object_to_json_string_length(
		h->record, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len);
	if (!text)
		return -ENOMEM;
	if (len > RECORD_MAX)
		return -EFBIG;
	fd = memfd_create("hotplugfs-handover", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	(void)snprintf(header, sizeof(header), HEADER, HANDOVER_FORMAT, (unsigned)len);
	r = write_all(fd, header, strlen(header));
	if (r == 0)
		r = write_all(fd, text, len);
	if (r == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		r = -errno;
	return r < 0 ? r : TAKE_FD(fd);
}

/* ---- reading ---- */

static int refuse(int err, char *error, size_t size, const char *what, const char *more)
{
	(void)snprintf(error, size, "%s%s", what, more);
	return err;
}

/* The whole file, with a NUL behind it. Returns its size or -errno. */
static ssize_t read_whole(int fd, char **ret_text)
{
	_cleanup_free_ char *text = NULL;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size > (off_t)RECORD_MAX + HEADER_MAX)
		return -EBADMSG;
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return -ENOMEM;
	if (pread(fd, text, (size_t)st.st_size, 0) != st.st_size)
		return -EIO;
	text[st.st_size] = '\0';
	*ret_text = TAKE_PTR(text);
	return st.st_size;
}

/* Finds the object behind the header. */
static int check_header(char *text, size_t size, char **ret_json, char *error, size_t error_size)
{
	char *end = memchr(text, '\n', MIN(size, (size_t)HEADER_MAX));
	unsigned format;
	unsigned len;
	char number[16];

	if (!end || sscanf(text, HEADER, &format, &len) != 2)
		return refuse(-EBADMSG, error, error_size, "this is not a record", "");
	(void)snprintf(number, sizeof(number), "%u", format);
	if (format != HANDOVER_FORMAT)
		return refuse(-EPROTONOSUPPORT, error, error_size,
			      "unknown format of the record: ", number);
	if (size - (size_t)(end + 1 - text) != len)
		return refuse(-EBADMSG, error, error_size, "the record is cut off", "");
	*ret_json = end + 1;
	return 0;
}

static int take_parts(struct handover *h, char *error, size_t size)
{
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		struct json_object *value = NULL;

		(void)json_object_object_get_ex(h->record, parts[i].name, &value);
		if (!json_object_is_type(value, parts[i].type))
			return refuse(-EBADMSG, error, size,
				      "missing in the record: ", parts[i].name);
		*part(h, i) = value;
	}
	return 0;
}

static int check_layouts(const struct handover *h, char *error, size_t size)
{
	char state[sizeof(h->state)];
	char staging[sizeof(h->staging)];

	server_state_layout(state, sizeof(state));
	staging_protocol(staging, sizeof(staging));
	if (!streq(state, h->state))
		return refuse(-EPROTONOSUPPORT, error, size,
			      "the table of open files has another layout: ", h->state);
	if (!streq(staging, h->staging))
		return refuse(-EPROTONOSUPPORT, error, size,
			      "the process that mounts has another protocol: ", h->staging);
	return 0;
}

static int check_media(const struct handover *h, char *error, size_t size)
{
	struct medium *scratch = malloc(sizeof(*scratch));
	int r = scratch ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < json_object_array_length(h->media); i++) {
		memset(scratch, 0, sizeof(*scratch));
		r = handover_take_medium(json_object_array_get_idx(h->media, i), scratch, error,
					 size);
	}
	free(scratch);
	return r;
}

static int take(struct handover *h, char *text, size_t text_size, char *error, size_t size)
{
	const char *name;
	char *json;
	int r = check_header(text, text_size, &json, error, size);

	if (r < 0)
		return r;
	h->record = json_tokener_parse(json);
	if (record_unpack(fields, ARRAY_SIZE(fields), h->record, h, &name) < 0)
		return refuse(-EBADMSG, error, size, "missing or wrong in the record: ", name);
	r = take_parts(h, error, size);
	if (r == 0)
		r = check_layouts(h, error, size);
	return r < 0 ? r : check_media(h, error, size);
}

int handover_read(int fd, struct handover **ret_handover, char *error, size_t error_size)
{
	_cleanup_(handover_freep) struct handover *h = calloc(1, sizeof(*h));
	_cleanup_free_ char *text = NULL;
	ssize_t n = h ? read_whole(fd, &text) : -ENOMEM;
	int r;

	if (n < 0)
		return refuse((int)n, error, error_size,
			      "cannot read the record: ", strerror((int)-n));
	h->namespace_fd = -EBADF;
	r = take(h, text, (size_t)n, error, error_size);
	if (r < 0)
		return r;
	*ret_handover = TAKE_PTR(h);
	return 0;
}

/* ---- over execve(2) ---- */

int handover_set_cloexec(const struct handover *h, bool on)
{
	int r = 0;

	for (size_t i = 0; i < json_object_array_length(h->fds); i++) {
		int fd = json_object_get_int(json_object_array_get_idx(h->fds, i));

		if (fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0) < 0)
			r = -EBADF;
	}
	return r;
}

static int leave_text(struct handover *h, const char *text)
{
	struct json_object *object = json_object_new_string(text);

	if (object && json_object_array_add(h->argv, object) == 0)
		return 0;
	json_object_put(object);
	return -ENOMEM;
}

int handover_leave_command_line(struct handover *h)
{
	_cleanup_free_ char *text = NULL;
	FILE *f = fopen("/proc/self/cmdline", "re");
	size_t capacity = 0;
	int r = 0;

	if (!f)
		return -errno;
	while (r == 0 && getdelim(&text, &capacity, '\0', f) > 0)
		r = leave_text(h, text);
	(void)fclose(f);
	return r == 0 && json_object_array_length(h->argv) == 0 ? -EIO : r;
}

const char **handover_command_line(const struct handover *h)
{
	size_t count = json_object_array_length(h->argv);
	const char **argv = calloc(count + 1, sizeof(*argv));

	for (size_t i = 0; argv && i < count; i++)
		argv[i] = json_object_get_string(json_object_array_get_idx(h->argv, i));
	return argv;
}

void handover_return(void)
{
	_cleanup_(handover_freep) struct handover *h = NULL;
	_cleanup_free_ const char **argv = NULL;
	int fd = environment_number(HANDOVER_VARIABLE);
	char error[256];

	if (fd < 0 || getenv(HANDOVER_RETURNED))
		return;
	if (handover_read(fd, &h, error, sizeof(error)) < 0)
		return;
	argv = handover_command_line(h);
	if (!argv)
		return;
	log_warning("this program could not take over, the one before goes on");
	(void)handover_set_cloexec(h, false); /* some may have been taken already */
	(void)setenv(HANDOVER_RETURNED, "1", 1);
	(void)fexecve(h->program_fd, (char *const *)argv, environ);
	log_err("cannot execute the program that was there before: %s", strerror(errno));
}
