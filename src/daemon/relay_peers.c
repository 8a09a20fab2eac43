#include "relay_peers.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/limits.h"
#include "base/listen.h"
#include "base/log.h"

/* What a daemon may leave unread: thousands of events. */
#define SEND_BUFFER (4 << 20)

struct peer {
	struct relay_peers *peers;
	int fd; /* negative: free */
	bool trusted;
	struct loop_fd *source;
};

struct relay_peers {
	struct loop *loop;
	const char *path;
	char *made_dir;
	int fd;
	struct loop_fd *source;
	struct listen_pause pause;
	bool told_full; /* as a warning; whoever wants to can come again and again */
	struct peer all[LIMIT_RELAY_PEERS];
};

static void peer_drop(struct peer *peer)
{
	peer->source = loop_fd_remove(peer->source);
	peer->fd = close_fd(peer->fd);
}

/* Nobody has anything to say to us: this is its end, or a mistake. */
static void peer_readable(int fd, uint32_t events, void *data)
{
	(void)fd;
	(void)events;
	peer_drop(data);
}

/* Others cannot take all the room. */
static bool has_room(const struct relay_peers *peers, bool trusted)
{
	unsigned users = 0;

	for (size_t i = 0; i < ARRAY_SIZE(peers->all); i++)
		users += peers->all[i].fd >= 0 && !peers->all[i].trusted;
	return trusted || users < LIMIT_RELAY_USERS;
}

static void peer_add(struct relay_peers *peers, int fd)
{
	static const int size = SEND_BUFFER;
	bool trusted = listen_trusts(listen_peer_uid(fd));

	for (size_t i = 0; has_room(peers, trusted) && i < ARRAY_SIZE(peers->all); i++) {
		struct peer *peer = &peers->all[i];

		if (peer->fd >= 0)
			continue;
		if (loop_fd_add(peers->loop, fd, EPOLLIN, peer_readable, peer, &peer->source) < 0)
			break;
		peer->fd = fd;
		peer->trusted = trusted;
		if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
			(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
		log_debug("a daemon has come");
		return;
	}
	if (peers->told_full)
		log_debug("too many daemons, another one is turned away");
	else
		log_warning("too many daemons, one is turned away");
	peers->told_full = true;
	close_fd(fd);
}

static void listener_readable(int fd, uint32_t events, void *data)
{
	struct relay_peers *peers = data;
	int peer = listen_accept(peers->loop, fd, peers->source, &peers->pause);

	(void)events;
	if (peer >= 0)
		peer_add(peers, peer);
}

int relay_peers_new(struct loop *loop, const char *path, struct relay_peers **ret_peers)
{
	struct relay_peers *peers = calloc(1, sizeof(*peers));
	int r;

	if (!peers)
		return -ENOMEM;
	peers->loop = loop;
	peers->path = path;
	for (size_t i = 0; i < ARRAY_SIZE(peers->all); i++)
		peers->all[i] = (struct peer){.peers = peers, .fd = -EBADF};
	peers->fd = listen_unix(path, SOCK_SEQPACKET, &peers->made_dir);
	r = peers->fd < 0 ? peers->fd
			  : loop_fd_add(loop, peers->fd, EPOLLIN, listener_readable, peers,
					&peers->source);
	if (r < 0) {
		relay_peers_free(peers);
		return r;
	}
	*ret_peers = peers;
	return 0;
}

void relay_peers_free(struct relay_peers *peers)
{
	if (!peers)
		return;
	relay_peers_lost(peers);
	loop_fd_remove(peers->source);
	loop_timer_remove(peers->pause.timer);
	if (peers->fd >= 0)
		(void)unlink(peers->path);
	close_fd(peers->fd);
	free(peers->made_dir); /* and left, since containers may have it mounted */
	free(peers);
}

void relay_peers_send(struct relay_peers *peers, const char *message, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(peers->all); i++) {
		struct peer *peer = &peers->all[i];

		if (peer->fd < 0)
			continue;
		if (send(peer->fd, message, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
			log_notice("a daemon does not keep up: %s; it is to look for itself",
				   strerror(errno));
			peer_drop(peer);
		}
	}
}

void relay_peers_lost(struct relay_peers *peers)
{
	for (size_t i = 0; i < ARRAY_SIZE(peers->all); i++)
		peer_drop(&peers->all[i]);
}
