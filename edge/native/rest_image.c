#include "rest_image.h"

#include <stdlib.h>
#include <string.h>

#include "rest_light.h"
#include "rest_octaves.h"

enum {
  START_SAMPLES = 20,   /* mean pictures that the first learning keeps */
  START_LEAST = 8,      /* and needs, however slow the camera */
  TICK_FRAMES = 255,    /* a tick ends after so many frames at the latest: sums stay in 16 bits */
  REST_MAX = 511 * REST_ONE,
  OCTAVE_TICKS = 16,    /* ticks in which all rows are compared with other octaves once */
  MOVED_PERMILLE = 100, /* share of a block's pixels that may move while its others recover */
  NOISE_WIDTH = 6,      /* medians of the absolute noise that count as unmoved: 4 standard deviations */
  NOISE_MOST = 12,      /* levels that noise may add to the thresholds */
};

typedef struct {
  int inside, changed, settled, moved; /* pixels; settled: changed, but unmoved since */
  int ghosts, covers;                  /* of the settled ones */
  bool busy;     /* something is pressed or covered */
  bool guarded;  /* it or a neighbour is busy */
  bool restless; /* something moves */
  bool haunted;  /* what settled proves the rest image wrong by other octaves */
  bool covered;  /* or is no key itself */
} block;

struct rest_image {
  rest_spec spec;
  int width, pixels;
  bool ready, first;
  bool stepped; /* the light did, since the last tick */
  int samples; /* of the first learning */
  int frames;  /* in the running tick */
  int64_t began_ns, tick_ns, last_ns;
  int32_t noise; /* levels added to the thresholds in a noisy picture */
  rest_light light;
  rest_octaves octaves;
  uint8_t *inside;  /* 255 or 0 */
  uint8_t *mean;    /* picture of the last tick */
  uint8_t *hold;    /* the level that a pixel stays near while it is unmoved ... */
  uint8_t *unmoved; /* ... for so many ticks */
  uint8_t *need;    /* ticks after which another level takes the place of the rest level */
  uint8_t *sample;  /* START_SAMPLES mean pictures */
  uint16_t *rest;   /* in 1/REST_ONE levels, with headroom above 255 */
  uint16_t *sum;    /* of the running tick */
  block *blocks;
};

static inline int32_t limit(int32_t v, int32_t low, int32_t high) { return v < low ? low : v > high ? high : v; }

static inline int32_t distance(int32_t a, int32_t b) { return a > b ? a - b : b - a; }

static inline int32_t level_of(int32_t rest) { return limit((rest + REST_ONE / 2) >> REST_BITS, 0, 255); }

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
  s->blocks = calloc((size_t)spec->keys, sizeof *s->blocks);
  if (!rest_octaves_new(&s->octaves, spec) || !s->inside || !s->mean || !s->hold || !s->unmoved || !s->need ||
      !s->sample || !s->rest || !s->sum || !s->blocks) {
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
  for (int i = 0; i < s->pixels; i++) pixels[i] = (uint8_t)level_of(rest_lit(&s->light, s->rest[i])) & s->inside[i];
}

/* Ticks unmoved that it takes to replace a level which was seen for `seen` ticks. */
static uint8_t trusted(const rest_spec *p, int32_t seen) {
  return (uint8_t)limit(p->trust * seen, p->replace, p->recover);
}

static void begin(rest_image *s) {
  rest_light_split(&s->light, &s->spec, s->rest, s->inside);
  s->octaves.row = 0;
  rest_octaves_update(&s->octaves, &s->spec, s->rest, s->inside, s->spec.rows);
  rest_octaves_update(&s->octaves, &s->spec, s->rest, s->inside, s->spec.rows); /* now with the row below known */
  s->ready = true;
}

void rest_image_set(rest_image *s, const uint8_t *pixels) {
  rest_image_reset(s);
  for (int i = 0; i < s->pixels; i++) s->rest[i] = (uint16_t)((pixels[i] & s->inside[i]) << REST_BITS);
  memcpy(s->hold, pixels, (size_t)s->pixels);
  memset(s->need, trusted(&s->spec, (int32_t)limit((int32_t)(s->spec.start_ns / s->spec.tick_ns), 1, 255)),
         (size_t)s->pixels);
  begin(s);
}

void rest_image_difference(const rest_image *s, int row, const uint8_t *restrict luma, int8_t *restrict out) {
  const uint16_t *restrict rest = s->rest + (size_t)row * (size_t)s->width;
  const uint8_t *restrict inside = s->inside + (size_t)row * (size_t)s->width;
  const rest_light light = s->light;
  for (int x = 0; x < s->width; x++) {
    int32_t difference = limit(luma[x] - level_of(rest_lit(&light, rest[x])), -128, 127);
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
      agree += distance(sample[(size_t)k * plane + x], (sum + half / 2) / half) <= s->spec.still;
    s->rest[first + x] = (uint16_t)((sum * REST_ONE + half / 2) / half);
    s->need[first + x] = trusted(&s->spec, agree);
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

/* Make the present light the light of the rest image. */
static void fold_light(rest_image *s) {
  for (int i = 0; i < s->pixels; i++) s->rest[i] = (uint16_t)limit(rest_lit(&s->light, s->rest[i]), 0, REST_MAX);
  rest_light_reset(&s->light);
  rest_light_split(&s->light, &s->spec, s->rest, s->inside);
}

/* How much unmoved pixels differ from tick to tick; in a dim room far more than in a bright one. */
static void judge_noise(rest_image *s) {
  int32_t histogram[256] = {0}, count = 0, before = 0, median = 0;
  for (int y = s->spec.back_first; y < s->spec.back_end; y += GRID_ROWS)
    for (int x = 0; x < s->width; x += GRID_COLUMNS) {
      int i = y * s->width + x;
      histogram[distance(s->mean[i], s->hold[i])] += s->inside[i] & 1;
      count += s->inside[i] & 1;
    }
  while (median < 255 && 2 * (before += histogram[median]) < count) median++;
  s->noise = limit(NOISE_WIDTH * median - s->spec.still, 0, NOISE_MOST);
}

/* Levels by which a pixel must be off what other octaves show to prove it no key. */
static int32_t proof(const rest_image *s) { return (s->spec.busy + s->noise) * 3 / 2; }

/* What is seen now, unmoved, is a key. */
static inline bool is_usual(const rest_image *s, int k, int i) {
  return s->unmoved[i] >= s->spec.settle &&
         rest_strangeness(&s->octaves, &s->spec, k, i, s->mean[i]) <= s->spec.still;
}

/* And the rest is none: a parked hand was learnt. */
static inline bool is_ghost(const rest_image *s, int k, int i, int32_t margin) {
  return is_usual(s, k, i) &&
         rest_strangeness(&s->octaves, &s->spec, k, i, level_of(s->rest[i])) >= margin;
}

/* The rest is a key, what is seen now is none. */
static inline bool is_cover(const rest_image *s, int k, int i, int32_t margin) {
  return s->unmoved[i] >= s->spec.settle &&
         rest_strangeness(&s->octaves, &s->spec, k, i, s->mean[i]) >= margin &&
         rest_strangeness(&s->octaves, &s->spec, k, i, level_of(s->rest[i])) <= s->spec.still;
}

/* Judge every block, and whether the whole scene has changed. */
static bool judge_blocks(rest_image *s) {
  const rest_spec *p = &s->spec;
  const int32_t busy = p->busy + s->noise, margin = proof(s);
  int busy_blocks = 0, seen = 0;
  for (int k = 0; k < p->keys; k++) {
    block *b = &s->blocks[k];
    b->changed = b->settled = b->moved = b->ghosts = b->covers = 0;
  }
  for (int y = 0; y < p->rows; y++) {
    for (int k = 0; k < p->keys; k++) {
      block *b = &s->blocks[k];
      int first = y * s->width + k * p->columns, far = 0, moved = 0, settled = 0;
      for (int i = first; i < first + p->columns; i++) {
        int is_far = (distance(s->mean[i], level_of(s->rest[i])) > busy) & s->inside[i];
        int is_moved = (s->unmoved[i] < p->settle) & s->inside[i];
        far += is_far;
        moved += is_moved;
        settled += is_far & ~is_moved;
      }
      for (int i = first; settled && i < first + p->columns; i++) {
        b->ghosts += is_ghost(s, k, i, margin) & s->inside[i];
        b->covers += is_cover(s, k, i, margin) & s->inside[i];
      }
      b->moved += moved;
      b->settled += settled;
      b->changed += far;
    }
  }
  for (int k = 0; k < p->keys; k++) {
    block *b = &s->blocks[k];
    b->busy = b->changed * 1000 > b->inside * p->busy_permille;
    b->restless = b->moved * 1000 > b->inside * MOVED_PERMILLE;
    b->haunted = b->ghosts * 1000 > b->inside * p->ghost_permille && 4 * b->ghosts > b->settled;
    b->covered = b->covers * 1000 > b->inside * p->ghost_permille && 4 * b->covers > b->settled;
    busy_blocks += b->busy;
    seen += b->inside > 0;
  }
  for (int k = 0; k < p->keys; k++) /* the blocks beside a busy one see the same key's side */
    s->blocks[k].guarded =
        s->blocks[k].busy || (k > 0 && s->blocks[k - 1].busy) || (k + 1 < p->keys && s->blocks[k + 1].busy);
  return busy_blocks * 1000 > seen * p->scene_permille;
}

static bool is_replaced(const rest_image *s, int k, int i, bool scene) {
  const block *b = &s->blocks[k];
  if (b->haunted && is_usual(s, k, i)) return true;
  if (s->unmoved[i] < s->spec.replace) return false;
  if (scene) return true;
  if (s->unmoved[i] < s->need[i] || b->restless) return false;
  return s->unmoved[i] >= s->spec.recover || !b->covered;
}

static void keep_up(rest_image *s, int32_t ticks) {
  const rest_spec *p = &s->spec;
  fold_light(s);
  if (s->stepped) memcpy(s->hold, s->mean, (size_t)s->pixels);
  if (s->stepped) memset(s->unmoved, 0, (size_t)s->pixels);
  s->stepped = false;
  judge_noise(s);
  const int32_t rate = limit(65536 / p->follow * ticks, 1, 65536);
  const int32_t near = (p->near + s->noise) * REST_ONE, still = p->still + s->noise;
  for (int i = 0; i < s->pixels; i++) {
    int32_t mean = s->mean[i], hold = s->hold[i];
    bool held = distance(mean, hold) <= still;
    s->unmoved[i] = (uint8_t)(held ? limit(s->unmoved[i] + ticks, 0, 255) : 0);
    s->hold[i] = (uint8_t)(held ? (3 * hold + mean + 2) >> 2 : mean);
  }
  const bool scene = judge_blocks(s);
  for (int y = 0; y < p->rows; y++)
    for (int k = 0; k < p->keys; k++) {
      const bool guarded = s->blocks[k].guarded;
      int first = y * s->width + k * p->columns;
      for (int i = first; i < first + p->columns; i++) {
        if (s->unmoved[i] < p->settle) continue;
        int32_t step = s->mean[i] * REST_ONE - s->rest[i];
        if (!guarded && distance(step, 0) <= near) {
          s->rest[i] = (uint16_t)(s->rest[i] + ((step * rate + 32768) >> 16));
          s->need[i] = (uint8_t)limit(s->need[i] + p->trust * ticks, 0, p->recover);
        } else if (is_replaced(s, k, i, scene)) {
          s->rest[i] = (uint16_t)(s->mean[i] * REST_ONE);
          s->need[i] = trusted(p, s->unmoved[i]);
        }
      }
    }
  rest_octaves_update(&s->octaves, p, s->rest, s->inside, (p->rows + OCTAVE_TICKS - 1) / OCTAVE_TICKS);
}

static void finish_tick(rest_image *s, int64_t t_ns) {
  const uint32_t share = 65536u / (uint32_t)s->frames;
  for (int i = 0; i < s->pixels; i++) s->mean[i] = (uint8_t)((s->sum[i] * share + 32768u) >> 16);
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
