/* hotplugfs probe: what is on a device, and would it be shown? */
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/log.h"
#include "cli/command.h"
#include "cli/medium.h"
#include "cli/output.h"
#include "cli/settings.h"
#include "daemon/sysdisk.h"
#include "daemon/udev.h"
#include "device/blockdev.h"
#include "device/names.h"
#include "device/policy.h"
#include "device/probe.h"

static const struct option_spec options[] = {
	OPTION_JSON,
	OPTION_INCLUDE,
	OPTION_EXCLUDE,
	OPTION_DEV,
	{.name = "probe-timeout",
	 .value = "TIME",
	 .setting = "probe-timeout",
	 .help = "give up on a disk that cannot be read in this time"},
	OPTION_CONFIG,
	OPTION_END,
};

/* All that is known of one device. */
struct examination {
	const struct command *command;
	const struct config *config;
	int sysfs_fd;
	int dev_fd;
	struct blockdev dev;
	struct probe_result probe;
	struct policy_decision decision;
	char name[LIMIT_NAME + 1];
};

static const char *const outcomes[] = {
	[PROBE_FOUND] = "recognised",
	[PROBE_NOTHING] = "nothing recognised",
	[PROBE_AMBIVALENT] = "contradicting signatures",
	[PROBE_NO_MEDIUM] = "no medium",
	[PROBE_ERROR] = "cannot be read",
	[PROBE_TIMEOUT] = "no answer in time",
	[PROBE_CRASHED] = "the probe crashed on it",
};

/* The kernel name of a device node, by its device number: nodes may have any name. */
static int kname_of_node(int sysfs_fd, const char *path, char *ret_kname, size_t size)
{
	char link[64];
	char target[1024];
	const char *base;
	struct stat st;
	ssize_t n;

	if (stat(path, &st) < 0)
		return -errno;
	if (!S_ISBLK(st.st_mode))
		return -ENOTBLK;
	(void)snprintf(link, sizeof(link), "dev/block/%u:%u", major(st.st_rdev), minor(st.st_rdev));
	n = readlinkat(sysfs_fd, link, target, sizeof(target) - 1);
	if (n < 0)
		return errno == ENOENT ? -ENODEV : -errno;
	target[n] = '\0';
	base = strrchr(target, '/');
	return str_copy(ret_kname, size, base ? base + 1 : target) ? 0 : -ENAMETOOLONG;
}

/* Nothing is known of the content of a device that could not be examined: that is no success. */
static enum exit_status verdict(const struct examination *e)
{
	const struct probe_result *probe = &e->probe;

	switch (probe->outcome) {
	case PROBE_FOUND:
	case PROBE_NOTHING:
	case PROBE_AMBIVALENT:
	case PROBE_NO_MEDIUM:
		return EXIT_DONE;
	case PROBE_ERROR:
		error_print(e->command, "%s %s: %s", e->dev.kname, outcomes[probe->outcome],
			    error_text(-probe->err));
		return EXIT_FAILED;
	case PROBE_TIMEOUT:
	case PROBE_CRASHED:
		error_print(e->command, "%s: %s", e->dev.kname, outcomes[probe->outcome]);
		return EXIT_FAILED;
	}
	return EXIT_FAILED;
}

/* device: a kernel name or a path. */
static int device_read(struct examination *e, const char *device)
{
	char kname[LIMIT_KNAME] = "";
	int r = 0;

	if (strchr(device, '/'))
		r = kname_of_node(e->sysfs_fd, device, kname, sizeof(kname));
	else if (!STR_COPY(kname, device))
		r = -ENAMETOOLONG;
	if (r == 0)
		r = blockdev_read(e->sysfs_fd, kname, &e->dev);
	return r;
}

/* Whether the disk holds something of the host. In doubt it does. */
static bool is_system_disk(const struct examination *e)
{
	_cleanup_(sysdisk_done) struct sysdisk disks = SYSDISK_NULL;
	_cleanup_close_ int proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return proc_fd < 0 || sysdisk_read(&disks, proc_fd, e->sysfs_fd, e->dev_fd) < 0 ||
	       sysdisk_has(&disks, e->dev.disk_devnum);
}

static void no_event(const char *kname, void *data)
{
}

/* Whether udev's database says that the disk is for nobody. */
static bool is_ignored(const struct examination *e)
{
	struct udev_source *udev = NULL;
	struct loop *loop = NULL;
	bool ignored = false;

	if (loop_new(&loop) == 0 && udev_source_new(loop, false, no_event, NULL, &udev) == 0)
		ignored = udev_source_ask(udev, e->dev.devnum) == UDEV_IGNORED;
	udev_source_free(udev);
	loop_free(loop);
	return ignored;
}

static void examine(struct examination *e)
{
	const struct policy_input in = {
		.config = e->config,
		.dev = &e->dev,
		.probe = &e->probe,
		.system_disk = is_system_disk(e),
		.udisks_ignore = is_ignored(e),
	};
	int r = -ENOMEDIUM;

	if (e->dev.size_bytes > 0)
		r = probe_wait(e->dev_fd, &e->dev, e->config->probe_timeout_ms, &e->probe);
	if (r < 0)
		e->probe = (struct probe_result){
			.outcome = r == -ENOMEDIUM ? PROBE_NO_MEDIUM : PROBE_ERROR, .err = r};
	policy_decide(&in, &e->decision);
	if (e->probe.outcome == PROBE_FOUND && streq(e->probe.usage, "filesystem"))
		name_base(e->decision.wanted_name, e->probe.label, e->probe.uuid, e->dev.kname,
			  e->name);
}

static void line_print(const char *title, const char *text)
{
	_cleanup_free_ char *escaped = text_escape(text, NULL);

	if (*text && escaped)
		(void)printf("%-9s%s\n", title, escaped);
}

static void content_print(const struct probe_result *probe)
{
	if (probe->outcome == PROBE_FOUND)
		line_print("content", probe->usage);
	else if (probe->outcome == PROBE_ERROR)
		(void)printf("%-9s%s: %s\n", "content", outcomes[probe->outcome],
			     error_text(-probe->err));
	else
		line_print("content", outcomes[probe->outcome]);
}

static void print_text(const struct examination *e)
{
	const struct blockdev *dev = &e->dev;
	const struct probe_result *probe = &e->probe;

	line_print("device", dev->kname);
	(void)printf("%-9s%s%s%s\n", "bus", blockdev_bus_name(dev->bus),
		     dev->removable ? ", removable" : "", dev->read_only ? ", read-only" : "");
	line_print("vendor", dev->vendor);
	line_print("model", dev->model);
	line_print("size", size_format(dev->size_bytes).text);
	content_print(probe);
	line_print("type", probe->fstype);
	line_print("label", probe->label);
	line_print("uuid", probe->uuid);
	line_print("part", probe->part_type);
	line_print("name", e->name);
	line_print("options", e->decision.options);
	line_print("shown", e->decision.shown ? "yes" : "no");
	line_print("because", e->decision.reason);
}

static void add_text(struct json_object *o, const char *member, const char *text)
{
	(void)json_object_object_add(o, member, json_text(text));
}

static int print_json(const struct examination *e)
{
	_cleanup_(json_putp) struct json_object *o = json_object_new_object();
	const struct blockdev *dev = &e->dev;
	const struct probe_result *probe = &e->probe;

	if (!o)
		return -ENOMEM;
	add_text(o, "device", dev->kname);
	add_text(o, "disk", dev->disk);
	add_text(o, "bus", blockdev_bus_name(dev->bus));
	add_text(o, "vendor", dev->vendor);
	add_text(o, "model", dev->model);
	(void)json_object_object_add(o, "removable", json_object_new_boolean(dev->removable));
	(void)json_object_object_add(o, "size_bytes", json_object_new_uint64(dev->size_bytes));
	add_text(o, "outcome", outcomes[probe->outcome]);
	add_text(o, "usage", probe->usage);
	add_text(o, "fstype", probe->fstype);
	add_text(o, "label", probe->label);
	add_text(o, "uuid", probe->uuid);
	add_text(o, "partition_type", probe->part_type);
	add_text(o, "name", e->name);
	(void)json_object_object_add(o, "shown", json_object_new_boolean(e->decision.shown));
	add_text(o, "reason", e->decision.reason);
	add_text(o, "options", e->decision.options);
	(void)json_object_object_add(o, "read_only",
				     json_object_new_boolean(e->decision.shown
								     ? e->decision.read_only
								     : dev->read_only));
	json_print(o);
	return 0;
}

static enum exit_status probe_device(struct examination *e, const char *device, bool json)
{
	_cleanup_close_ int sysfs_fd = blockdev_open(NULL);
	_cleanup_close_ int dev_fd = -EBADF;
	int r;

	e->sysfs_fd = sysfs_fd;
	r = device_read(e, device);
	if (r < 0) {
		error_print(e->command, "%s is no block device that is here: %s", QUOTE(device),
			    error_text(-r));
		return EXIT_FAILED;
	}
	dev_fd = open(e->config->dev_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dev_fd < 0) {
		error_print(e->command, "cannot open %s: %s", e->config->dev_dir,
			    error_text(errno));
		return EXIT_FAILED;
	}
	e->dev_fd = dev_fd;
	examine(e);
	if (!json)
		print_text(e);
	else if (print_json(e) < 0)
		return EXIT_FAILED;
	return verdict(e);
}

static enum exit_status probe_run(const struct arguments *args)
{
	_cleanup_(config_freep) struct config *config = NULL;
	struct examination e = {.command = args->command};
	enum exit_status status;

	status = settings_get(args, &config);
	if (status != EXIT_DONE)
		return status;
	e.config = config;
	return probe_device(&e, args->operand, arguments_has(args, "json"));
}

const struct command command_probe = {
	.name = "probe",
	.operand = "DEVICE",
	.summary = "Say what is on a device, its name, and whether it would be shown.",
	.notes = "DEVICE is a kernel name (sda1) or a path of a device node. No daemon is needed, "
		 "and\n"
		 "nothing is mounted. TIME is a number of seconds, or a number with ms, s, min or "
		 "h.",
	.options = options,
	.run = probe_run,
};
