#include <string.h>

#include "rest_state.h"

enum {
  REST_MAX = 511 * REST_ONE,
  OCTAVE_TICKS = 16,    /* ticks in which all rows are compared with other octaves once */
  MOVED_PERMILLE = 100, /* share of a block's pixels that may move while its others recover */
  NOISE_WIDTH = 6,      /* medians of the absolute noise that count as unmoved: 4 standard deviations */
  NOISE_MOST = 12,      /* levels that noise may add to the thresholds */
};

/* FAR: changed from the rest; MOVED: lately; OFF: unmoved, but too far from the rest to be followed */
enum { FAR = 1, MOVED = 2, OFF = 4 };

/* Make the present light the light of the rest image. */
static void fold_light(rest_image *s) {
  const int pixels = s->pixels;
  if (s->light.gain == GAIN_ONE && s->light.offset == 0) return;
  for (int i = 0; i < pixels; i++)
    s->rest[i] = (uint16_t)rest_limit(rest_lit(&s->light, s->rest[i]), 0, REST_MAX);
  rest_light_reset(&s->light);
  rest_light_split(&s->light, &s->spec, s->rest, s->inside);
}

/* How much unmoved pixels differ from tick to tick; in a dim room far more than in a bright one. */
static void judge_noise(rest_image *s) {
  int32_t histogram[256] = {0}, count = 0, before = 0, median = 0;
  for (int y = s->spec.back_first; y < s->spec.back_end; y += GRID_ROWS)
    for (int x = 0; x < s->width; x += GRID_COLUMNS) {
      int i = y * s->width + x;
      histogram[rest_distance(s->mean[i], s->hold[i])] += s->inside[i] & 1;
      count += s->inside[i] & 1;
    }
  while (median < 255 && 2 * (before += histogram[median]) < count) median++;
  s->noise = rest_limit(NOISE_WIDTH * median - s->spec.still, 0, NOISE_MOST);
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
  return is_usual(s, k, i) && rest_strangeness(&s->octaves, &s->spec, k, i, rest_level(s->rest[i])) >= margin;
}

/* The rest is a key, what is seen now is none. */
static inline bool is_cover(const rest_image *s, int k, int i, int32_t margin) {
  return s->unmoved[i] >= s->spec.settle &&
         rest_strangeness(&s->octaves, &s->spec, k, i, s->mean[i]) >= margin &&
         rest_strangeness(&s->octaves, &s->spec, k, i, rest_level(s->rest[i])) <= s->spec.still;
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
  const int16_t rate = (int16_t)rest_limit(32768 / s->spec.follow * ticks, 1, 32767);
  const uint8_t recover = (uint8_t)s->spec.recover,
                longer = (uint8_t)rest_limit(s->spec.trust * ticks, 0, 255);
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
      s->need[i] = rest_trusted(&s->spec, s->unmoved[i]);
    }
  }
}

void rest_follow(rest_image *s, int32_t ticks) {
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
