#include "notify.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "base/util.h"

/* "/path", or "@name" in the abstract namespace; vsock is for virtual machines' own init. */
static int address(const char *text, struct sockaddr_un *ret_sun, socklen_t *ret_len)
{
	size_t len = strlen(text);

	if ((text[0] != '/' && text[0] != '@') || len < 2)
		return -EAFNOSUPPORT;
	if (len > sizeof(ret_sun->sun_path))
		return -E2BIG;
	*ret_sun = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(ret_sun->sun_path, text, len);
	if (text[0] == '@')
		ret_sun->sun_path[0] = '\0';
	*ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	return 0;
}

int notify_send(const char *state)
{
	_cleanup_close_ int fd = -EBADF;
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un sun;
	socklen_t len;
	int r;

	if (!path || !*path)
		return 0;
	r = address(path, &sun, &len);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&sun, len) < 0)
		return -errno;
	return 0;
}
