#include "program_helper.h"

#include "base/packet.h"

#define SOCKET_VARIABLE "_FUSE_COMMFD"

/* A small number in the environment, or -1. */
static int environment_fd(const char *name)
{
	const char *text = getenv(name);
	char *end;
	long n;

	if (!text || !*text)
		return -1;
	n = strtol(text, &end, 10);
	return *end || n < 0 || n > INT16_MAX ? -1 : (int)n;
}

bool program_helper_called(const char *name)
{
	const char *slash = strrchr(name, '/');

	return strncmp(slash ? slash + 1 : name, "fusermount", strlen("fusermount")) == 0 &&
	       environment_fd(PROGRAM_HELPER_VARIABLE) >= 0;
}

int program_helper_run(void)
{
	int sock = environment_fd(SOCKET_VARIABLE);

	if (sock < 0)
		return 0; /* to unmount: that is not the program's business */
	return packet_send(sock, "", 1, environment_fd(PROGRAM_HELPER_VARIABLE)) < 0;
}
