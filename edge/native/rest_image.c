#include "rest_image.h"

#include <stdlib.h>
#include <string.h>

#include "rest_state.h"

enum {
  START_SAMPLES = 20, /* mean pictures that the first learning keeps */
  START_LEAST = 8,    /* and needs, however slow the camera */
  TICK_FRAMES = 255,  /* a tick ends after so many frames at the latest: sums stay in 16 bits */
};

rest_image *rest_image_new(const rest_spec *spec, const uint8_t *inside) {
  rest_image *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  s->spec = *spec;
  s->width = spec->keys * spec->columns;
  s->pixels = spec->rows * s->width;
  size_t n = (size_t)s->pixels;
  s->inside = malloc(n);
  s->mean = malloc(n);
  s->hold = malloc(n);
  s->unmoved = malloc(n);
  s->need = malloc(n);
  s->sample = malloc(n * START_SAMPLES);
  s->rest = malloc(n * sizeof *s->rest);
  s->sum = malloc(n * sizeof *s->sum);
  s->flags = malloc(n);
  s->guard = malloc((size_t)s->width);
  s->column = malloc(4 * (size_t)s->width * sizeof *s->column);
  s->blocks = calloc((size_t)spec->keys, sizeof *s->blocks);
  if (!rest_octaves_new(&s->octaves, spec) || !s->inside || !s->mean || !s->hold || !s->unmoved || !s->need ||
      !s->sample || !s->rest || !s->sum || !s->flags || !s->guard || !s->column || !s->blocks) {
    rest_image_free(s);
    return NULL;
  }
  memcpy(s->inside, inside, n);
  for (int i = 0; i < s->pixels; i++) s->blocks[i % s->width / spec->columns].inside += inside[i] & 1;
  rest_image_reset(s);
  return s;
}

void rest_image_free(rest_image *s) {
  if (!s) return;
  rest_octaves_free(&s->octaves);
  free(s->inside);
  free(s->mean);
  free(s->hold);
  free(s->unmoved);
  free(s->need);
  free(s->sample);
  free(s->rest);
  free(s->sum);
  free(s->flags);
  free(s->guard);
  free(s->column);
  free(s->blocks);
  free(s);
}

void rest_image_reset(rest_image *s) {
  size_t n = (size_t)s->pixels;
  s->ready = s->stepped = false;
  s->first = true;
  s->samples = s->frames = 0;
  s->noise = 0;
  rest_light_reset(&s->light);
  memset(s->rest, 0, n * sizeof *s->rest);
  memset(s->unmoved, 0, n);
}

bool rest_image_ready(const rest_image *s) { return s->ready; }

void rest_image_get(const rest_image *s, uint8_t *pixels) {
  for (int i = 0; i < s->pixels; i++)
    pixels[i] = (uint8_t)rest_level(rest_lit(&s->light, s->rest[i])) & s->inside[i];
}

static void begin(rest_image *s) {
  rest_light_split(&s->light, &s->spec, s->rest, s->inside);
  s->octaves.row = 0;
  rest_octaves_update(&s->octaves, &s->spec, s->rest, s->inside, s->spec.rows);
  rest_octaves_update(&s->octaves, &s->spec, s->rest, s->inside,
                      s->spec.rows); /* now with the row below known */
  s->ready = true;
}

void rest_image_set(rest_image *s, const uint8_t *pixels) {
  rest_image_reset(s);
  for (int i = 0; i < s->pixels; i++) s->rest[i] = (uint16_t)((pixels[i] & s->inside[i]) << REST_BITS);
  memcpy(s->hold, pixels, (size_t)s->pixels);
  memset(s->need,
         rest_trusted(&s->spec, (int32_t)rest_limit((int32_t)(s->spec.start_ns / s->spec.tick_ns), 1, 255)),
         (size_t)s->pixels);
  begin(s);
}

/* In 16 bits, for speed: 1/64 levels, up to 375. */
void rest_image_difference(const rest_image *s, int row, const uint8_t *restrict luma, int8_t *restrict out) {
  const int width = s->width;
  const uint16_t *restrict rest = s->rest + (size_t)row * (size_t)s->width;
  const uint8_t *restrict inside = s->inside + (size_t)row * (size_t)s->width;
  const uint16_t gain = (uint16_t)s->light.gain;
  const int16_t offset = (int16_t)((s->light.offset >> 1) + REST_ONE / 4);
  for (int x = 0; x < width; x++) {
    uint16_t lit = (uint16_t)(((uint32_t)rest[x] * gain) >> 16);
    lit = lit > 24000 ? 24000 : lit;
    int16_t level = (int16_t)((int16_t)((int16_t)lit + offset) >> (REST_BITS - 1));
    level = level < 0 ? 0 : level;
    level = level > 255 ? 255 : level;
    int16_t difference = (int16_t)(luma[x] - level);
    difference = difference < -128 ? -128 : difference;
    difference = difference > 127 ? 127 : difference;
    out[x] = (int8_t)(difference & (int8_t)inside[x]);
  }
}

/* Per pixel, the middle of the shortest interval that holds half of the samples: the level the pixel most
 * often returns to, whatever passed over it (the half-sample mode, one step). */
static void learn_row(rest_image *s, int row) {
  const int n = s->samples, half = n / 2 + 1;
  const size_t plane = (size_t)s->pixels, first = (size_t)row * (size_t)s->width;
  uint8_t *sample = s->sample + first;
  for (int pass = 0; pass < n; pass++) /* odd-even transposition: sorts all pixels of the row side by side */
    for (int k = pass & 1; k + 1 < n; k += 2) {
      uint8_t *restrict a = sample + (size_t)k * plane, *restrict b = a + plane;
      for (int x = 0; x < s->width; x++) {
        uint8_t low = a[x] < b[x] ? a[x] : b[x], high = a[x] < b[x] ? b[x] : a[x];
        a[x] = low;
        b[x] = high;
      }
    }
  for (size_t x = 0; x < (size_t)s->width; x++) {
    int best = 0, narrowest = 256, sum = 0, agree = 0;
    for (int k = 0; k + half <= n; k++) {
      int spread = sample[(size_t)(k + half - 1) * plane + x] - sample[(size_t)k * plane + x];
      if (spread < narrowest) {
        narrowest = spread;
        best = k;
      }
    }
    for (int k = best; k < best + half; k++) sum += sample[(size_t)k * plane + x];
    for (int k = 0; k < n; k++)
      agree += rest_distance(sample[(size_t)k * plane + x], (sum + half / 2) / half) <= s->spec.still;
    s->rest[first + x] = (uint16_t)((sum * REST_ONE + half / 2) / half);
    s->need[first + x] = rest_trusted(&s->spec, agree);
  }
}

static void learn(rest_image *s) {
  memcpy(s->sample + (size_t)s->samples * (size_t)s->pixels, s->mean, (size_t)s->pixels);
  s->samples++;
  bool long_enough = s->last_ns - s->began_ns >= s->spec.start_ns && s->samples >= START_LEAST;
  if (s->samples < START_SAMPLES && !long_enough) return;
  for (int row = 0; row < s->spec.rows; row++) learn_row(s, row);
  memcpy(s->hold, s->mean, (size_t)s->pixels);
  begin(s);
}

static void finish_tick(rest_image *s, int64_t t_ns) {
  const int pixels = s->pixels;
  const uint32_t share = 65536u / (uint32_t)s->frames;
  for (int i = 0; i < pixels; i++) s->mean[i] = (uint8_t)((s->sum[i] * share + 32768u) >> 16);
  int64_t ticks = (t_ns - s->tick_ns) / s->spec.tick_ns;
  s->tick_ns = t_ns;
  s->frames = 0;
  if (s->ready) {
    rest_follow(s, (int32_t)(ticks < 1 ? 1 : ticks > 255 ? 255 : ticks));
  } else {
    learn(s);
  }
}

void rest_image_push(rest_image *s, const uint8_t *luma, int64_t t_ns) {
  if (s->first || t_ns < s->last_ns) { /* a clock that went back starts anew, but what was learnt stays */
    s->began_ns = s->tick_ns = t_ns;
    s->last_ns = t_ns - s->spec.light_ns;
    s->first = false;
  }
  int64_t elapsed = t_ns - s->last_ns;
  s->last_ns = t_ns;
  if (s->ready && rest_light_follow(&s->light, &s->spec, s->rest, s->inside, luma, elapsed)) {
    s->stepped = true; /* no mean over two lights, no level unmoved through it */
    s->tick_ns = t_ns;
    s->frames = 0;
  }
  if (s->frames == 0) memset(s->sum, 0, (size_t)s->pixels * sizeof *s->sum);
  for (int i = 0; i < s->pixels; i++) s->sum[i] = (uint16_t)(s->sum[i] + luma[i]);
  s->frames++;
  if (t_ns - s->tick_ns >= s->spec.tick_ns || s->frames == TICK_FRAMES) finish_tick(s, t_ns);
}
