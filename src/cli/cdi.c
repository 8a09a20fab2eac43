/* hotplugfs cdi: the specification by which engines know the view as a device. */
#include <fcntl.h>
#include <json-c/json.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "cli/command.h"
#include "cli/medium.h"
#include "cli/output.h"
#include "cli/view.h"

/* The oldest version that has all that we use (Container Device Interface, SPEC.md). */
#define CDI_VERSION "0.4.0"
#define CDI_KIND    "hotplugfs.io/media"

static const struct option_spec options[] = {
	{.name = "output",
	 .letter = 'o',
	 .value = "FILE",
	 .help = "write there (default: print it)"},
	OPTION_VIEW,
	{.name = "mounts",
	 .help = "let the engine bind the view, without a hook: the container\n"
		 "loses the view when the daemon is stopped"},
	OPTION_END,
};

/* What the specification is made of. */
struct facts {
	const char *program;
	const char *view;
	const char *target;
	bool mounts;
};

static struct json_object *texts(const char *const *words)
{
	struct json_object *array = json_object_new_array();

	for (; array && *words; words++)
		(void)json_object_array_add(array, json_object_new_string(*words));
	return array;
}

static struct json_object *array_of(struct json_object *only)
{
	struct json_object *array = json_object_new_array();

	(void)json_object_array_add(array, only);
	return array;
}

static void add_text(struct json_object *object, const char *member, const char *text)
{
	(void)json_object_object_add(object, member, json_object_new_string(text));
}

/* Runs in the engine's namespaces when those of the container have been made. */
static struct json_object *hook(const struct facts *facts, bool read_only)
{
	struct json_object *object = json_object_new_object();
	const char *words[8] = {"hotplugfs", "hook", "--view", facts->view};
	size_t count = 4;

	if (read_only)
		words[count++] = "--read-only";
	words[count++] = "--";
	words[count] = facts->target;
	add_text(object, "hookName", "createRuntime");
	add_text(object, "path", facts->program);
	(void)json_object_object_add(object, "args", texts(words));
	return object;
}

/*
 * What the hook finds at the target: a directory that the engine has made also where the root is
 * read-only. That it is a slave makes engines leave the root's mounts slaves, too; else crun makes
 * them private after the hook. It is not "ro": runc would make what is there after the hook so.
 */
static struct json_object *place(const struct facts *facts)
{
	static const char *const flags[] = {"nosuid",	 "nodev",  "noexec", "size=4k",
					    "mode=0555", "rslave", NULL};
	struct json_object *object = json_object_new_object();

	add_text(object, "hostPath", "tmpfs");
	add_text(object, "type", "tmpfs");
	add_text(object, "containerPath", facts->target);
	(void)json_object_object_add(object, "options", texts(flags));
	return object;
}

/* A slave gets the view that comes later, a private one does not: that would not be read-only. */
static struct json_object *bind(const struct facts *facts, bool read_only)
{
	static const char *const writable[] = {"bind",	"rslave", "rw", "nosuid",
					       "nodev", "noexec", NULL};
	static const char *const readable[] = {"bind",	"rprivate", "ro", "nosuid",
					       "nodev", "noexec",   NULL};
	struct json_object *object = json_object_new_object();

	add_text(object, "hostPath", facts->view);
	add_text(object, "containerPath", facts->target);
	(void)json_object_object_add(object, "options", texts(read_only ? readable : writable));
	return object;
}

static struct json_object *edits(const struct facts *facts, bool read_only)
{
	struct json_object *object = json_object_new_object();

	(void)json_object_object_add(
		object, "mounts", array_of(facts->mounts ? bind(facts, read_only) : place(facts)));
	if (!facts->mounts)
		(void)json_object_object_add(object, "hooks", array_of(hook(facts, read_only)));
	return object;
}

static struct json_object *device(const struct facts *facts, const char *name, bool read_only)
{
	struct json_object *object = json_object_new_object();

	add_text(object, "name", name);
	(void)json_object_object_add(object, "containerEdits", edits(facts, read_only));
	return object;
}

static struct json_object *specification(const struct facts *facts)
{
	struct json_object *object = json_object_new_object();
	struct json_object *devices = json_object_new_array();

	add_text(object, "cdiVersion", CDI_VERSION);
	add_text(object, "kind", CDI_KIND);
	(void)json_object_array_add(devices, device(facts, "all", false));
	(void)json_object_array_add(devices, device(facts, "readonly", true));
	(void)json_object_object_add(object, "devices", devices);
	return object;
}

static int write_all(int fd, const char *text)
{
	size_t left = strlen(text);

	while (left > 0) {
		ssize_t n = write(fd, text, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		left -= (size_t)n;
	}
	return 0;
}

/* Makes the directory, if it is only that which is missing: /etc/cdi often is. */
static int directory_make(const char *path)
{
	char copy[PATH_MAX];

	if (!STR_COPY(copy, path))
		return -ENAMETOOLONG;
	return mkdir(dirname(copy), 0755) < 0 && errno != EEXIST ? -errno : 0;
}

/* An engine that reads the directory now sees the old file or the new one. */
static int file_replace(const char *path, const char *text)
{
	_cleanup_free_ char *temporary = NULL;
	_cleanup_close_ int fd = -EBADF;
	int r = directory_make(path);

	if (r < 0)
		return r;
	if (asprintf(&temporary, "%s.XXXXXX", path) < 0)
		return -ENOMEM;
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = write_all(fd, text);
	if (r == 0 && (fchmod(fd, 0644) < 0 || fsync(fd) < 0 || rename(temporary, path) < 0))
		r = -errno;
	if (r < 0)
		(void)unlink(temporary);
	return r;
}

/* A device or a pipe is there to be written to. Blocks until somebody reads the pipe. */
static int device_write(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_NOCTTY | O_CLOEXEC);

	return fd < 0 ? -errno : write_all(fd, text);
}

/* What a link leads to is replaced, not the link. */
static int file_write(const char *path, const char *text)
{
	_cleanup_free_ char *real = NULL;
	struct stat st;

	if (stat(path, &st) < 0)
		return errno == ENOENT ? file_replace(path, text) : -errno;
	if (!S_ISREG(st.st_mode))
		return device_write(path, text);
	real = realpath(path, NULL);
	return real ? file_replace(real, text) : -errno;
}

/* For example /dev/stdout, also where a shell made that a file, perhaps to append to it. */
static bool is_standard_output(const char *path)
{
	struct stat there;
	struct stat out;

	return stat(path, &there) == 0 && fstat(STDOUT_FILENO, &out) == 0 &&
	       there.st_dev == out.st_dev && there.st_ino == out.st_ino;
}

static enum exit_status output(const struct arguments *args, struct json_object *object)
{
	const char *path = arguments_value(args, "output");
	_cleanup_free_ char *text = NULL;
	int r;

	if (!path || is_standard_output(path)) {
		json_print(object);
		return EXIT_DONE;
	}
	if (asprintf(&text, "%s\n", json_text_pretty(object)) < 0)
		r = -ENOMEM;
	else
		r = file_write(path, text);
	if (r == 0)
		return EXIT_DONE;
	error_print(args->command, "cannot write %s: %s", QUOTE(path), error_text(-r));
	return EXIT_FAILED;
}

static enum exit_status cdi_run(const struct arguments *args)
{
	_cleanup_(json_putp) struct json_object *object = NULL;
	_cleanup_free_ char *view = NULL;
	char program[PATH_MAX] = "";
	struct facts facts = {.program = program,
			      .target = args->operand,
			      .mounts = arguments_has(args, "mounts")};
	enum exit_status status = view_path(args, &view);

	if (status != EXIT_DONE)
		return status;
	if (*args->operand != '/') {
		usage_print(args->command, "TARGET must begin with /");
		return EXIT_USAGE;
	}
	if (readlink("/proc/self/exe", program, sizeof(program) - 1) < 0) {
		error_print(args->command, "/proc/self/exe: %s", error_text(errno));
		return EXIT_FAILED;
	}
	facts.view = view;
	object = specification(&facts);
	return output(args, object);
}

const struct command command_cdi = {
	.name = "cdi",
	.operand = "TARGET",
	.operand_default = "/media",
	.summary = "Write the CDI specification, for --device " CDI_KIND "=all.",
	.notes = "TARGET, in the containers, is /media if not given. The devices are all and "
		 "readonly.\n"
		 "Engines look for FILE in /etc/cdi, for example /etc/cdi/hotplugfs.json.",
	.options = options,
	.run = cdi_run,
};
