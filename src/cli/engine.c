#include "cli/engine.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/input.h"
#include "base/process.h"
#include "cli/output.h"

static const char *const engines[] = {"podman", "docker"};

/* In the child. quiet: other engines may know the name. */
static void inspect(const char *engine, const char *name, int out, bool quiet)
{
	const char *const argv[] = {engine,	      "inspect", "--type", "container", "--format",
				    "{{.State.Pid}}", "--",	 name,	   NULL};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)signal(SIGPIPE, SIG_DFL);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
	    (quiet && dup2(null, STDERR_FILENO) < 0))
		_exit(126);
	_exit(process_exec((char *const *)argv) == -ENOENT ? 127 : 126);
}

/* A line with a number that a process can have; 0 is said of a container that does not run. */
static int pid_parse(const char *text, pid_t *ret_pid)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (end == text || *text < '0' || *text > '9' || (*end && !streq(end, "\n")) ||
	    value > INT32_MAX)
		return -EBADMSG;
	*ret_pid = (pid_t)value;
	return 0;
}

/* Returns 0; -ENOENT without such a program; -ENXIO when it knows no such container; -errno. */
static int ask(const char *engine, const char *name, bool quiet, pid_t *ret_pid)
{
	char text[64];
	int pipes[2];
	int status = 0;
	ssize_t n;
	pid_t pid;

	if (pipe2(pipes, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		inspect(engine, name, pipes[1], quiet);
	close_fd(pipes[1]);
	n = pid < 0 ? -errno : input_read(pipes[0], text, sizeof(text) - 1);
	close_fd(pipes[0]);
	while (pid > 0 && waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (n < 0)
		return (int)n;
	text[n] = '\0';
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return WIFEXITED(status) && WEXITSTATUS(status) == 127 ? -ENOENT : -ENXIO;
	return pid_parse(text, ret_pid);
}

/*
 * Asked again after the process is held: if the engine still says the same number, it is the
 * container's and not that of a process which came after its end.
 */
static int hold(const char *engine, const char *name, bool quiet, int *ret_pidfd, pid_t *ret_pid)
{
	_cleanup_close_ int pidfd = -EBADF;
	pid_t again;
	pid_t pid;
	int r = ask(engine, name, quiet, &pid);

	if (r < 0)
		return r;
	if (pid == 0)
		return -ESRCH;
	pidfd = process_pidfd_open(pid);
	if (pidfd < 0)
		return pidfd;
	r = ask(engine, name, quiet, &again);
	if (r < 0)
		return r;
	if (again != pid)
		return -ESRCH;
	*ret_pidfd = TAKE_FD(pidfd);
	*ret_pid = pid;
	return 0;
}

static int hold_any(const char *name, int *ret_pidfd, pid_t *ret_pid)
{
	int worst = -ENOENT;

	for (size_t i = 0; i < ARRAY_SIZE(engines); i++) {
		int r = hold(engines[i], name, true, ret_pidfd, ret_pid);

		if (r == 0)
			return 0;
		if (worst == -ENOENT || r == -ESRCH)
			worst = r;
	}
	return worst;
}

int engine_find(const struct command *command, const char *engine, const char *name, int *ret_pidfd,
		pid_t *ret_pid)
{
	int r = engine ? hold(engine, name, false, ret_pidfd, ret_pid)
		       : hold_any(name, ret_pidfd, ret_pid);

	if (r == -ENOENT && engine)
		error_print(command, "there is no program %s", QUOTE(engine));
	else if (r == -ENOENT)
		error_print(command, "there is neither podman nor docker; --engine or --pid tells "
				     "more");
	else if (r == -ENXIO)
		error_print(command,
			    "no engine knows a container %s; for one of a rootless engine give "
			    "--pid",
			    QUOTE(name));
	else if (r == -ESRCH)
		error_print(command, "the container %s is not running", QUOTE(name));
	else if (r < 0)
		error_print(command, "cannot ask for the container %s: %s", QUOTE(name),
			    error_text(-r));
	return r;
}
