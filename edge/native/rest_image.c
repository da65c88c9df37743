#include "rest_image.h"

#include <stdlib.h>
#include <string.h>

#include "rest_light.h"
#include "rest_octaves.h"

enum {
  START_SAMPLES = 20, /* mean pictures that the first learning keeps */
  START_LEAST = 8,    /* and needs, however slow the camera */
  TICK_FRAMES = 255,  /* a tick ends after so many frames at the latest: sums stay in 16 bits */
  REST_MAX = 511 * REST_ONE,
  OCTAVE_TICKS = 16,    /* ticks in which all rows are compared with other octaves once */
  MOVED_PERMILLE = 100, /* share of a block's pixels that may move while its others recover */
  NOISE_WIDTH = 6,      /* medians of the absolute noise that count as unmoved: 4 standard deviations */
  NOISE_MOST = 12,      /* levels that noise may add to the thresholds */
};

/* FAR: changed from the rest; MOVED: lately; OFF: unmoved, but too far from the rest to be followed */
enum { FAR = 1, MOVED = 2, OFF = 4 };

typedef struct {
  int inside, changed, settled, moved, off; /* pixels; settled: changed, but unmoved since */
  int ghosts, covers;                       /* of the settled ones */
  bool busy;                                /* something is pressed or covered */
  bool restless;                            /* something moves */
  bool haunted;                             /* what settled proves the rest image wrong by other octaves */
  bool covered;                             /* or is no key itself */
} block;

struct rest_image {
  rest_spec spec;
  int width, pixels;
  bool ready, first;
  bool stepped; /* the light did, since the last tick */
  int samples;  /* of the first learning */
  int frames;   /* in the running tick */
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
  uint8_t *flags;   /* FAR, MOVED, OFF */
  uint8_t *guard;   /* (width) 255 in guarded blocks */
  uint16_t *column; /* (4, width) counts of far, moved, settled, off pixels */
  block *blocks;
};

static inline int32_t limit(int32_t v, int32_t low, int32_t high) {
  return v < low ? low : v > high ? high : v;
}

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
    pixels[i] = (uint8_t)level_of(rest_lit(&s->light, s->rest[i])) & s->inside[i];
}

/* Ticks unmoved that it takes to replace a level which was seen for `seen` ticks. */
static uint8_t trusted(const rest_spec *p, int32_t seen) {
  return (uint8_t)limit(p->trust * seen, p->replace, p->recover);
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
  memset(s->need, trusted(&s->spec, (int32_t)limit((int32_t)(s->spec.start_ns / s->spec.tick_ns), 1, 255)),
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
  const int pixels = s->pixels;
  if (s->light.gain == GAIN_ONE && s->light.offset == 0) return;
  for (int i = 0; i < pixels; i++) s->rest[i] = (uint16_t)limit(rest_lit(&s->light, s->rest[i]), 0, REST_MAX);
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
  return is_usual(s, k, i) && rest_strangeness(&s->octaves, &s->spec, k, i, level_of(s->rest[i])) >= margin;
}

/* The rest is a key, what is seen now is none. */
static inline bool is_cover(const rest_image *s, int k, int i, int32_t margin) {
  return s->unmoved[i] >= s->spec.settle &&
         rest_strangeness(&s->octaves, &s->spec, k, i, s->mean[i]) >= margin &&
         rest_strangeness(&s->octaves, &s->spec, k, i, level_of(s->rest[i])) <= s->spec.still;
}

/* How long every pixel is unmoved, how far from the rest. Bytes throughout, so that compilers vectorize it.
 */
static void judge_pixels(rest_image *s, int32_t ticks) {
  const int pixels = s->pixels;
  const uint8_t still = (uint8_t)(s->spec.still + s->noise), near = (uint8_t)(s->spec.near + s->noise);
  const uint8_t busy = (uint8_t)(s->spec.busy + s->noise), settle = (uint8_t)s->spec.settle;
  const uint8_t step = (uint8_t)ticks, most = (uint8_t)(255 - step);
  uint8_t *restrict hold = s->hold, *restrict unmoved = s->unmoved, *restrict flags = s->flags;
  const uint8_t *restrict mean = s->mean, *restrict inside = s->inside;
  const uint16_t *restrict rest = s->rest;
  for (int i = 0; i < pixels; i++) {
    uint16_t level = (uint16_t)((uint16_t)(rest[i] + REST_ONE / 2) >> REST_BITS);
    flags[i] = (uint8_t)(level > 255 ? 255 : level);
  }
  for (int i = 0; i < pixels; i++) {
    uint8_t m = mean[i], h = hold[i], level = flags[i];
    uint8_t shift = (uint8_t)(m > h ? m - h : h - m), away = (uint8_t)(m > level ? m - level : level - m);
    uint8_t longer = unmoved[i] > most ? 255 : (uint8_t)(unmoved[i] + step);
    uint8_t since = shift <= still ? longer : 0;
    uint8_t is_far = away > busy ? FAR : 0, is_off = away > near ? OFF : 0;
    unmoved[i] = since;
    flags[i] = (uint8_t)((is_far | (since < settle ? MOVED : is_off)) & inside[i]);
  }
  for (int i = 0; i < pixels; i++) {
    uint8_t between = (uint8_t)((3 * hold[i] + mean[i] + 2) >> 2);
    hold[i] = unmoved[i] ? between : mean[i];
  }
}

/* Judge every block, and whether the whole scene has changed. */
static bool judge_blocks(rest_image *s) {
  const int width = s->width;
  const rest_spec *p = &s->spec;
  const int32_t margin = proof(s);
  uint16_t *restrict far = s->column, *restrict moved = far + s->width, *restrict settled = moved + width,
                     *restrict off = settled + width;
  memset(far, 0, 4 * (size_t)s->width * sizeof *far);
  for (int y = 0; y < p->rows; y++) {
    const uint8_t *restrict flags = s->flags + (size_t)y * (size_t)s->width;
    for (int x = 0; x < width; x++) {
      far[x] = (uint16_t)(far[x] + (flags[x] & FAR));
      moved[x] = (uint16_t)(moved[x] + ((flags[x] & MOVED) >> 1));
      off[x] = (uint16_t)(off[x] + ((flags[x] & OFF) >> 2));
      settled[x] = (uint16_t)(settled[x] + (flags[x] & FAR & ~(flags[x] >> 1)));
    }
  }
  int busy_blocks = 0, seen = 0;
  for (int k = 0; k < p->keys; k++) {
    block *b = &s->blocks[k];
    b->changed = b->settled = b->off = b->moved = b->ghosts = b->covers = 0;
    for (int x = k * p->columns; x < (k + 1) * p->columns; x++) {
      b->changed += far[x];
      b->moved += moved[x];
      b->settled += settled[x];
      b->off += off[x];
    }
    const int least = b->inside * p->ghost_permille;
    for (int y = 0; b->settled * 1000 > least && y < p->rows; y++)
      for (int i = y * s->width + k * p->columns, end = i + p->columns; i < end; i++) {
        if ((s->flags[i] & (FAR | MOVED)) != FAR) continue;
        b->ghosts += is_ghost(s, k, i, margin);
        b->covers += is_cover(s, k, i, margin);
      }
    b->busy = b->changed * 1000 > b->inside * p->busy_permille;
    b->restless = b->moved * 1000 > b->inside * MOVED_PERMILLE;
    b->haunted = b->ghosts * 1000 > least && 4 * b->ghosts > b->settled;
    b->covered = b->covers * 1000 > least && 4 * b->covers > b->settled;
    busy_blocks += b->busy;
    seen += b->inside > 0;
  }
  for (int k = 0; k < p->keys; k++) { /* the blocks beside a busy one see the same key's side */
    bool guarded =
        s->blocks[k].busy || (k > 0 && s->blocks[k - 1].busy) || (k + 1 < p->keys && s->blocks[k + 1].busy);
    memset(s->guard + k * p->columns, guarded ? 255 : 0, (size_t)p->columns);
  }
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

/* Follow what is unmoved and near its rest where nothing is pressed or covered. */
static void follow_row(rest_image *s, int row, int32_t ticks) {
  const int width = s->width;
  const size_t first = (size_t)row * (size_t)s->width;
  const int16_t rate = (int16_t)limit(32768 / s->spec.follow * ticks, 1, 32767);
  const uint8_t recover = (uint8_t)s->spec.recover, longer = (uint8_t)limit(s->spec.trust * ticks, 0, 255);
  const uint8_t *restrict mean = s->mean + first, *restrict flags = s->flags + first,
                          *restrict guard = s->guard;
  uint16_t *restrict rest = s->rest + first;
  uint8_t *restrict need = s->need + first;
  for (int x = 0; x < width; x++) {
    uint8_t stays = (uint8_t)((flags[x] & (MOVED | OFF)) | guard[x]);
    uint8_t most = recover > longer ? (uint8_t)(recover - longer) : 0;
    uint8_t trust = need[x] > most ? recover : (uint8_t)(need[x] + longer);
    need[x] = stays ? need[x] : trust;
  }
  for (int x = 0; x < width; x++) {
    int16_t away = (int16_t)(uint16_t)(mean[x] * REST_ONE - rest[x]); /* of use only where near */
    int16_t step = (int16_t)((away * rate + 16384) >> 15);
    uint16_t follows = ((flags[x] & (MOVED | OFF)) | guard[x]) ? 0 : 0xffff;
    rest[x] = (uint16_t)(rest[x] + ((uint16_t)step & follows));
  }
}

static void replace_row(rest_image *s, int row, bool scene) {
  const int first = row * s->width;
  for (int k = 0; k < s->spec.keys; k++) {
    if (!scene && s->blocks[k].off == 0) continue;
    for (int i = first + k * s->spec.columns, end = i + s->spec.columns; i < end; i++) {
      if (!(scene || (s->flags[i] & OFF)) || !is_replaced(s, k, i, scene)) continue;
      s->rest[i] = (uint16_t)(s->mean[i] * REST_ONE);
      s->need[i] = trusted(&s->spec, s->unmoved[i]);
    }
  }
}

static void keep_up(rest_image *s, int32_t ticks) {
  fold_light(s);
  if (s->stepped) memcpy(s->hold, s->mean, (size_t)s->pixels);
  if (s->stepped) memset(s->unmoved, 0, (size_t)s->pixels);
  s->stepped = false;
  judge_noise(s);
  judge_pixels(s, ticks);
  const bool scene = judge_blocks(s);
  for (int row = 0; row < s->spec.rows; row++) {
    follow_row(s, row, ticks);
    replace_row(s, row, scene);
  }
  rest_octaves_update(&s->octaves, &s->spec, s->rest, s->inside,
                      (s->spec.rows + OCTAVE_TICKS - 1) / OCTAVE_TICKS);
}

static void finish_tick(rest_image *s, int64_t t_ns) {
  const int pixels = s->pixels;
  const uint32_t share = 65536u / (uint32_t)s->frames;
  for (int i = 0; i < pixels; i++) s->mean[i] = (uint8_t)((s->sum[i] * share + 32768u) >> 16);
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
