/* The light on the keyboard relative to its rest image: gain and offset, fitted robustly to every frame. */
#ifndef IVORIES_REST_LIGHT_H
#define IVORIES_REST_LIGHT_H

#include "rest_image.h"

enum { GRID_ROWS = 2, GRID_COLUMNS = 5 }; /* pixels judged; 5 visits all columns of a block in turn */

typedef struct {
  int32_t gain, offset; /* present = rest * gain / GAIN_ONE + offset, in 1/REST_ONE levels */
  int32_t split;        /* mean rest level: parts bright (white keys) from dark (black keys, gaps) */
} rest_light;

void rest_light_reset(rest_light *light);

/* Find the split of a new rest image. */
void rest_light_split(rest_light *light, const rest_spec *spec, const uint16_t *rest, const uint8_t *inside);

/* Follow one frame that comes elapsed_ns after the one before; returns whether the light took a step. */
bool rest_light_follow(rest_light *light, const rest_spec *spec, const uint16_t *rest, const uint8_t *inside,
                       const uint8_t *luma, int64_t elapsed_ns);

/* The rest level, in 1/REST_ONE, under the present light. */
static inline int32_t rest_lit(const rest_light *light, uint16_t rest) {
  return (int32_t)((rest * (uint32_t)light->gain) >> 15) + light->offset;
}

#endif
