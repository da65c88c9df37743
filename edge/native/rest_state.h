/* What rest_image.c learns and rest_follow.c keeps up with the piano; for these two alone. */
#ifndef IVORIES_REST_STATE_H
#define IVORIES_REST_STATE_H

#include "rest_image.h"
#include "rest_light.h"
#include "rest_octaves.h"

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

static inline int32_t rest_limit(int32_t v, int32_t low, int32_t high) {
  return v < low ? low : v > high ? high : v;
}

static inline int32_t rest_distance(int32_t a, int32_t b) { return a > b ? a - b : b - a; }

static inline int32_t rest_level(int32_t rest) {
  return rest_limit((rest + REST_ONE / 2) >> REST_BITS, 0, 255);
}

/* Ticks unmoved that it takes to replace a level which was seen for `seen` ticks. */
static inline uint8_t rest_trusted(const rest_spec *p, int32_t seen) {
  return (uint8_t)rest_limit(p->trust * seen, p->replace, p->recover);
}

/* Take the mean picture of `ticks` ticks: follow what is unmoved, replace what is proved wrong. */
void rest_follow(rest_image *s, int32_t ticks);

#endif
