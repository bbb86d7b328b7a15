// How the built server is started, by `npm start`, the bench and the image alike.

/**
 * Flags for node. Bodies pass through as short-lived buffers: with small young generations the process keeps 100 MB
 * less of them after a storm of pushes.
 */
export const nodeFlags = ['--max-semi-space-size=4'];

/**
 * The environment. zlib, file reads and SQLite share libuv's threads; glibc would give each an arena of its own, and
 * would keep large buffers instead of giving them back (40 MB after a storm of pushes). Those that many pieces pass through
 * are smaller, or filled again (server/buffers): for them memory of the kernel would cost more than the work.
 */
export const productEnv = {
  UV_THREADPOOL_SIZE: '32',
  MALLOC_ARENA_MAX: '2',
  MALLOC_MMAP_THRESHOLD_: '262144',
};

/** The same with this process's own, which wins. */
export const launchEnv = { ...productEnv, ...process.env };
