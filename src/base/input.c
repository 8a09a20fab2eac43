#include "input.h"

ssize_t input_read(int fd, void *ret_data, size_t size)
{
	size_t used = 0;

	while (used < size) {
		ssize_t n = read(fd, (char *)ret_data + used, size - used);

		if (n == 0)
			break;
		if (n > 0)
			used += (size_t)n;
		else if (errno != EINTR)
			return -errno;
	}
	return (ssize_t)used;
}
