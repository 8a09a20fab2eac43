/* One check in a child process: what it breaks goes with it, and its deadline holds. */
#include "cli/doctor.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
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

/* In the child: never returns. The byte says that the finding, in shared memory, is whole. */
static void child_main(const struct doctor_check *check, const struct config *config,
		       struct doctor_finding *finding, int fd)
{
	check->run(config, finding);
	_exit(write(fd, "", 1) == 1 ? 0 : 1);
}

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

/* What the check has written so far may name what it is stuck in. */
static void child_stuck(pid_t pid, struct doctor_finding *finding)
{
	(void)kill(pid, SIGKILL); /* and not waited for: it may be unable to die */
	if (!*finding->found)
		doctor_found(finding, DOCTOR_FAIL, "look for a device that does not answer",
			     "no result within %d s", DOCTOR_DEADLINE_MS / 1000);
}

static void child_collect(pid_t pid, int fd, struct doctor_finding *finding)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	uint64_t deadline = now_ms() + DOCTOR_DEADLINE_MS;
	uint64_t now;
	char byte;
	int n = 0;

	while ((now = now_ms()) < deadline && n <= 0)
		n = poll(&wait, 1, (int)(deadline - now));
	if (n <= 0)
		child_stuck(pid, finding);
	else if (read(fd, &byte, 1) != 1)
		child_died(pid, finding);
	else
		(void)waitpid(pid, NULL, 0);
}

/* Returns 0, or -errno if there could be no child. */
static int check_in_child(const struct doctor_check *check, const struct config *config,
			  struct doctor_finding *shared)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		close_fd(fds[0]);
		child_main(check, config, shared, fds[1]);
	}
	close_fd(fds[1]);
	if (pid > 0)
		child_collect(pid, fds[0], shared);
	close_fd(fds[0]);
	return pid < 0 ? -errno : 0;
}

void doctor_run_check(const struct doctor_check *check, const struct config *config,
		      struct doctor_finding *ret_finding)
{
	struct doctor_finding *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
					     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int r = shared == MAP_FAILED ? -errno : 0;

	*ret_finding = (struct doctor_finding){.verdict = DOCTOR_FAIL};
	if (r == 0) {
		shared->verdict = DOCTOR_FAIL;
		r = check_in_child(check, config, shared);
		*ret_finding = *shared;
		(void)munmap(shared, sizeof(*shared));
	}
	if (r < 0)
		doctor_found(ret_finding, DOCTOR_FAIL, "raise the limits of files and processes",
			     "no check in a child process: %s", error_text(-r));
}
