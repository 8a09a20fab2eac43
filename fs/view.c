#include "view.h"

#include <stdio.h>
#include <time.h>

#include "view_internal.h"

static int view_open(struct view *view, const struct view_args *args)
{
	struct store_header *header;
	int r = store_open(args->store_fd, &nodes_layout, &view->store);

	if (r < 0)
		return r;
	r = nodes_init(&view->nodes, &view->store);
	if (r == 0)
		r = files_init(&view->files, &view->store, &view->nodes, &view->channel,
			       args->previous_fd);
	if (r == 0)
		nodes_sweep(&view->nodes);
	if (r == 0)
		r = dirs_init(&view->dirs);
	header = view->store.header;
	if (r == 0)
		r = channel_init(&view->channel, header->saved_init, sizeof(header->saved_init),
				 args->passthrough);
	if (r == 0 && view->channel.restarted && view->channel.features.passthrough)
		files_close_strays(&view->files);
	return r;
}

int view_new(const struct view_args *args, struct view **ret_view, struct view_features *features)
{
	struct view *view = calloc(1, sizeof(*view));
	int r;

	if (!view)
		return -ENOMEM;
	view->channel.fd = args->fuse_fd;
	view->strict = args->strict;
	view->events = args->events;
	view->root_change_s = (uint64_t)time(NULL);
	(void)pthread_mutex_init(&view->media_lock, NULL);
	workers_init(&view->workers);
	r = view_open(view, args);
	if (r < 0) { /* the process ends: nothing else is worth taking back */
		free(view);
		return r;
	}
	*features = (struct view_features){
		.passthrough = view->channel.features.passthrough,
		.resend = view->channel.features.resend,
		.restarted = view->channel.restarted,
	};
	*ret_view = view;
	return 0;
}

void view_store_layout(char *ret_text, size_t size)
{
	size_t used = (size_t)snprintf(ret_text, size, "%d:%zu:%d", STORE_LAYOUT,
				       sizeof(struct store_header), STORE_REGIONS);

	for (size_t i = 0; i < STORE_REGIONS && used < size; i++)
		used += (size_t)snprintf(ret_text + used, size - used, ":%zu",
					 nodes_layout.record_size[i]);
}

void view_set_announcer(struct view *view, int32_t pid)
{
	atomic_store(&view->announcer, pid);
}

void view_set_strict(struct view *view, bool strict)
{
	atomic_store(&view->strict, strict);
}
