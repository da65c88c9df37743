/* Light: what reaches a point of the scene, and how its surface looks from the camera. */
#ifndef IVORIES_TRAINING_LIGHT_H
#define IVORIES_TRAINING_LIGHT_H

#include "board.h"
#include "hands.h"

#define IVT_LATERAL_MM 0.6f /* how far a march may move sideways at once */

typedef struct {
  float direction[3]; /* unit, towards the light */
  const ivt_light *light;
  ivt_bins shadows; /* over z = 0: capsules that may shade the ray through that point */
} ivt_lamp;

typedef struct {
  const ivt_picture *picture;
  ivt_board board;
  const ivt_capsule *hands;
  const ivt_lamp *lamps;
  const ivt_bins *above; /* capsules near enough to darken the plane below */
  float top;             /* nothing of the keyboard but the fallboard is higher */
  float front_top;       /* and nothing in front of the black keys higher than this */
  float white_top;       /* no white key is higher than this */
  float low;             /* tops of white keys at rest are higher than this */
} ivt_scene;

/* Radiance towards the camera of a surface at p with unit `normal`, seen along unit `ray`; `open`: share of
 * the ambient light that reaches it. */
float ivt_shade(const ivt_scene *s, const float p[3], const float normal[3], const float ray[3], float albedo,
                float gloss, float open);

/* The same of the keyboard's own surface at p; side_x, side_y: which way a wall faces, 0, 0 for a top. */
float ivt_shade_board(const ivt_scene *s, const float p[3], const float ray[3], int side_x, int side_y,
                      int *label);

static inline int ivt_lowest_bit(uint64_t bits) { return __builtin_ctzll(bits); }

#endif
