/*
 * In the place of ntfs-3g: one that the disk has taken over. It mounts as that does, but the
 * options of its call are in a page of the disk that nobody has read yet; then it serves nothing.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#define PLACE (16 << 20)

int main(int argc, char **argv)
{
	int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	int disk = argc > 2 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;
	void *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, disk, PLACE);

	if (fuse < 0 || page == MAP_FAILED || mount("disk", argv[2], "fuse", 0, page) < 0) {
		perror("mapdriver");
		return 1;
	}
	(void)puts("mounted");
	(void)fflush(stdout);
	for (;;)
		(void)pause();
}
