/* Linked into replay with --wrap for every name here, it counts the calls of the per-hop and per-frame path,
 * the allocations made within them and those made elsewhere, and tells the three on stderr. */
#include <stdio.h>
#include <stdlib.h>

#include "audio_frontend.h"
#include "resample.h"
#include "strip.h"

static bool inside;
static size_t calls, allocations, others;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void __real_audio_frontend_push(audio_frontend *f, const float *samples, size_t count, int8_t *bins,
                                float *level);
bool __real_strip_push(strip *s, const uint8_t *luma, ptrdiff_t stride, int64_t t_ns, int8_t *out);
void __real_resample(const float *x, const float *filter, int taps, int64_t up, int64_t down, int64_t first,
                     float *out, size_t count);

static void note(void) { inside ? ++allocations : ++others; }

void *__wrap_malloc(size_t size) {
  note();
  return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
  note();
  return __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size) {
  note();
  return __real_realloc(memory, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size) {
  note();
  return __real_aligned_alloc(alignment, size);
}

void __wrap_audio_frontend_push(audio_frontend *f, const float *samples, size_t count, int8_t *bins,
                                float *level) {
  ++calls;
  inside = true;
  __real_audio_frontend_push(f, samples, count, bins, level);
  inside = false;
}

bool __wrap_strip_push(strip *s, const uint8_t *luma, ptrdiff_t stride, int64_t t_ns, int8_t *out) {
  ++calls;
  inside = true;
  const bool done = __real_strip_push(s, luma, stride, t_ns, out);
  inside = false;
  return done;
}

void __wrap_resample(const float *x, const float *filter, int taps, int64_t up, int64_t down, int64_t first,
                     float *out, size_t count) {
  ++calls;
  inside = true;
  __real_resample(x, filter, taps, up, down, first, out, count);
  inside = false;
}

__attribute__((destructor)) static void tell(void) {
  fprintf(stderr, "%zu %zu %zu\n", calls, allocations, others);
}
