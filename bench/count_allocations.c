/* Counts heap allocations of the process it is preloaded into, and of what that forks.
 *
 * MGW_COUNT_ALLOCATIONS names a file of at least 8 bytes; its first 8 are the counter, native byte order, and can be read
 * from outside at any time. malloc, calloc, aligned allocations and every realloc count one each; operator new calls
 * malloc. Needs glibc, whose own functions are called under their second names.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

extern void* __libc_malloc(size_t size);
extern void* __libc_calloc(size_t count, size_t size);
extern void* __libc_realloc(void* old, size_t size);
extern void* __libc_memalign(size_t alignment, size_t size);

static unsigned long long unseen;
static unsigned long long* counter = &unseen;

__attribute__((constructor)) static void open_counter(void) {
  char const* const name = getenv("MGW_COUNT_ALLOCATIONS");
  int const fd = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
  if (fd < 0) return;
  void* const shared = mmap(NULL, sizeof *counter, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (shared != MAP_FAILED) counter = shared;
  close(fd);
}

/* For a program that has this linked in. */
unsigned long long mgw_allocations(void) { return __atomic_load_n(counter, __ATOMIC_RELAXED); }

static void count(void) { __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED); }

void* malloc(size_t size) {
  count();
  return __libc_malloc(size);
}
void* calloc(size_t number, size_t size) {
  count();
  return __libc_calloc(number, size);
}
void* realloc(void* old, size_t size) {
  count();
  return __libc_realloc(old, size);
}
void* memalign(size_t alignment, size_t size) {
  count();
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }
int posix_memalign(void** out, size_t alignment, size_t size) {
  if (alignment < sizeof(void*) || (alignment & (alignment - 1)) != 0) return EINVAL;
  void* const made = memalign(alignment, size);
  if (made == NULL) return ENOMEM;
  *out = made;
  return 0;
}
