/* Hands: which capsules may matter where, and what a ray meets. */
#ifndef IVORIES_TRAINING_HANDS_H
#define IVORIES_TRAINING_HANDS_H

#include "scene.h"

/* A raster over the plane z = 0 or over the picture; each cell has one bit per capsule that may touch it. */
typedef struct {
  float x0, y0, cell;
  int columns, rows;
  uint64_t *bits;
} ivt_bins;

static inline uint64_t ivt_bins_at(const ivt_bins *bins, float x, float y) {
  const float i = (x - bins->x0) / bins->cell, j = (y - bins->y0) / bins->cell;
  if (!(i >= 0.0f) || !(j >= 0.0f) || i >= (float)bins->columns || j >= (float)bins->rows) return 0;
  return bins->bits[(size_t)((int)j * bins->columns + (int)i)];
}

int ivt_bins_open(ivt_bins *bins, float x0, float y0, float x1, float y1, float cell);
void ivt_bins_close(ivt_bins *bins);
void ivt_bins_add(ivt_bins *bins, float x0, float y0, float x1, float y1, int capsule);

/* Distance along the ray (unit direction) to the capsule, negative where it misses. */
float ivt_capsule_hit(const ivt_capsule *c, const float origin[3], const float direction[3]);

/* Closest point of the capsule's axis to `p`. */
void ivt_capsule_nearest(const ivt_capsule *c, const float p[3], float nearest[3]);

/* How much of a light of half-width `spread` reaches `p` along unit `direction` past the capsule: 0..1. */
float ivt_capsule_light(const ivt_capsule *c, const float p[3], const float direction[3], float spread);

#endif
