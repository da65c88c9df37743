#include "rest_image.h"

#include <stdlib.h>
#include <string.h>

enum {
  START_SAMPLES = 20,   /* mean pictures that the first learning keeps */
  START_LEAST = 8,      /* and needs, however slow the camera */
  TICK_FRAMES = 255,    /* a tick ends after so many frames at the latest: sums stay in 16 bits */
  GRID_ROWS = 2,        /* light is judged on every second row ... */
  GRID_COLUMNS = 5,     /* ... and fifth column, which visits all columns of a block in turn */
  GROUP_LEAST = 64,     /* pixels needed for a median */
  CLIPPED = 252,        /* brighter pixels say nothing about the light */
  BINS = 768,           /* differences -512..255 */
  REST_MAX = 511 * REST_ONE,
};

struct rest_image {
  rest_spec spec;
  int width, pixels;
  bool ready, first;
  int samples;           /* of the first learning */
  int frames;            /* in the running tick */
  int64_t began_ns, tick_ns, last_ns;
  int32_t gain, offset;  /* present light = rest * gain / GAIN_ONE + offset (1/REST_ONE levels) */
  int32_t split;         /* mean rest level of the grid: parts bright from dark */
  uint8_t *inside, *mean, *hold, *unmoved, *need, *sample;
  uint16_t *rest, *sum;
  uint16_t *block_inside, *block_changed;
  uint8_t *guarded;
  uint16_t histogram[2][BINS];
};

static inline int32_t limit(int32_t v, int32_t low, int32_t high) { return v < low ? low : v > high ? high : v; }

static inline int32_t distance(int32_t a, int32_t b) { return a > b ? a - b : b - a; }

static inline uint8_t rest_level(uint16_t rest) {
  uint32_t level = (rest + REST_ONE / 2u) >> REST_BITS;
  return (uint8_t)(level > 255 ? 255 : level);
}

rest_image *rest_image_new(const rest_spec *spec, const uint8_t *inside) {
  rest_image *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  s->spec = *spec;
  s->width = spec->keys * spec->columns;
  s->pixels = spec->rows * s->width;
  size_t n = (size_t)s->pixels, keys = (size_t)spec->keys;
  s->inside = malloc(n);
  s->mean = malloc(n);
  s->hold = malloc(n);
  s->unmoved = malloc(n);
  s->need = malloc(n);
  s->sample = malloc(n * START_SAMPLES);
  s->rest = malloc(n * sizeof *s->rest);
  s->sum = malloc(n * sizeof *s->sum);
  s->block_inside = calloc(keys, sizeof *s->block_inside);
  s->block_changed = calloc(keys, sizeof *s->block_changed);
  s->guarded = malloc(keys);
  if (!s->inside || !s->mean || !s->hold || !s->unmoved || !s->need || !s->sample || !s->rest || !s->sum ||
      !s->block_inside || !s->block_changed || !s->guarded) {
    rest_image_free(s);
    return NULL;
  }
  memcpy(s->inside, inside, n);
  for (int i = 0; i < s->pixels; i++) s->block_inside[i % s->width / spec->columns] += inside[i] & 1;
  rest_image_reset(s);
  return s;
}

void rest_image_free(rest_image *s) {
  if (!s) return;
  free(s->inside);
  free(s->mean);
  free(s->hold);
  free(s->unmoved);
  free(s->need);
  free(s->sample);
  free(s->rest);
  free(s->sum);
  free(s->block_inside);
  free(s->block_changed);
  free(s->guarded);
  free(s);
}

void rest_image_reset(rest_image *s) {
  size_t n = (size_t)s->pixels;
  s->ready = false;
  s->first = true;
  s->samples = s->frames = 0;
  s->gain = GAIN_ONE;
  s->offset = 0;
  s->split = 0;
  memset(s->rest, 0, n * sizeof *s->rest);
  memset(s->sum, 0, n * sizeof *s->sum);
  memset(s->unmoved, 0, n);
  memset(s->hold, 0, n);
  memset(s->need, limit(s->spec.provisional, 1, 255), n);
}

bool rest_image_ready(const rest_image *s) { return s->ready; }

void rest_image_get(const rest_image *s, uint8_t *pixels) {
  for (int i = 0; i < s->pixels; i++) {
    int32_t level = (int32_t)(((uint32_t)s->rest[i] * (uint32_t)s->gain) >> 15) + s->offset;
    pixels[i] = s->inside[i] & rest_level((uint16_t)limit(level, 0, REST_MAX));
  }
}

static void find_split(rest_image *s) {
  int64_t sum = 0, count = 0;
  for (int y = s->spec.back_first; y < s->spec.back_end; y += GRID_ROWS)
    for (int x = 0; x < s->width; x += GRID_COLUMNS) {
      int i = y * s->width + x;
      sum += s->inside[i] ? s->rest[i] : 0;
      count += s->inside[i] & 1;
    }
  s->split = count ? (int32_t)(sum / count) : 0;
}

void rest_image_set(rest_image *s, const uint8_t *pixels) {
  rest_image_reset(s);
  for (int i = 0; i < s->pixels; i++) s->rest[i] = (uint16_t)((pixels[i] & s->inside[i]) << REST_BITS);
  find_split(s);
  s->ready = true;
}

/* Median of one group's differences, in 1/REST_ONE levels, interpolated inside its bin. */
static int32_t median(const uint16_t *histogram, int32_t count) {
  int32_t before = 0;
  for (int bin = 0; bin < BINS; bin++) {
    int32_t here = histogram[bin];
    if (2 * (before + here) >= count && here) {
      return (bin - 512) * REST_ONE - REST_ONE / 2 + (count - 2 * before) * (REST_ONE / 2) / here;
    }
    before += here;
  }
  return 0;
}

/* Fit present = rest * gain + offset through two robust points: the medians of the bright (white keys) and of
 * the dark pixels (black keys, gaps) of the back rows. A step is taken at once, a drift smoothly. */
static void follow_light(rest_image *s, const uint8_t *luma, int64_t elapsed_ns) {
  int32_t count[2] = {0, 0};
  int64_t level[2] = {0, 0};
  memset(s->histogram, 0, sizeof s->histogram);
  for (int y = s->spec.back_first; y < s->spec.back_end; y += GRID_ROWS)
    for (int x = 0; x < s->width; x += GRID_COLUMNS) {
      int i = y * s->width + x;
      int32_t rest = (s->rest[i] + REST_ONE / 2) >> REST_BITS;
      if (!s->inside[i] || luma[i] >= CLIPPED || rest >= CLIPPED) continue;
      int bright = s->rest[i] >= s->split;
      s->histogram[bright][luma[i] - rest + 512]++;
      level[bright] += s->rest[i];
      count[bright]++;
    }
  int32_t gain = GAIN_ONE, offset = 0;
  int32_t dark_level = count[0] ? (int32_t)(level[0] / count[0]) : 0;
  int32_t bright_level = count[1] ? (int32_t)(level[1] / count[1]) : 0;
  int32_t dark = count[0] >= GROUP_LEAST ? median(s->histogram[0], count[0]) : 0;
  int32_t bright = count[1] >= GROUP_LEAST ? median(s->histogram[1], count[1]) : 0;
  if (count[0] >= GROUP_LEAST && count[1] >= GROUP_LEAST && bright_level - dark_level >= 30 * REST_ONE) {
    gain += (int32_t)((int64_t)(bright - dark) * GAIN_ONE / (bright_level - dark_level));
    gain = limit(gain, GAIN_ONE / 4, 2 * GAIN_ONE - 1);
    offset = dark - (int32_t)((int64_t)(gain - GAIN_ONE) * dark_level / GAIN_ONE);
  } else if (count[1] >= GROUP_LEAST) {
    gain = limit(gain + (int32_t)((int64_t)bright * GAIN_ONE / (bright_level + 1)), GAIN_ONE / 4, 2 * GAIN_ONE - 1);
  } else if (count[0] >= GROUP_LEAST) {
    offset = dark;
  } else {
    return; /* too little to see: keep the light we know */
  }
  offset = limit(offset, -128 * REST_ONE, 128 * REST_ONE);
  int32_t step_gain = gain - s->gain, step_offset = offset - s->offset;
  int32_t at_dark = (int32_t)((int64_t)step_gain * dark_level / GAIN_ONE) + step_offset;
  int32_t at_bright = (int32_t)((int64_t)step_gain * bright_level / GAIN_ONE) + step_offset;
  int32_t jump = s->spec.jump * REST_ONE;
  if (distance(at_dark, 0) > jump || distance(at_bright, 0) > jump || elapsed_ns >= s->spec.light_ns) {
    s->gain = gain;
    s->offset = offset;
  } else {
    s->gain += (int32_t)(step_gain * elapsed_ns / s->spec.light_ns);
    s->offset += (int32_t)(step_offset * elapsed_ns / s->spec.light_ns);
  }
}

void rest_image_difference(const rest_image *s, int row, const uint8_t *restrict luma, int8_t *restrict out) {
  const uint16_t *restrict rest = s->rest + (size_t)row * (size_t)s->width;
  const uint8_t *restrict inside = s->inside + (size_t)row * (size_t)s->width;
  const uint32_t gain = (uint32_t)s->gain;
  const int32_t offset = s->offset + REST_ONE / 2;
  for (int x = 0; x < s->width; x++) {
    int32_t level = ((int32_t)((rest[x] * gain) >> 15) + offset) >> REST_BITS;
    int32_t difference = limit(luma[x] - limit(level, 0, 255), -128, 127);
    out[x] = (int8_t)(difference & (int8_t)inside[x]);
  }
}

/* Make the present light the light of the rest image. */
static void fold_light(rest_image *s) {
  if (s->gain == GAIN_ONE && s->offset == 0) return;
  for (int i = 0; i < s->pixels; i++) {
    int32_t level = (int32_t)(((uint32_t)s->rest[i] * (uint32_t)s->gain) >> 15) + s->offset;
    s->rest[i] = (uint16_t)limit(level, 0, REST_MAX);
  }
  s->gain = GAIN_ONE;
  s->offset = 0;
  find_split(s);
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
  for (int x = 0; x < s->width; x++) {
    int best = 0, spread = 256, sum = 0, agree = 0;
    for (int k = 0; k + half <= n; k++) {
      int here = sample[(size_t)(k + half - 1) * plane + (size_t)x] - sample[(size_t)k * plane + (size_t)x];
      if (here < spread) spread = here, best = k;
    }
    for (int k = best; k < best + half; k++) sum += sample[(size_t)k * plane + (size_t)x];
    int level = (sum + half / 2) / half;
    for (int k = 0; k < n; k++)
      agree += distance(sample[(size_t)k * plane + (size_t)x], level) <= s->spec.still;
    s->rest[first + (size_t)x] = (uint16_t)((sum * REST_ONE + half / 2) / half);
    /* a level seen nearly all the time is trusted; one that had to be guessed may be corrected soon */
    int need = 5 * agree >= 4 * n ? s->spec.recover : s->spec.provisional;
    s->need[first + (size_t)x] = (uint8_t)limit(need, 1, 255);
  }
}

static void learn(rest_image *s) {
  memcpy(s->sample + (size_t)s->samples * (size_t)s->pixels, s->mean, (size_t)s->pixels);
  s->samples++;
  bool long_enough = s->last_ns - s->began_ns >= s->spec.start_ns && s->samples >= START_LEAST;
  if (s->samples < START_SAMPLES && !long_enough) return;
  for (int row = 0; row < s->spec.rows; row++) learn_row(s, row);
  memcpy(s->hold, s->mean, (size_t)s->pixels);
  memset(s->unmoved, 0, (size_t)s->pixels);
  find_split(s);
  s->ready = true;
}

/* Find blocks where something is pressed or covered, and whether the whole scene has changed. */
static bool judge_blocks(rest_image *s) {
  const rest_spec *p = &s->spec;
  int64_t changed = 0, seen = 0;
  memset(s->block_changed, 0, (size_t)p->keys * sizeof *s->block_changed);
  for (int y = 0; y < p->rows; y++) {
    bool back = y >= p->back_first && y < p->back_end;
    for (int k = 0; k < p->keys; k++) {
      int i = y * s->width + k * p->columns, far = 0, here = 0;
      for (int x = i; x < i + p->columns; x++) {
        far += (distance(s->mean[x], rest_level(s->rest[x])) > p->busy) & s->inside[x];
        here += s->inside[x] & 1;
      }
      s->block_changed[k] = (uint16_t)(s->block_changed[k] + far);
      changed += back ? far : 0;
      seen += back ? here : 0;
    }
  }
  for (int k = 0; k < p->keys; k++)
    s->guarded[k] = s->block_changed[k] * 1000 > s->block_inside[k] * p->busy_permille;
  for (int k = 0, left = 0; k < p->keys; k++) { /* and the blocks beside them, which see the same key's side */
    int own = s->guarded[k] & 1, right = k + 1 < p->keys ? s->guarded[k + 1] & 1 : 0;
    s->guarded[k] = (uint8_t)(left | own | right ? 255 : 0);
    left = own;
  }
  return seen && changed * 1000 > seen * p->scene_permille;
}

static void keep_up(rest_image *s, int32_t ticks) {
  const rest_spec *p = &s->spec;
  fold_light(s);
  bool scene = judge_blocks(s);
  int32_t rate = limit(65536 / p->follow * ticks, 1, 65536);
  for (int y = 0; y < p->rows; y++)
    for (int k = 0; k < p->keys; k++) {
      bool guarded = s->guarded[k];
      int first = y * s->width + k * p->columns;
      for (int i = first; i < first + p->columns; i++) {
        int32_t mean = s->mean[i], hold = s->hold[i];
        int32_t unmoved = distance(mean, hold) <= p->still ? limit(s->unmoved[i] + ticks, 0, 255) : 0;
        s->hold[i] = (uint8_t)((3 * hold + mean + 2) >> 2);
        int32_t need = scene && s->need[i] > p->scene ? p->scene : s->need[i];
        int32_t step = mean * REST_ONE - s->rest[i];
        bool at_rest = !guarded && unmoved >= p->settle && distance(step, 0) <= p->near * REST_ONE;
        bool replaced = unmoved >= need;
        if (replaced) {
          s->rest[i] = (uint16_t)(mean * REST_ONE);
          need = p->recover;
        } else if (at_rest) {
          s->rest[i] = (uint16_t)(s->rest[i] + ((step * rate + 32768) >> 16));
        }
        s->need[i] = (uint8_t)need;
        s->unmoved[i] = (uint8_t)unmoved;
      }
    }
}

static void finish_tick(rest_image *s, int64_t t_ns) {
  const uint32_t share = 65536u / (uint32_t)s->frames;
  for (int i = 0; i < s->pixels; i++) {
    s->mean[i] = (uint8_t)((s->sum[i] * share + 32768u) >> 16);
    s->sum[i] = 0;
  }
  int64_t ticks = (t_ns - s->tick_ns) / s->spec.tick_ns;
  s->tick_ns = t_ns;
  s->frames = 0;
  if (s->ready) {
    keep_up(s, (int32_t)(ticks < 1 ? 1 : ticks > 255 ? 255 : ticks));
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
  for (int i = 0; i < s->pixels; i++) s->sum[i] = (uint16_t)(s->sum[i] + luma[i]);
  s->frames++;
  if (s->ready) follow_light(s, luma, elapsed);
  if (t_ns - s->tick_ns >= s->spec.tick_ns || s->frames == TICK_FRAMES) finish_tick(s, t_ns);
}
