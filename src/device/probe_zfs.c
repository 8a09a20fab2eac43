#include "device/probe_zfs.h"

#include <byteswap.h>
#include <fcntl.h>

#define KIB	   1024ull
#define LABEL_SIZE (256 * KIB)
#define LABELS	   4		    /* two at the beginning, two at the end */
#define BYTES_MIN  (64 * KIB * KIB) /* libblkid's as well (superblocks/zfs.c) */

/*
 * The configuration fills the first half of a label. It ends with its checksum, which has this
 * number before it (zio_eck_t in include/sys/zio.h of OpenZFS, VDEV_PHYS_SIZE in vdev_impl.h). The
 * byte order is that of the machine that wrote it.
 */
#define MARK		  0x0210da7ab10c7a11ull
#define CONFIGURATION_END (128 * KIB)
#define MARK_FROM_END	  40

static off_t mark_of(unsigned label, uint64_t device_bytes)
{
	uint64_t first = label < LABELS / 2 ? 0 : device_bytes / LABEL_SIZE - LABELS;

	return (off_t)((first + label) * LABEL_SIZE + CONFIGURATION_END - MARK_FROM_END);
}

void probe_zfs_announce(int fd, uint64_t device_bytes)
{
	if (device_bytes < BYTES_MIN)
		return;
	for (unsigned label = 0; label < LABELS; label++)
		(void)posix_fadvise(fd, mark_of(label, device_bytes), sizeof(uint64_t),
				    POSIX_FADV_WILLNEED);
}

bool probe_zfs_possible(int fd, uint64_t device_bytes)
{
	uint64_t mark;

	if (device_bytes < BYTES_MIN)
		return false;
	for (unsigned label = 0; label < LABELS; label++) {
		if (pread(fd, &mark, sizeof(mark), mark_of(label, device_bytes)) != sizeof(mark))
			return true;
		if (mark == MARK || mark == bswap_64(MARK))
			return true;
	}
	return false;
}
