#include "program_helper.h"

#include "base/environment.h"
#include "base/packet.h"

#define SOCKET_VARIABLE "_FUSE_COMMFD"

bool program_helper_called(const char *name)
{
	const char *slash = strrchr(name, '/');

	return strncmp(slash ? slash + 1 : name, "fusermount", strlen("fusermount")) == 0 &&
	       environment_number(PROGRAM_HELPER_VARIABLE) >= 0;
}

int program_helper_run(void)
{
	int sock = environment_number(SOCKET_VARIABLE);

	if (sock < 0)
		return 0; /* to unmount: that is not the program's business */
	return packet_send(sock, "", 1, environment_number(PROGRAM_HELPER_VARIABLE)) < 0;
}
