/* hotplugfs hook: the view in a container that an OCI runtime is starting. */
#include <fcntl.h>
#include <stdio.h>

#include "base/process.h"
#include "cli/command.h"
#include "cli/output.h"
#include "cli/view.h"
#include "container/attach.h"
#include "container/oci.h"

static const struct option_spec options[] = {
	OPTION_VIEW,
	{.name = "read-only", .help = "nothing can be written there"},
	OPTION_END,
};

static int state_read(struct oci_state *ret_state)
{
	_cleanup_free_ char *text = NULL;
	int r = oci_read(STDIN_FILENO, &text);

	return r < 0 ? r : oci_state_parse(text, ret_state);
}

/* Where the container's root is until it becomes one. */
static int root_read(const struct oci_state *state, char ret_root[PATH_MAX])
{
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = -EBADF;
	char path[PATH_MAX + 16];
	int r;

	(void)snprintf(path, sizeof(path), "%s/config.json", state->bundle);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = oci_read(fd, &text);
	return r < 0 ? r : oci_root_parse(text, state->bundle, ret_root);
}

static enum exit_status attach(const struct command *command, struct attach_args *attach)
{
	_cleanup_close_ int pidfd = process_pidfd_open(attach->pid);
	enum source_follow follow;
	char error[1400];

	if (pidfd < 0) {
		error_print(command, "process %d: %s", (int)attach->pid, error_text(-pidfd));
		return EXIT_FAILED;
	}
	attach->pidfd = pidfd;
	if (attach_run(attach, &follow, error, sizeof(error)) == 0)
		return EXIT_DONE;
	error_print(command, "%s", error);
	return EXIT_FAILED;
}

static enum exit_status hook_run(const struct arguments *args)
{
	_cleanup_free_ char *view = NULL;
	struct attach_args attached = {.target = args->operand};
	struct oci_state state;
	char root[PATH_MAX];
	enum exit_status status;
	int r;

	process_fill_stdio();
	status = view_path(args, &view);
	if (status != EXIT_DONE)
		return status;
	r = state_read(&state);
	if (r < 0) {
		error_print(args->command, "no state of a container on standard input: %s",
			    error_text(-r));
		return EXIT_FAILED;
	}
	if (!state.started) {
		r = root_read(&state, root);
		attached.root = root;
	}
	if (r < 0) {
		error_print(args->command, "the configuration in %s: %s", QUOTE(state.bundle),
			    error_text(-r));
		return EXIT_FAILED;
	}
	attached.pid = state.pid;
	attached.wish = (struct source_wish){
		.view = view, .read_only = arguments_has(args, "read-only"), .may_come = true};
	return attach(args->command, &attached);
}

const struct command command_hook = {
	.name = "hook",
	.operand = "TARGET",
	.operand_default = "/media",
	.summary = "Put the view into a container that is being started: an OCI hook.",
	.notes = "TARGET is /media if not given. For the stages createRuntime and poststart, with "
		 "the\n"
		 "container's state on standard input.",
	.options = options,
	.run = hook_run,
};
