#include "strip.h"

#include <stdlib.h>
#include <string.h>

#include "strip_kernels.h"

struct strip {
  int rows, columns, pixels, height;
  int seen;         /* differences in the ring, at most STRIP_FRAMES */
  int newest;       /* plane of the ring written last */
  ptrdiff_t stride; /* the one that `base` was made for */
  uint16_t *corner;
  int32_t *base;    /* offset of each patch */
  uint8_t *weights; /* 16 per pixel, or 4 in rows whose patches are all 2 x 2 */
  uint8_t *narrow;  /* (rows) 1: such a row */
  uint8_t *inside, *luma;
  int8_t *ring; /* STRIP_FRAMES planes */
  rest_image *rest;
};

strip *strip_new(const rest_spec *spec, int width, int height, const uint16_t *corner,
                 const uint8_t *weights) {
  strip *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  s->rows = spec->rows;
  s->columns = spec->keys * spec->columns;
  s->pixels = s->rows * s->columns;
  s->height = height;
  size_t n = (size_t)s->pixels;
  s->corner = malloc(2 * n * sizeof *s->corner);
  s->base = malloc(n * sizeof *s->base);
  s->weights = calloc(n, STRIP_TAPS);
  s->narrow = calloc((size_t)s->rows, 1);
  s->inside = calloc(n, 1);
  s->luma = calloc(n, 1);
  s->ring = calloc(n, STRIP_FRAMES);
  bool fits = s->corner && s->base && s->weights && s->narrow && s->inside && s->luma && s->ring;
  for (size_t i = 0; fits && i < n; i++)
    fits = corner[2 * i] + STRIP_PATCH <= width && corner[2 * i + 1] + STRIP_PATCH <= height;
  if (!fits) {
    strip_free(s);
    return NULL;
  }
  memcpy(s->corner, corner, 2 * n * sizeof *corner);
  for (int row = 0; row < s->rows; row++) {
    const uint8_t *from = weights + (size_t)row * (size_t)s->columns * STRIP_TAPS;
    uint8_t *to = s->weights + (size_t)row * (size_t)s->columns * STRIP_TAPS;
    bool narrow = true;
    for (int x = 0; x < s->columns; x++) {
      const uint8_t *w = from + x * STRIP_TAPS;
      int outer = w[2] | w[3] | w[6] | w[7], all = 0;
      for (int k = 0; k < STRIP_TAPS; k++) all |= w[k], outer |= k >= 8 ? w[k] : 0;
      narrow &= !outer;
      s->inside[row * s->columns + x] = all ? 255 : 0;
    }
    s->narrow[row] = narrow;
    for (int x = 0; x < s->columns; x++) {
      const uint8_t *w = from + x * STRIP_TAPS;
      uint8_t four[4] = {w[0], w[1], w[4], w[5]};
      if (narrow)
        memcpy(to + x * 4, four, 4);
      else
        memcpy(to + x * STRIP_TAPS, w, STRIP_TAPS);
    }
  }
  s->rest = rest_image_new(spec, s->inside);
  if (!s->rest) {
    strip_free(s);
    return NULL;
  }
  strip_reset(s);
  return s;
}

void strip_free(strip *s) {
  if (!s) return;
  free(s->corner);
  free(s->base);
  free(s->weights);
  free(s->narrow);
  free(s->inside);
  free(s->luma);
  free(s->ring);
  rest_image_free(s->rest);
  free(s);
}

void strip_reset(strip *s) {
  s->seen = 0;
  s->newest = STRIP_FRAMES - 1;
  rest_image_reset(s->rest);
}

rest_image *strip_rest(strip *s) { return s->rest; }
const uint8_t *strip_luma(const strip *s) { return s->luma; }

static void rectify(strip *s, const uint8_t *luma, ptrdiff_t stride) {
  if (stride != s->stride) {
    for (int i = 0; i < s->pixels; i++)
      s->base[i] = (int32_t)(s->corner[2 * i] + s->corner[2 * i + 1] * stride);
    s->stride = stride;
  }
  for (int row = 0; row < s->rows; row++) {
    size_t first = (size_t)row * (size_t)s->columns;
    const uint8_t *weights = s->weights + first * STRIP_TAPS;
    if (s->narrow[row])
      gather_narrow(luma, stride, s->base + first, weights, s->luma + first, s->columns);
    else
      gather_wide(luma, stride, s->base + first, weights, s->luma + first, s->columns);
  }
}

static bool complete(strip *s, int64_t t_ns, int8_t *out) {
  rest_image_push(s->rest, s->luma, t_ns);
  if (!rest_image_ready(s->rest)) return false;
  s->newest = (s->newest + 1) % STRIP_FRAMES;
  if (s->seen < STRIP_FRAMES) s->seen++;
  for (int row = 0; row < s->rows; row++) {
    size_t first = (size_t)row * (size_t)s->columns;
    const int8_t *plane[STRIP_FRAMES];
    for (int age = 0; age < STRIP_FRAMES; age++)
      plane[age] = s->ring + (size_t)((s->newest + 1 + age) % STRIP_FRAMES) * (size_t)s->pixels + first;
    rest_image_difference(s->rest, row, s->luma + first, (int8_t *)plane[STRIP_FRAMES - 1]);
    if (s->seen == STRIP_FRAMES)
      interleave(plane, s->luma + first, s->inside + first, out + first * STRIP_CHANNELS, s->columns);
  }
  return s->seen == STRIP_FRAMES;
}

bool strip_push(strip *s, const uint8_t *luma, ptrdiff_t stride, int64_t t_ns, int8_t *out) {
  rectify(s, luma, stride);
  return complete(s, t_ns, out);
}

bool strip_push_rectified(strip *s, const uint8_t *luma, int64_t t_ns, int8_t *out) {
  for (int i = 0; i < s->pixels; i++) s->luma[i] = luma[i] & s->inside[i];
  return complete(s, t_ns, out);
}
