#include "link.h"

#include "base/packet.h"

/* Only ADD and UPDATE carry the large part. */
static size_t message_size(enum link_type type)
{
	if (type == LINK_ADD || type == LINK_UPDATE)
		return sizeof(struct link_message);
	return offsetof(struct link_message, info);
}

int link_send(int sock, const struct link_message *message, int fd)
{
	return packet_send(sock, message, message_size(message->type), fd);
}

int link_receive(int sock, struct link_message *ret_message, int *ret_fd)
{
	struct link_message message = {0};
	_cleanup_close_ int fd = -EBADF;
	ssize_t n = packet_receive(sock, &message, sizeof(message), &fd);

	if (n < 0)
		return (int)n;
	if ((size_t)n < offsetof(struct link_message, info) ||
	    (size_t)n != message_size(message.type))
		return -EBADMSG;
	*ret_message = message;
	*ret_fd = TAKE_FD(fd);
	return 0;
}
