/* One check in a child process: what it breaks goes with it, and its deadline holds. */
#include "cli/doctor.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/wait.h>

#include "base/loop.h"
#include "cli/output.h"

void doctor_found(struct doctor_finding *finding, enum doctor_verdict verdict, const char *advice,
		  const char *fmt, ...)
{
	va_list args;

	finding->verdict = verdict;
	finding->advice[0] = '\0';
	if (advice)
		(void)STR_COPY(finding->advice, advice);
	va_start(args, fmt);
	(void)vsnprintf(finding->found, sizeof(finding->found), fmt, args);
	va_end(args);
}

void doctor_found_more(struct doctor_finding *finding, const char *fmt, ...)
{
	size_t used = strlen(finding->found);
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(finding->found + used, sizeof(finding->found) - used, fmt, args);
	va_end(args);
}

/* In the child: never returns. */
static void child_main(const struct doctor_check *check, const struct config *config, int fd)
{
	struct doctor_finding finding = {.verdict = DOCTOR_FAIL};
	ssize_t n;

	check->run(config, &finding);
	n = write(fd, &finding, sizeof(finding)); /* at most PIPE_BUF: whole or not at all */
	_exit(n == (ssize_t)sizeof(finding) ? 0 : 1);
}
_Static_assert(sizeof(struct doctor_finding) <= 4096, "a finding is one write to a pipe");

/* Why there is no finding. */
static void child_died(pid_t pid, struct doctor_finding *finding)
{
	int status = 0;

	if (waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
		doctor_found(finding, DOCTOR_FAIL, "allow the system call in the seccomp profile",
			     "the check was killed by a seccomp filter");
	else
		doctor_found(finding, DOCTOR_FAIL, "report it as a fault of hotplugfs",
			     "the check ended with wait status 0x%x", (unsigned)status);
}

static void child_collect(pid_t pid, int fd, struct doctor_finding *finding)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	uint64_t deadline = now_ms() + DOCTOR_DEADLINE_MS;
	uint64_t now;
	int n = 0;

	while ((now = now_ms()) < deadline && n <= 0)
		n = poll(&wait, 1, (int)(deadline - now));
	if (n <= 0) {
		/* It may be stuck in a device: it is told to die, and not waited for. */
		(void)kill(pid, SIGKILL);
		doctor_found(finding, DOCTOR_FAIL, "look for a device that does not answer",
			     "no result within %d s", DOCTOR_DEADLINE_MS / 1000);
		return;
	}
	if (read(fd, finding, sizeof(*finding)) != (ssize_t)sizeof(*finding))
		child_died(pid, finding);
	else
		(void)waitpid(pid, NULL, 0);
}

void doctor_run_check(const struct doctor_check *check, const struct config *config,
		      struct doctor_finding *ret_finding)
{
	int fds[2];
	pid_t pid;

	*ret_finding = (struct doctor_finding){.verdict = DOCTOR_FAIL};
	if (pipe2(fds, O_CLOEXEC) < 0) {
		doctor_found(ret_finding, DOCTOR_FAIL, "raise the limit of open files",
			     "no pipe: %s", error_text(errno));
		return;
	}
	pid = fork();
	if (pid == 0) {
		close_fd(fds[0]);
		child_main(check, config, fds[1]);
	}
	close_fd(fds[1]);
	if (pid < 0)
		doctor_found(ret_finding, DOCTOR_FAIL, "raise the limit of processes",
			     "no process: %s", error_text(errno));
	else
		child_collect(pid, fds[0], ret_finding);
	close_fd(fds[0]);
}
