/* Runs a fuzz target on files, or on all files of directories, without a fuzzer. */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"

#define INPUT_MAX (4 << 20)

static int replay_at(int dir_fd, const char *name)
{
	static uint8_t buf[INPUT_MAX];
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	uint8_t *exact;
	ssize_t n;

	if (fd < 0) {
		perror(name);
		return 1;
	}
	n = read(fd, buf, sizeof(buf));
	close(fd);
	if (n < 0) {
		perror(name);
		return 1;
	}
	exact = malloc(n ? (size_t)n : 1); /* of its own, so that a sanitizer sees its end */
	if (!exact)
		return 1;
	memcpy(exact, buf, (size_t)n);
	(void)LLVMFuzzerTestOneInput(exact, (size_t)n);
	free(exact);
	return 0;
}

static int replay_dir(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int failed = 0;

	if (!dir) {
		perror(path);
		return 1;
	}
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			failed |= replay_at(dirfd(dir), entry->d_name);
	closedir(dir);
	return failed;
}

int main(int argc, char **argv)
{
	struct stat st;
	int failed = 0;

	for (int i = 1; i < argc; i++)
		if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode))
			failed |= replay_dir(argv[i]);
		else
			failed |= replay_at(AT_FDCWD, argv[i]);
	return failed;
}
